"""What becomes of claimed sources: vectors, refusals, retries."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage
from django.db import connection, connections, transaction
from django.test import override_settings

from cardigan_reco import encoding
from cardigan_reco.encoders.base import Encoder
from cardigan_reco.exceptions import EncoderError
from cardigan_reco.models import EncoderVersion, EncodingRequest
from tests.conftest import BLUE, GREEN, RED, AddProduct, encode_all, jpeg
from tests.testapp.catalogue.models import ProductImage
from tests.testapp.models import Poster, PosterEmbedding, ProductImageEmbedding

pytestmark = pytest.mark.django_db(transaction=True)


class Unwell(Encoder):
    """Fails on one colour: NaN for green, an exception for blue. Counts its pictures."""

    encoded = 0
    while_encoding: Any = None

    @property
    def dimensions(self) -> int:
        return 16

    @property
    def fingerprint(self) -> str:
        return "unwell"

    def vectors(self, images: Any) -> Any:
        Unwell.encoded += len(images)
        if Unwell.while_encoding:
            Unwell.while_encoding()
        rows = np.ones((len(images), 16), np.float32)
        for row, image in enumerate(images):
            colour = image.getpixel((50, 50))
            if colour[2] > 180:
                raise RuntimeError("device lost")
            if colour[1] > 160:
                rows[row] = np.nan
        return rows


class Absent(Unwell):
    def vectors(self, images: Any) -> Any:
        raise EncoderError("The weights are not there.")


@pytest.fixture
def unwell() -> Iterator[None]:
    Unwell.encoded, Unwell.while_encoding = 0, None
    with override_settings(
        CARDIGAN_RECO={"ENCODERS": {"default": {"BACKEND": "tests.test_encoding.Unwell"}}}
    ):
        yield


def poster(title: str = "A", data: bytes | None = None) -> Poster:
    return Poster.objects.create(title=title, image=ContentFile(data or jpeg(), name="a.jpg"))


def request() -> tuple[str, int, str]:
    return EncodingRequest.objects.values_list("state", "attempts", "error").get()


def test_a_picture_becomes_a_row_with_digest_and_version() -> None:
    mine = poster()
    assert encode_all().encoded == 1
    row = PosterEmbedding.objects.get(pk=mine.pk)
    assert row.digest == hashlib.sha256(jpeg()).hexdigest()
    assert row.encoder_version == EncoderVersion.objects.current("default")
    assert np.linalg.norm(row.vector) == pytest.approx(1, abs=1e-3)
    assert not EncodingRequest.objects.exists()


def test_the_same_picture_is_not_encoded_again() -> None:
    mine = poster()
    encode_all()
    before = PosterEmbedding.objects.values().get()
    mine.save()
    summary = encode_all()
    assert (summary.skipped, summary.encoded) == (1, 0)
    assert PosterEmbedding.objects.values().get() == before


def test_another_picture_and_another_encoder_are_encoded() -> None:
    mine = poster()
    encode_all()
    mine.image.save("b.jpg", ContentFile(jpeg(BLUE)))
    assert encode_all().encoded == 1
    with override_settings(
        CARDIGAN_RECO={
            "ENCODERS": {
                "default": {
                    "BACKEND": "cardigan_reco.encoders.dummy.DummyEncoder",
                    "OPTIONS": {"dimensions": 16},
                }
            }
        }
    ):
        EncoderVersion.objects.update(fingerprint="an older state")
        mine.save()
        assert encode_all().encoded == 1
    assert PosterEmbedding.objects.get().encoder_version == EncoderVersion.objects.latest("pk")


def test_a_batch_is_claimed_in_pieces_and_limited(add_product: AddProduct) -> None:
    add_product("mug", *[RED] * 7)
    sizes = [s.total for s in encoding.drain(ProductImageEmbedding, using="default", batch_size=3)]
    assert sizes == [3, 3, 1]
    for image in ProductImage.objects.all():
        image.save()
    limited = encoding.drain(ProductImageEmbedding, using="default", batch_size=3, limit=4)
    assert [s.total for s in limited] == [3, 1]


@pytest.mark.parametrize("data", [b"", b"<html>", jpeg()[:400]], ids=["empty", "html", "cut"])
def test_a_picture_that_is_none_is_bad_image_and_takes_the_old_vector_along(data: bytes) -> None:
    mine = poster()
    encode_all()
    mine.image.save("bad.jpg", ContentFile(data))
    assert encode_all().failed == {"bad_image": 1}
    state, attempts, error = request()
    assert (state, attempts) == ("bad_image", 1)
    assert error
    assert not PosterEmbedding.objects.exists()


def test_a_missing_file_is_retried_then_missing() -> None:
    mine = poster()
    mine.image.storage.delete(mine.image.name)
    for attempt in (1, 2):
        assert encode_all().retried == 1
        assert request()[:2] == ("waiting", attempt)
        EncodingRequest.objects.update(available_at="2000-01-01T00:00Z")
    assert encode_all().failed == {"missing": 1}
    assert request() == ("missing", 3, f"The storage has no file {mine.image.name!r}.")


def test_a_file_that_arrives_late_is_encoded() -> None:
    mine = poster()
    mine.image.storage.delete(mine.image.name)
    encode_all()
    mine.image.storage.save(mine.image.name, ContentFile(jpeg()))
    EncodingRequest.objects.update(available_at="2000-01-01T00:00Z")
    assert encode_all().encoded == 1


class BrokenStorage(FileSystemStorage):
    """A storage whose client library has exceptions of its own."""

    class ClientError(Exception):
        pass

    def _open(self, name: str, mode: str = "rb") -> File:
        raise self.ClientError("503 Slow Down")


def test_a_storage_that_fails_is_never_the_pictures_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = poster()
    encode_all()
    field = Poster._meta.get_field("image")
    monkeypatch.setattr(field, "storage", BrokenStorage())
    for _ in range(5):
        mine.save()
        EncodingRequest.objects.update(available_at="2000-01-01T00:00Z")
        assert encode_all().retried == 1
    state, attempts, error = request()
    assert (state, attempts) == ("waiting", 0)
    assert "ClientError: 503 Slow Down" in error
    assert PosterEmbedding.objects.exists()


@pytest.mark.usefixtures("unwell")
class TestEncoderTrouble:
    def test_a_vector_that_is_nan_is_rejected_alone(self) -> None:
        for title, colour in [("red", RED), ("green", GREEN), ("red too", RED)]:
            poster(title, jpeg(colour))
        summary = encode_all()
        assert (summary.encoded, dict(summary.failed)) == (2, {"dead": 1})
        assert [row.source.title for row in PosterEmbedding.objects.all()] == ["red", "red too"]

    def test_an_error_is_pinned_on_the_picture_that_causes_it(self) -> None:
        for title, colour in [("red", RED), ("blue", BLUE), ("red too", RED)]:
            poster(title, jpeg(colour))
        for _ in range(6):
            with suppress(RuntimeError):
                encode_all()
        assert {row.source.title for row in PosterEmbedding.objects.all()} == {"red", "red too"}
        assert request() == ("dead", 3, "RuntimeError: device lost")

    def test_an_encoder_that_cannot_run_charges_nobody(self) -> None:
        poster()
        with (
            override_settings(
                CARDIGAN_RECO={"ENCODERS": {"default": {"BACKEND": "tests.test_encoding.Absent"}}}
            ),
            pytest.raises(EncoderError, match="The weights are not there"),
        ):
            encode_all()
        assert request() == ("waiting", 0, "")

    def test_an_interrupt_gives_the_batch_back(self) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        Unwell.while_encoding = interrupt
        poster()
        with pytest.raises(KeyboardInterrupt):
            encode_all()
        assert request() == ("waiting", 0, "")

    def test_a_picture_replaced_meanwhile_wins(self) -> None:
        mine = poster()

        def replace() -> None:
            Unwell.while_encoding = None
            mine.image.save("b.jpg", ContentFile(jpeg((200, 40, 40))))

        Unwell.while_encoding = replace
        summary = encode_all()
        assert (summary.outdated, summary.encoded) == (1, 1)
        digest = hashlib.sha256(jpeg((200, 40, 40))).hexdigest()
        assert PosterEmbedding.objects.get().digest == digest

    @pytest.mark.parametrize("how", ["signals", "sql"])
    def test_a_source_deleted_meanwhile_leaves_no_row(self, how: str) -> None:
        mine = poster()

        def delete() -> None:
            Unwell.while_encoding = None
            if how == "signals":
                mine.delete()
            else:
                with connection.cursor() as cursor:
                    cursor.execute("DELETE FROM testapp_poster")

        Unwell.while_encoding = delete
        encode_all()
        EncodingRequest.objects.update(available_at="2000-01-01T00:00Z")
        encode_all()
        assert not PosterEmbedding.objects.exists()
        assert not EncodingRequest.objects.exists()

    def test_a_source_that_the_shop_locks_is_encoded_later(self) -> None:
        mine = poster()
        locked, finish = threading.Event(), threading.Event()

        def hold() -> None:
            with transaction.atomic():
                Poster.objects.select_for_update().get(pk=mine.pk)
                locked.set()
                finish.wait(10)
            connections.close_all()

        thread = threading.Thread(target=hold)
        thread.start()
        locked.wait(10)
        summary = encode_all()
        finish.set()
        thread.join()
        assert summary.retried == 1
        EncodingRequest.objects.update(available_at="2000-01-01T00:00Z")
        assert encode_all().encoded == 1
