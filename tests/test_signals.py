"""What a save, a deletion and an import leave in the queue."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core import serializers
from django.core.files.base import ContentFile
from django.db import connection, connections, models, transaction
from django.test.utils import isolate_apps
from pytest_django import DjangoDbBlocker, Settings

from cardigan_reco import queue
from cardigan_reco.models import Embedding, EmbeddingField, EncodingRequest
from cardigan_reco.signals import paused
from tests.aliases import alias
from tests.conftest import GREEN, RED, AddProduct, Declare, add_image, encode_all, jpeg
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


def test_a_fixture_marks_the_picture_of_a_child_by_its_parents_row(
    add_product: AddProduct,
) -> None:
    image = PromotedImage.objects.create(
        product=add_product("mug"), original=ContentFile(jpeg(), name="a.jpg"), slogan="New"
    )
    fixture = serializers.serialize("json", [image.productimage_ptr, image])
    EncodingRequest.objects.all().delete()
    for loaded in serializers.deserialize("json", fixture):
        loaded.save()
    assert requests() == {str(image.pk): ("waiting", 1)}


def test_a_picture_that_is_removed_takes_its_embedding_with_it() -> None:
    poster = Poster.objects.create(title="A", image=ContentFile(jpeg(), name="a.jpg"))
    assert encode_all().encoded == 1
    poster.image = ""
    poster.save()
    assert encode_all().removed == 1
    assert requests() == {}


class TestInheritance:
    @isolate_apps("tests.testapp")
    def test_a_child_with_another_key_than_its_parent(self, declare: Declare) -> None:
        class Item(models.Model):  # noqa: DJ008
            class Meta:
                app_label = "testapp"

        class Picture(models.Model):  # noqa: DJ008
            picture_id = models.AutoField(primary_key=True)
            image = models.ImageField()

            class Meta:
                app_label = "testapp"

        class Painting(Item, Picture):  # noqa: DJ008
            class Meta:
                app_label = "testapp"

        class PictureEmbedding(Embedding):
            source = models.OneToOneField(Picture, models.CASCADE, primary_key=True)
            vector = EmbeddingField(dimensions=16)

            class Meta(Embedding.Meta):
                app_label = "testapp"

        declare(Item, Picture, Painting, PictureEmbedding)
        first, second = (Picture.objects.create(image=name) for name in ("a.jpg", "b.jpg"))
        painting = Painting.objects.create(image="c.jpg")
        kept = Painting.objects.create(image="d.jpg")
        assert [painting.pk, kept.pk] == [first.pk, second.pk]
        assert [painting.picture_id, kept.picture_id] == [3, 4]
        assert requests() == dict.fromkeys("1234", ("waiting", 1))
        with paused():
            painting.save()
        assert requests()["3"] == ("waiting", 2)
        painting.delete()
        assert sorted(requests()) == ["1", "2", "4"]
        kept.delete(keep_parents=True)
        assert sorted(requests()) == ["1", "2", "4"]
        Picture.objects.all().delete()
        assert requests() == {}

    @isolate_apps("tests.testapp")
    @pytest.mark.parametrize("is_source", [False, True])
    def test_a_proxy_is_what_it_stands_for(self, declare: Declare, is_source: bool) -> None:
        class Picture(models.Model):  # noqa: DJ008
            image = models.ImageField()

            class Meta:
                app_label = "testapp"

        class Proxy(Picture):  # noqa: DJ008
            class Meta:
                app_label = "testapp"
                proxy = True

        class PictureEmbedding(Embedding):
            source = models.OneToOneField(
                Proxy if is_source else Picture, models.CASCADE, primary_key=True
            )
            vector = EmbeddingField(dimensions=16)

            class Meta(Embedding.Meta):
                app_label = "testapp"

        declare(Picture, Proxy, PictureEmbedding)
        pictures = [Picture.objects.create(image="a.jpg"), Proxy.objects.create(image="b.jpg")]
        assert requests() == {str(picture.pk): ("waiting", 1) for picture in pictures}
        for picture in pictures:
            picture.delete()
        assert requests() == {}


class OtherDatabases:
    """Lets another alias migrate our tables, or another database have them."""

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        return app_label != "cardigan_reco"


class TestOtherDatabases:
    @pytest.fixture(autouse=True)
    def routers(self, settings: Settings) -> None:
        settings.DATABASE_ROUTERS = [OtherDatabases()]

    def test_saves_into_one_without_a_queue_are_left_alone(
        self, silent_doorbell: list[str]
    ) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {queue.TABLE} RENAME TO elsewhere")
        try:
            poster = Poster.objects.create(title="A", image="a.jpg")
            with paused():
                poster.save()
            poster.delete()
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE elsewhere RENAME TO {queue.TABLE}")
        assert silent_doorbell == []

    def test_one_of_another_kind_has_no_queue(
        self, django_db_blocker: DjangoDbBlocker, tmp_path: Path
    ) -> None:
        file = tmp_path / "legacy.sqlite3"  # Django never closes one in memory.
        sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": file, "OPTIONS": {}}
        with django_db_blocker.unblock(), alias("legacy", **sqlite) as legacy:
            with connections[legacy].schema_editor() as editor:
                editor.create_model(Poster)
            Poster.objects.using(legacy).create(title="A", image="a.jpg")
            assert Poster.objects.using(legacy).count() == 1

    def test_what_another_alias_migrates_is_marked(self) -> None:
        poster = Poster.objects.create(title="A", image="a.jpg")
        assert requests() == {str(poster.pk): ("waiting", 1)}


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
