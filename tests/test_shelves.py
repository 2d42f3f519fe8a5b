"""The cache of shelves: what it saves, and that it never tells what isn't so any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet, Window
from django.db.models.expressions import RawSQL
from django.db.models.functions import RowNumber, Upper
from django.db.models.lookups import Exact
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from cardigan_reco import conf, estimates, neighbours, prepared, revisions, search
from cardigan_reco.models import DuplicatePair, DuplicateState, EncoderVersion
from cardigan_reco.recommendations import similar_to
from tests.conftest import BLUE, GREEN, ORANGE, RED, AddProduct, encode_all
from tests.test_recommendations import at, product_at, titles
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import Poster, PosterEmbedding, ProductImageEmbedding

# A transaction that has written keeps nothing, and the tests' own one has.
pytestmark = pytest.mark.django_db(transaction=True)

HELD = 1
"""Statements of a shelf in the cache: what it depends on, the sources and the items in one."""


class BrokenCache(LocMemCache):
    """A cache whose server is down."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("no route to the cache")

    set = delete = get


@pytest.fixture(autouse=True)
def shelf_cache(settings: Settings) -> Iterator[None]:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SHELF_CACHE": "default"}
    caches["default"].clear()
    yield
    caches["default"].clear()


@pytest.fixture
def version() -> EncoderVersion:
    return EncoderVersion.objects.current("default")


def statements(item: Product | Poster, **options: Any) -> int:
    with CaptureQueriesContext(connection) as asked:
        similar_to(item, **options)
    return len(asked)


def searched(item: Product, settings: Settings, **options: Any) -> list[tuple[int, float]]:
    """Returns what there is without the cache."""
    cached = settings.CARDIGAN_RECO
    settings.CARDIGAN_RECO = {**cached, "SHELF_CACHE": None}
    try:
        return found(item, **options)
    finally:
        settings.CARDIGAN_RECO = cached


def found(item: Product, **options: Any) -> list[tuple[int, float]]:
    return [(each.pk, each.similarity) for each in similar_to(item, **options)]


def test_a_shelf_is_searched_once(version: EncoderVersion, settings: Settings) -> None:
    query = product_at("query", [0, 90], version)
    for angle in range(10, 60, 10):
        product_at(f"at {angle}", [angle, angle + 95], version)
    first = statements(query)
    assert first > HELD
    assert statements(query) == HELD
    assert found(query) == searched(query, settings)
    assert [each.matched_source for each in similar_to(query)] == [
        ProductImage.objects.get(product=each, display_order=0) for each in similar_to(query)
    ]


def test_what_a_held_shelf_depends_on_is_prepared(version: EncoderVersion) -> None:
    query = product_at("query", [0], version)
    product_at("near", [10], version)
    for _ in range(2 + prepared.AFTER):
        assert titles(similar_to(query)) == ["near"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        [text] = [text for (text,) in cursor.fetchall() if "cardigan_query" not in text]
        assert "pg_current_xact_id_if_assigned" in text
    Product.objects.filter(title="near").update(title="nearest")
    ProductImage.objects.update(caption="changed")
    [item] = similar_to(query)
    assert (item.title, item.matched_source.caption) == ("nearest", "changed")


def test_new_vectors_are_seen_at_once(add_product: AddProduct) -> None:
    red = add_product("red", RED)
    add_product("green", GREEN)
    encode_all()
    assert titles(similar_to(red)) == ["green"]
    add_product("orange", ORANGE)
    assert titles(similar_to(red)) == ["green"]
    encode_all()
    assert titles(similar_to(red)) == ["orange", "green"]


def test_a_changed_picture_is_seen_at_once(add_product: AddProduct) -> None:
    red, other = add_product("red", RED), add_product("other", ORANGE)
    add_product("green", GREEN)
    encode_all()
    assert titles(similar_to(red)) == ["other", "green"]
    source = ProductImage.objects.get(product=other)
    source.original = ProductImage.objects.get(product=add_product("blue", BLUE)).original
    source.save()
    encode_all()
    assert {each.title: each.similarity for each in similar_to(red)}["other"] == pytest.approx(
        {each.title: each.similarity for each in similar_to(red)}["blue"]
    )


def test_a_picture_that_is_removed_leaves_the_shelf(add_product: AddProduct) -> None:
    red, orange = add_product("red", RED), add_product("orange", ORANGE)
    add_product("green", GREEN)
    encode_all()
    assert titles(similar_to(red)) == ["orange", "green"]
    source = ProductImage.objects.get(product=orange)
    source.original = ""
    source.save()
    encode_all()
    assert titles(similar_to(red)) == ["green"]


@pytest.mark.parametrize("remove", ["by Django", "by SQL"])
def test_what_is_deleted_leaves_the_shelf_without_any_worker(
    version: EncoderVersion, remove: str
) -> None:
    query = product_at("query", [0], version)
    near = product_at("near", [10, 40], version)
    product_at("far", [30], version)
    assert titles(similar_to(query)) == ["near", "far"]
    assert statements(query) == HELD
    first = near.images.get(display_order=0)
    if remove == "by Django":
        first.delete()
    else:
        with connection.cursor() as cursor:
            for table, column in (
                ("testapp_productimageembedding", "source_id"),
                ("catalogue_productimage", "id"),
            ):
                cursor.execute(f"DELETE FROM {table} WHERE {column} = %s", [first.pk])
    # Its other picture is farther than those of "far".
    assert titles(similar_to(query)) == ["far", "near"]
    assert titles(similar_to(query)) == ["far", "near"]
    assert statements(query) == HELD


def test_a_picture_that_moves_takes_its_place_along(version: EncoderVersion) -> None:
    query = product_at("query", [0], version)
    giver, taker = product_at("giver", [10, 60], version), product_at("taker", [50], version)
    assert titles(similar_to(query)) == ["giver", "taker"]
    giver.images.filter(display_order=0).update(product=taker)
    assert titles(similar_to(query)) == ["taker", "giver"]


def test_own_pictures_count_as_they_are(version: EncoderVersion) -> None:
    query = product_at("query", [0, 90], version)
    product_at("near the first", [10], version)
    product_at("near the second", [95], version)
    assert titles(similar_to(query)) == ["near the second", "near the first"]
    query.images.get(display_order=1).delete()
    assert titles(similar_to(query)) == ["near the first", "near the second"]
    query.images.all().delete()
    assert similar_to(query) == []


def test_the_shops_filter_is_asked_each_time(version: EncoderVersion) -> None:
    query = product_at("query", [0], version)
    near, far = product_at("near", [10], version), product_at("far", [30], version)
    assert titles(similar_to(query)) == ["near", "far"]
    Product.objects.filter(pk=near.pk).update(is_public=False)
    assert titles(similar_to(query)) == ["far"]
    assert titles(similar_to(query, within=Product.objects.all())) == ["near", "far"]
    Product.objects.update(is_public=True)
    Product.objects.filter(pk=far.pk).update(title="renamed")
    assert titles(similar_to(query)) == ["near", "renamed"]


def test_a_held_shelf_that_takes_too_long_is_cancelled_and_spares_the_transaction(
    version: EncoderVersion, settings: Settings
) -> None:
    query = product_at("query", [0], version)
    product_at("near", [10], version)
    assert titles(similar_to(query)) == ["near"]
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH_TIMEOUT_SECONDS": 0.2}
    slow = Product.objects.annotate(slept=RawSQL("pg_sleep(5) IS NULL", [])).filter(slept=False)
    with pytest.raises(OperationalError, match="statement timeout"):
        similar_to(query, within=slow)
    assert titles(similar_to(query)) == ["near"]


@pytest.mark.parametrize(
    "within",
    [
        lambda: Product.objects.order_by("shelf", "title").distinct("shelf"),
        lambda: Product.objects.annotate(
            place=Window(RowNumber(), partition_by=["shelf"], order_by="title")
        ).filter(place=1),
        lambda: Product.objects.filter(
            Exact(Window(RowNumber(), partition_by=["shelf"], order_by="title"), 1)
        ),
    ],
)
def test_a_filter_that_looks_at_other_rows_looks_at_all(
    version: EncoderVersion, settings: Settings, within: Callable[[], QuerySet[Product]]
) -> None:
    """One variant of each family is shown, the shop's choice, whichever are on the shelf."""
    query = product_at("query", [0], version)
    for shelf in range(1, 5):
        for number, title in enumerate("cba"):
            product_at(f"{title}{shelf}", [20 * number + shelf], version, shelf=shelf)
    for _ in range(2):
        assert titles(similar_to(query)) != ["a1", "a2", "a3", "a4"]
        assert titles(similar_to(query, within=within())) == ["a1", "a2", "a3", "a4"]
        assert found(query, within=within()) == searched(query, settings, within=within())


def test_a_rank_is_that_among_all(version: EncoderVersion) -> None:
    """Not among those that are near, which a filter by a later rank would leave nothing of."""
    query = product_at("query", [0], version)
    for number in range(1, 7):
        product_at(f"at {number}", [10 * number], version, parent=query)
    ranked = Product.objects.annotate(place=Window(RowNumber(), order_by="-id"))
    later = ranked.filter(place__gt=3).select_related("parent").prefetch_related("images")
    shelf = similar_to(query, within=later, limit=2)
    assert [(item.title, item.place) for item in shelf] == [("at 1", 6), ("at 2", 5)]
    with CaptureQueriesContext(connection) as asked:
        assert [item.parent for item in shelf] == [query, query]
        assert [len(item.images.all()) for item in shelf] == [1, 1]
    assert len(asked) == 0
    assert titles(similar_to(query, within=ranked.filter(place=2))) == ["at 5"]
    assert similar_to(query, within=ranked.filter(place=9)) == []


def test_a_filter_that_leaves_few_is_searched(version: EncoderVersion, settings: Settings) -> None:
    query = product_at("query", [0], version)
    for number in range(60):
        product_at(f"{number}", [1 + number], version, shelf=number % 20)
    few = Product.objects.filter(shelf=19)
    for _ in range(2):
        assert titles(similar_to(query, within=few, limit=2)) == ["19", "39"]
    half = Product.objects.filter(
        pk__in=Product.objects.filter(title__regex="[02468]$").values("pk")
    )
    for limit in (2, 5, 8, 20):
        assert found(query, within=half, limit=limit) == searched(
            query, settings, within=half, limit=limit
        )
    # The rest of what is kept is enough.
    assert statements(query, within=half, limit=8) == HELD + 2


def test_filters_of_which_none_is_there(version: EncoderVersion) -> None:
    query = product_at("query", [0], version)
    for number in range(3):
        product_at(f"{number}", [1 + number], version)
    assert titles(similar_to(query)) == ["0", "1", "2"]
    assert similar_to(query, within=Product.objects.none()) == []
    assert similar_to(query, within=Product.objects.filter(title="nothing")) == []
    lone = Product.objects.filter(title="1").annotate(loud=Upper("title")).select_related("parent")
    [one] = similar_to(query, within=lone)
    assert (one.title, one.loud, one.matched_source.product_id) == ("1", "1", one.pk)


def test_an_item_that_is_left_out_makes_room(version: EncoderVersion) -> None:
    """What moves up came without its item, which isn't to say that the filter took it away."""
    query = product_at("query", [0], version)
    near = [product_at(f"{number}", [1 + number], version) for number in range(3)]

    def asked() -> list[str]:
        return titles(
            search.around_item(
                ProductImageEmbedding,
                query.pk,
                within=Product.objects.all(),
                excluded=[query.pk, near[0].pk],
                limit=2,
                min_similarity=0,
            )
        )

    assert asked() == ["1", "2"]
    assert asked() == ["1", "2"]


def test_the_floor_and_the_end_need_no_search(version: EncoderVersion) -> None:
    query = product_at("query", [0], version)
    for number in range(60):
        product_at(f"{number}", [1 + number], version)
    options = {"limit": 8, "min_similarity": 0.999}
    assert titles(similar_to(query, **options)) == ["0", "1"]
    assert statements(query, **options) == HELD
    few = Poster.objects.create(title="alone", image="alone.jpg")
    PosterEmbedding.objects.create(
        source=few, vector=at(0), digest="0" * 64, encoder_version=version
    )
    assert similar_to(few, collection="posters") == []
    assert statements(few, collection="posters") == 1


def test_a_search_that_may_stay_short_is_not_all(
    version: EncoderVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a large collection, where one item with many pictures may fill what the index gives."""
    query = product_at("query", [0], version)
    product_at("near", [10], version)
    few = Product.objects.filter(title="near")
    similar_to(query)
    assert statements(query, within=few) == HELD
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE testapp_productimageembedding")
    estimates.forget()
    monkeypatch.setattr(neighbours, "MAX_EXACT_ROWS", 1)
    assert statements(query, within=few) > HELD + 2
    assert titles(similar_to(query, within=few)) == ["near"]


def test_variants_and_doubles_are_left_out(version: EncoderVersion, settings: Settings) -> None:
    parent = product_at("parent", [0], version)
    variant = Product.objects.create(title="variant", parent=parent)
    near, double = product_at("near", [10], version), product_at("double", [12], version)
    product_at("far", [30], version)
    assert titles(similar_to(variant)) == ["near", "double", "far"]
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": {}}
    DuplicatePair.objects.create(
        collection="catalogue.productimage.original",
        first_pk=str(near.pk),
        second_pk=str(double.pk),
        kind="exact",
        probability=1,
        state=DuplicateState.CONFIRMED,
    )
    assert titles(similar_to(variant)) == ["near", "far"]
    assert found(variant) == searched(variant, settings)


def test_a_shop_may_take_a_shelf_that_is_some_seconds_old(
    add_product: AddProduct, settings: Settings
) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SHELF_SECONDS": 60}
    red, green = add_product("red", RED), add_product("green", GREEN)
    encode_all()
    assert titles(similar_to(red)) == ["green"]
    add_product("orange", ORANGE)
    encode_all()
    assert titles(similar_to(red)) == ["green"]
    green.delete()
    assert titles(similar_to(red)) == ["orange"]


def test_what_was_never_committed_is_not_kept(version: EncoderVersion) -> None:
    query = product_at("query", [0], version)
    near = product_at("near", [10], version)
    product_at("far", [30], version)
    with transaction.atomic():
        near.delete()
        assert titles(similar_to(query)) == ["far"]
        transaction.set_rollback(True)
    assert titles(similar_to(query)) == ["near", "far"]


def test_a_request_in_a_transaction_keeps_its_shelf(version: EncoderVersion) -> None:
    query = product_at("query", [0], version)
    product_at("near", [10], version)
    with transaction.atomic():
        similar_to(query)
    assert statements(query) == HELD


def test_a_shelf_is_never_older_than_the_last_write(
    add_product: AddProduct, settings: Settings
) -> None:
    """Shelves are read all the while that vectors are written, by another connection."""
    products = [add_product(f"{number}", colour) for number, colour in enumerate([RED, ORANGE])]
    encode_all()
    done = threading.Event()
    trouble: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                for product in products:
                    similar_to(product)
        except BaseException as error:
            trouble.append(error)
        finally:
            connection.close()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(25):
            add_product(f"new {number}", (number * 9, 255 - number * 9, number))
            encode_all()
            for product in products:
                assert found(product, limit=40) == searched(product, settings, limit=40)
    finally:
        done.set()
        reader.join()
    assert not trouble


def test_a_cache_that_is_down_keeps_no_shelf_away(
    version: EncoderVersion, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CACHES = {"default": {"BACKEND": f"{__name__}.BrokenCache"}}
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO}
    query = product_at("query", [0], version)
    product_at("near", [10], version)
    for _ in range(2):
        assert titles(similar_to(query)) == ["near"]
    [record] = [each for each in caplog.records if each.name == "cardigan_reco.shelves"]
    assert record.getMessage() == (
        "The cache 'default' fails, so shelves are searched: ConnectionError: no route to the cache"
    )


def test_keys_of_all_kinds_are_kept(version: EncoderVersion) -> None:
    posters = [Poster.objects.create(title=title, image=f"{title}.jpg") for title in "ab"]
    for poster, angle in zip(posters, (0, 10), strict=True):
        PosterEmbedding.objects.create(
            source=poster, vector=at(angle), digest="0" * 64, encoder_version=version
        )
    (near,) = similar_to(posters[0], collection="posters")
    assert near.matched_source is near
    assert near == posters[1]
    # Items are sources here.
    assert statements(posters[0], collection="posters") == HELD + 1
    posters[1].delete()
    assert similar_to(posters[0], collection="posters") == []


def test_writing_advances_the_revision_and_looking_does_not(add_product: AddProduct) -> None:
    def revision() -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT coalesce(max(revision), 0) FROM {revisions.TABLE}")
            return int(cursor.fetchone()[0])

    red = add_product("red", RED)
    encode_all()
    before = revision()
    assert before > 0
    similar_to(red)
    encode_all()
    assert revision() == before


def test_an_unknown_cache_is_named(settings: Settings) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SHELF_CACHE": "shelf"}
    with pytest.raises(
        ImproperlyConfigured, match=r"'SHELF_CACHE'\] is 'shelf'.*which has: default"
    ):
        conf.current()


@pytest.mark.parametrize("seconds", [-1, True, "60", float("inf")])
def test_seconds_that_are_none_are_named(settings: Settings, seconds: object) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SHELF_SECONDS": seconds}
    with pytest.raises(ImproperlyConfigured, match=r"'SHELF_SECONDS'\].* 0 or a number of seconds"):
        conf.current()
