"""Counts of what is encoded, waits and failed."""

from __future__ import annotations

import pytest

from cardigan_reco import overview, queue
from cardigan_reco.models import EncoderVersion
from tests.conftest import BLUE, GREEN, RED, AddProduct, encode_all
from tests.testapp.models import ProductImageEmbedding

pytestmark = pytest.mark.django_db


def test_all_states_are_counted(add_product: AddProduct) -> None:
    add_product("mug", RED, GREEN)
    encode_all()
    EncoderVersion.objects.update(fingerprint="an older state")
    add_product("bowl", BLUE, RED, GREEN)
    (bad,) = queue.claim(ProductImageEmbedding, limit=1, using="default")
    queue.fail(bad, queue.Failure.BAD_IMAGE, "no picture", using="default")
    queue.claim(ProductImageEmbedding, limit=1, using="default")
    found = overview.of(ProductImageEmbedding, using="default")
    assert (found.encoded, found.stale, found.waiting, found.leased) == (2, 2, 1, 1)
    assert found.given_up == [("bad_image", "not a usable picture", 1)]
