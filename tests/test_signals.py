"""What a save, a deletion and an import leave in the queue."""

from __future__ import annotations

import pytest
from django.core import serializers
from django.core.files.base import ContentFile
from django.db import transaction

from cardigan_reco.models import EncodingRequest
from cardigan_reco.signals import paused
from tests.conftest import GREEN, RED, AddProduct, add_image, encode_all, jpeg
from tests.testapp.catalogue.models import ProductImage, PromotedImage
from tests.testapp.models import Poster, ProductImageEmbedding

pytestmark = pytest.mark.django_db(transaction=True)


def requests() -> dict[str, tuple[str, int]]:
    rows = EncodingRequest.objects.values_list("source_pk", "state", "version")
    return {pk: (state, version) for pk, state, version in rows}


def test_a_save_is_marked_and_wakes_a_worker(
    add_product: AddProduct, silent_doorbell: list[str]
) -> None:
    image = add_product("mug", RED).images.get()
    assert requests() == {str(image.pk): ("waiting", 1)}
    assert silent_doorbell == ["default"]


def test_saves_of_one_source_are_one_request(add_product: AddProduct) -> None:
    image = add_product("mug", RED).images.get()
    image.save()
    image.save()
    assert requests() == {str(image.pk): ("waiting", 3)}


def test_a_rollback_leaves_nothing(add_product: AddProduct, silent_doorbell: list[str]) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        add_product("mug", RED)
        raise ZeroDivisionError
    assert requests() == {}
    assert silent_doorbell == []


def test_the_mark_is_in_the_transaction_of_the_save(
    add_product: AddProduct, silent_doorbell: list[str]
) -> None:
    with transaction.atomic():
        add_product("mug", RED)
        assert len(requests()) == 1
        assert silent_doorbell == []
    assert silent_doorbell == ["default"]


def test_update_fields_without_the_picture_mark_nothing(add_product: AddProduct) -> None:
    image = add_product("mug", RED).images.get()
    encode_all()
    image.caption = "A mug"
    image.save(update_fields=["caption"])
    assert requests() == {}
    image.save(update_fields=["original"])
    assert len(requests()) == 1


def test_a_child_model_reaches_the_parents_embedding(add_product: AddProduct) -> None:
    product = add_product("mug")
    image = PromotedImage.objects.create(
        product=product, original=ContentFile(jpeg(), name="a.jpg"), slogan="New"
    )
    assert requests() == {str(image.pk): ("waiting", 1)}


def test_a_deletion_takes_request_and_embedding_with_it(add_product: AddProduct) -> None:
    mug, bowl = add_product("mug", RED, GREEN), add_product("bowl", GREEN)
    encode_all()
    mug.images.first().save()
    mug.delete()
    assert requests() == {}
    assert [row.source.product for row in ProductImageEmbedding.objects.all()] == [bowl]


def test_raw_saves_are_marked_and_wake_nobody(
    add_product: AddProduct, silent_doorbell: list[str]
) -> None:
    image = add_product("mug", RED).images.get()
    fixture = serializers.serialize("json", [image])
    EncodingRequest.objects.all().delete()
    silent_doorbell.clear()
    for loaded in serializers.deserialize("json", fixture):
        loaded.save()
    assert requests() == {str(image.pk): ("waiting", 1)}
    assert silent_doorbell == []


def test_a_picture_that_is_removed_takes_its_embedding_with_it() -> None:
    poster = Poster.objects.create(title="A", image=ContentFile(jpeg(), name="a.jpg"))
    assert encode_all().encoded == 1
    poster.image = ""
    poster.save()
    assert encode_all().removed == 1
    assert requests() == {}


class TestPaused:
    def test_marks_once_at_the_end(
        self, add_product: AddProduct, silent_doorbell: list[str]
    ) -> None:
        with paused():
            image = add_product("mug", RED).images.get()
            image.save()
            with paused():
                add_image(image.product, GREEN)
            assert requests() == {}
            assert silent_doorbell == []
        assert len(requests()) == 2
        assert set(requests().values()) == {("waiting", 1)}
        assert silent_doorbell == ["default"]

    def test_keeps_what_was_saved_before_an_error(self, add_product: AddProduct) -> None:
        with pytest.raises(ZeroDivisionError), paused():
            add_product("mug", RED)
            raise ZeroDivisionError
        assert len(requests()) == 1

    def test_leaves_nothing_of_a_rollback(self, add_product: AddProduct) -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic(), paused():
            add_product("mug", RED)
            raise ZeroDivisionError
        assert requests() == {}
        assert ProductImage.objects.count() == 0
