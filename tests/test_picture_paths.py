"""Pictures behind foreign keys, as in Wagtail's galleries and django-filer's fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.management import call_command
from django.db import connection, models, transaction
from django.db.models.fields.files import FieldFile
from django.template import engines
from django.test.utils import CaptureQueriesContext, isolate_apps
from pytest_django import Settings

from cardigan_reco import capture, recommendations, sweep
from cardigan_reco.admin.duplicates import contents
from cardigan_reco.capture import Feed
from cardigan_reco.duplicates import listings
from cardigan_reco.models import (
    DuplicateGroup,
    Embedding,
    EmbeddingField,
    EmbeddingIndex,
    EncodingRequest,
)
from cardigan_reco.signals import paused
from tests.conftest import GREEN, ORANGE, RED, Colour, Declare, encode_all, jpeg
from tests.testapp.catalogue.models import Product, PromotedImage

DB = "default"


class Shop(NamedTuple):
    """Its pictures are assets; a slide of a product's gallery shows one of them, or none yet."""

    asset: Any
    """Inherits its file from another model."""
    slide: Any
    embedding: type[Embedding]

    def add_asset(self, colour: Colour = RED, name: str = "a.jpg") -> Any:
        return self.asset.objects.create(file=ContentFile(jpeg(colour), name=name))

    def add_slide(self, asset: Any, title: str = "mug") -> Any:
        product = Product.objects.create(title=title)
        return self.slide.objects.create(product=product, asset=asset)


def serve(settings: Settings, label: str, **more: object) -> None:
    """Lets an embedding model answer for the shop's searches."""
    collections = {"similar": label}
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "COLLECTIONS": collections, **more}


@pytest.fixture
def shop(declare: Declare, settings: Settings) -> Shop:
    with isolate_apps("tests.testapp"):

        class File(models.Model):  # noqa: DJ008
            file = models.FileField()
            title = models.CharField(max_length=100)

            class Meta:
                app_label = "testapp"

        class Asset(File):  # noqa: DJ008
            credit = models.CharField(max_length=100)

            class Meta:
                app_label = "testapp"

        class Slide(models.Model):  # noqa: DJ008
            product = models.ForeignKey(Product, models.CASCADE, related_name="+")
            asset = models.ForeignKey(Asset, models.SET_NULL, null=True, related_name="+")
            caption = models.CharField(max_length=100)

            class Meta:
                app_label = "testapp"
                ordering = ["asset__title"]

        class SlideEmbedding(Embedding):
            source = models.OneToOneField(Slide, models.CASCADE, primary_key=True, related_name="+")
            vector = EmbeddingField(dimensions=16)
            image_field = "asset__file"
            item_field = "product"

            class Meta(Embedding.Meta):
                app_label = "testapp"
                indexes = [EmbeddingIndex(name="slide_vector_hnsw", fields=["vector"])]

    serve(settings, "testapp.SlideEmbedding")
    declare(File, Asset, Slide, SlideEmbedding)
    return Shop(Asset, Slide, SlideEmbedding)


@pytest.fixture(params=["signals", "triggers"])
def captured(request: pytest.FixtureRequest, shop: Shop, settings: Settings) -> Iterator[Shop]:
    """The shop, whose writes are captured in either way."""
    if request.param == "triggers":
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "CAPTURE": "triggers"}
        capture.install(Feed.of(shop.embedding), using=DB)
    yield shop
    capture.remove("testapp.slideembedding", using=DB)


def marked() -> set[str]:
    """Returns the sources with a request, and takes all requests away."""
    found = set(EncodingRequest.objects.values_list("source_pk", flat=True))
    EncodingRequest.objects.all().delete()
    return found


def test_each_write_on_the_way_marks_the_sources_whose_picture_it_changes(captured: Shop) -> None:
    asset, other = captured.add_asset(), captured.add_asset()
    assert marked() == set()
    slides = [captured.add_slide(shown) for shown in (asset, asset, other)]
    empty = captured.add_slide(None)
    first, second, third = (str(slide.pk) for slide in slides)
    assert marked() - {str(empty.pk)} == {first, second, third}

    asset.file = ContentFile(jpeg(GREEN), name="b.jpg")
    asset.save()
    assert marked() == {first, second}
    asset.title = "Mug"
    asset.save(update_fields=["title"])
    slides[0].caption = "A mug"
    slides[0].save(update_fields=["caption"])
    assert marked() == set()
    slides[0].asset = other
    slides[0].save(update_fields=["asset_id"])
    assert marked() == {first}
    slides[0].asset = None
    slides[0].save(update_fields=["asset"])
    assert marked() == {first}
    other.delete()
    assert marked() == {third}
    slides[1].delete()
    assert marked() == set()


def test_a_new_file_under_an_old_name_is_marked(captured: Shop, settings: Settings) -> None:
    asset = captured.add_asset()
    slide = captured.add_slide(asset)
    marked()
    name = asset.file.name
    asset.file.storage.delete(name)
    asset.file = ContentFile(jpeg(GREEN), name=name)
    asset.save()
    assert asset.file.name == name
    assert marked() == {str(slide.pk)}


def test_an_import_marks_each_source_once(captured: Shop) -> None:
    asset = captured.add_asset()
    with paused():
        slide = captured.add_slide(asset)
        for _time in range(3):
            asset.file = ContentFile(jpeg(GREEN), name="b.jpg")
            asset.save()
    assert marked() == {str(slide.pk)}


def bulk_create(shop: Shop, slides: list[Any]) -> set[int]:
    fresh = shop.slide(product=slides[0].product, asset=slides[0].asset)
    empty = shop.slide(product=slides[0].product)
    shop.slide.objects.bulk_create([fresh, empty])
    return {fresh.pk}


def point_elsewhere(shop: Shop, slides: list[Any]) -> set[int]:
    shop.slide.objects.filter(pk=slides[0].pk).update(asset=slides[2].asset)
    return {slides[0].pk}


def point_at_the_same(shop: Shop, slides: list[Any]) -> set[int]:
    shop.slide.objects.filter(pk=slides[0].pk).update(asset=slides[0].asset, caption="A mug")
    return set()


def replace_files(shop: Shop, slides: list[Any]) -> set[int]:
    shop.asset.objects.filter(pk=slides[0].asset.pk).update(file="other.jpg")
    return {slides[0].pk, slides[1].pk}


def rename(shop: Shop, slides: list[Any]) -> set[int]:
    shop.asset.objects.update(title="Mug", credit="Me")
    return set()


def forget_an_asset(shop: Shop, slides: list[Any]) -> set[int]:
    pk = slides[2].asset.pk
    shop.slide.objects.filter(asset=pk).update(asset=None)
    shop.asset.objects.filter(pk=pk)._raw_delete(DB)
    return {slides[2].pk}


def bring_the_asset_later(shop: Shop, slides: list[Any]) -> set[int]:
    """As a fixture may, since Django's foreign keys are looked at when the transaction ends."""
    with transaction.atomic():
        first = shop.slide.objects.create(product=slides[0].product, asset_id=9001)
        shop.slide.objects.filter(pk=slides[0].pk).update(asset=9001)
        shop.asset(pk=9001, file="later.jpg").save(force_insert=True)
    return {first.pk, slides[0].pk}


def let_the_database_empty_the_keys(shop: Shop, slides: list[Any]) -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = 'testapp_slide'::regclass "
            "AND confrelid = 'testapp_asset'::regclass"
        )
        (name,) = cursor.fetchone()
        cursor.execute(
            f'ALTER TABLE testapp_slide DROP CONSTRAINT "{name}", ADD CONSTRAINT "{name}" '
            "FOREIGN KEY (asset_id) REFERENCES testapp_asset ON DELETE SET NULL"
        )
        cursor.execute("DELETE FROM testapp_asset WHERE file_ptr_id = %s", [slides[2].asset.pk])
    return {slides[2].pk}


WRITES = [
    bulk_create,
    bring_the_asset_later,
    let_the_database_empty_the_keys,
    point_elsewhere,
    point_at_the_same,
    replace_files,
    rename,
    forget_an_asset,
]


@pytest.mark.parametrize("write", WRITES)
def test_triggers_see_what_signals_dont(
    shop: Shop, settings: Settings, write: Callable[[Shop, list[Any]], set[int]]
) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "CAPTURE": "triggers"}
    feed = Feed.of(shop.embedding)
    capture.install(feed, using=DB)
    try:
        assert capture.state(feed, using=DB) is capture.State.CURRENT
        assert not capture.install(feed, using=DB)
        asset, other = shop.add_asset(), shop.add_asset()
        slides = [shop.add_slide(shown) for shown in (asset, asset, other)]
        marked()
        assert {str(pk) for pk in write(shop, slides)} == marked()
    finally:
        capture.remove(feed.collection, using=DB)


def test_in_the_middle_of_a_migration_no_write_of_the_shop_fails(
    shop: Shop, settings: Settings
) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "CAPTURE": "triggers"}
    capture.install(Feed.of(shop.embedding), using=DB)
    asset = shop.add_asset()
    slide = shop.add_slide(asset)
    marked()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE testapp_slide RENAME COLUMN asset_id TO shown_id")
        try:
            shop.asset.objects.update(file="b.jpg")
            assert marked() == set()
            cursor.execute("UPDATE testapp_slide SET caption = 'A mug'")
            assert marked() == {str(slide.pk)}
        finally:
            cursor.execute("ALTER TABLE testapp_slide RENAME COLUMN shown_id TO asset_id")
            capture.remove("testapp.slideembedding", using=DB)


def test_a_shelf_shows_the_pictures_with_one_statement_for_all(shop: Shop) -> None:
    slides = [
        shop.add_slide(shop.add_asset(colour, f"{title}.jpg"), title)
        for title, colour in [("mug", RED), ("cup", ORANGE), ("bowl", GREEN), ("vase", GREEN)]
    ]
    assert encode_all().encoded == 4
    template = engines["django"].from_string(
        "{% load cardigan_reco %}{% similar_products product limit=limit %}"
    )
    counts = []
    for limit in (1, 1, 3):  # The first asks the planner for its estimates, too.
        with CaptureQueriesContext(connection) as queries:
            html = template.render({"product": slides[0].product, "limit": limit})
        counts.append(len(queries))
        assert html.count("<img") == limit
    assert counts[1] == counts[2]
    assert slides[1].asset.file.url in html
    (nearest,) = recommendations.similar_to(slides[0].product, limit=1)
    assert (nearest, nearest.matched_source) == (slides[1].product, slides[1])


def test_a_picture_that_goes_takes_its_vector_with_it(shop: Shop) -> None:
    kept, gone, emptied = (shop.add_slide(shop.add_asset(name=f"{n}.jpg")) for n in range(3))
    assert encode_all().encoded == 3
    gone.asset.delete()
    emptied.asset.file = ""
    emptied.asset.save()
    assert encode_all().removed == 2
    assert list(shop.embedding.objects.values_list("pk", flat=True)) == [kept.pk]


def test_a_sweep_finds_what_no_signal_told_of(shop: Shop) -> None:
    encoded, emptied = (shop.add_slide(shop.add_asset(name=f"{n}.jpg")) for n in range(2))
    encode_all()
    missing, _without = shop.slide.objects.bulk_create(
        shop.slide(product=encoded.product, asset=asset) for asset in (encoded.asset, None)
    )
    shop.slide.objects.filter(pk=emptied.pk).update(asset=None)
    for _step in sweep.run(shop.embedding, using=DB):
        pass
    assert marked() == {str(missing.pk), str(emptied.pk)}


def test_a_source_that_is_the_item_shows_its_picture(declare: Declare, settings: Settings) -> None:
    """As a page of Wagtail's does: what is recommended has the foreign key itself."""
    with isolate_apps("tests.testapp"):

        class Photo(models.Model):  # noqa: DJ008
            file = models.ImageField()

            class Meta:
                app_label = "testapp"

        class Page(models.Model):  # noqa: DJ008
            photo = models.ForeignKey(Photo, models.PROTECT, related_name="+")

            class Meta:
                app_label = "testapp"

        class PageEmbedding(Embedding):
            source = models.OneToOneField(Page, models.CASCADE, primary_key=True, related_name="+")
            vector = EmbeddingField(dimensions=16)
            image_field = "photo__file"

            class Meta(Embedding.Meta):
                app_label = "testapp"
                indexes = [EmbeddingIndex(name="page_vector_hnsw", fields=["vector"])]

    serve(settings, "testapp.PageEmbedding")
    declare(Photo, Page, PageEmbedding)
    pages = [
        Page.objects.create(
            photo=Photo.objects.create(file=ContentFile(jpeg(colour), name=f"{place}.jpg"))
        )
        for place, colour in enumerate([RED, ORANGE, GREEN, GREEN])
    ]
    encode_all()
    counts = []
    for limit in (1, 1, 3):  # The first asks the planner for its estimates, too.
        with CaptureQueriesContext(connection) as queries:
            found = recommendations.similar_to(pages[0], limit=limit)
            pictures = [PageEmbedding.picture_of(page.matched_source) for page in found]
        counts.append(len(queries))
        assert [picture and picture.name for picture in pictures] == [
            page.photo.file.name for page in found
        ]
    assert counts[1] == counts[2]
    assert found[0] == pages[1]


def test_a_field_may_choose_the_storage_by_its_row(declare: Declare, tmp_path: Path) -> None:
    """As django-filer does, of public and private files; what is not said otherwise is public."""
    public = FileSystemStorage(tmp_path / "public")

    class Kept(FieldFile):
        def __init__(self, instance: Any, field: Any, name: str | None) -> None:
            super().__init__(instance, field, name)
            self.storage = public if instance.is_public else FileSystemStorage(tmp_path / "private")

    class KeptField(models.FileField):
        attr_class = Kept

    with isolate_apps("tests.testapp"):

        class Sheet(models.Model):  # noqa: DJ008
            image = KeptField()
            is_public = models.BooleanField(default=True)

            class Meta:
                app_label = "testapp"

        class SheetEmbedding(Embedding):
            source = models.OneToOneField(Sheet, models.CASCADE, primary_key=True, related_name="+")
            vector = EmbeddingField(dimensions=16)

            class Meta(Embedding.Meta):
                app_label = "testapp"

    declare(Sheet, SheetEmbedding)
    Sheet.objects.create(image=ContentFile(jpeg(), name="a.jpg"))
    assert public.exists("a.jpg")
    assert encode_all().encoded == 1


@pytest.mark.parametrize("is_behind_a_key", [False, True])
def test_the_report_of_duplicates_shows_the_pictures(
    shop: Shop, declare: Declare, settings: Settings, is_behind_a_key: bool
) -> None:
    """Also of a source that inherits them from another model."""
    if is_behind_a_key:
        slides = [shop.add_slide(shop.add_asset(name=f"{n}.jpg")) for n in range(2)]
        files, embedding = [slide.asset.file for slide in slides], "testapp.SlideEmbedding"
    else:
        with isolate_apps("tests.testapp"):

            class PromotedEmbedding(Embedding):
                source = models.OneToOneField(
                    PromotedImage, models.CASCADE, primary_key=True, related_name="+"
                )
                vector = EmbeddingField(dimensions=16)
                image_field = "original"
                item_field = "product"

                class Meta(Embedding.Meta):
                    app_label = "testapp"

        declare(PromotedEmbedding)
        slides = [
            PromotedImage.objects.create(
                product=Product.objects.create(title="mug"),
                original=ContentFile(jpeg(), name=f"{n}.jpg"),
            )
            for n in range(2)
        ]
        files, embedding = [slide.original for slide in slides], "testapp.PromotedEmbedding"
    serve(settings, embedding, DUPLICATES={})
    encode_all()
    call_command("find_duplicates", "--full", verbosity=0)
    (group,) = DuplicateGroup.objects.all()
    shop_listings = listings.current()
    assert shop_listings is not None
    with CaptureQueriesContext(connection) as queries:
        (card,) = contents.of([group], shop_listings, site="admin")
    shown = [picture.url for one in card.listings for picture in one.pictures]
    assert shown == [file.url for file in files]
    assert len(queries) == 4
