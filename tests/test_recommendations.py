"""similar_to: which items come, in which order, and at which price."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import Manager, QuerySet
from django.db.models.functions import Upper
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries, DjangoDbBlocker, Settings

from cardigan_reco import fetching, recommendations, search
from cardigan_reco.asking import asking
from cardigan_reco.database import hurried
from cardigan_reco.models import EncoderVersion
from cardigan_reco.prepared import Statement
from cardigan_reco.recommendations import similar_to
from tests.aliases import alias
from tests.conftest import BLUE, GREEN, ORANGE, RED, AddProduct, encode_all, jpeg
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import Poster, PosterEmbedding, ProductImageEmbedding

pytestmark = pytest.mark.django_db

STATEMENTS = 10
"""Savepoint and its release; the plan and the search with sources and items, for each of which
settings are read, set and put back.
"""


def at(degrees: float) -> list[float]:
    """Returns a unit vector at an angle in the plane of the first two dimensions."""
    radians = math.radians(degrees)
    return [math.cos(radians), math.sin(radians), *[0.0] * 14]


@pytest.fixture
def version() -> EncoderVersion:
    return EncoderVersion.objects.current("default")


def product_at(
    title: str, angles: Sequence[float], version: EncoderVersion, **fields: object
) -> Product:
    """Saves a product with one picture a given angle; no encoder is involved."""
    product = Product.objects.create(title=title, **fields)
    for order, angle in enumerate(angles):
        source = ProductImage.objects.create(
            product=product, original=f"{title}-{order}.jpg", display_order=order
        )
        ProductImageEmbedding.objects.create(
            source=source, vector=at(angle), digest="0" * 64, encoder_version=version
        )
    return product


def titles(items: list[Product]) -> list[str]:
    return [item.title for item in items]


def test_real_pictures_come_nearest_first(add_product: AddProduct) -> None:
    red = add_product("red", RED)
    for title, colour in [("blue", BLUE), ("orange", ORANGE), ("green", GREEN)]:
        add_product(title, colour)
    encode_all()
    found = similar_to(red)
    assert titles(found)[0] == "orange"
    assert set(titles(found)) == {"orange", "green", "blue"}
    assert [item.similarity for item in found] == sorted(
        (item.similarity for item in found), reverse=True
    )


def test_similarity_is_the_cosine_of_the_nearest_pictures(version: EncoderVersion) -> None:
    query = product_at("query", [0, 90], version)
    product_at("near the second", [110, 200], version)
    product_at("near the first", [350, 20], version)
    product_at("opposed", [225], version)
    found = similar_to(query)
    assert titles(found) == ["near the first", "near the second", "opposed"]
    assert [item.similarity for item in found] == pytest.approx(
        [math.cos(math.radians(10)), math.cos(math.radians(20)), 0], abs=2e-3
    )
    assert found[0].matched_source.display_order == 0


def test_an_item_comes_once_and_never_itself(version: EncoderVersion) -> None:
    query = product_at("query", [0, 1, 2], version)
    product_at("many", [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5], version)
    product_at("one", [45], version)
    assert titles(similar_to(query)) == ["many", "one"]
    assert titles(similar_to(query, limit=1)) == ["many"]


def test_within_and_candidates_narrow_the_answer(version: EncoderVersion) -> None:
    query = product_at("query", [0], version)
    product_at("hidden", [1], version, is_public=False)
    product_at("shown", [2], version)
    product_at("other shelf", [3], version, shelf=7)
    assert titles(similar_to(query)) == ["shown", "other shelf"]
    assert titles(similar_to(query, within=Product.objects.filter(shelf=7))) == ["other shelf"]
    assert titles(similar_to(query, within=Product.objects.all())) == [
        "hidden",
        "shown",
        "other shelf",
    ]
    assert similar_to(query, within=Product.objects.none()) == []


def test_the_answers_are_objects_of_within(
    version: EncoderVersion, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    query = product_at("query", [0], version)
    product_at("near", [1], version)
    (found,) = similar_to(query, within=Product.objects.prefetch_related("images"))
    with django_assert_num_queries(0):
        assert [image.product_id for image in found.images.all()] == [found.pk]


def test_min_similarity_cuts_the_tail(version: EncoderVersion) -> None:
    query = product_at("query", [0], version)
    product_at("near", [10], version)
    product_at("far", [80], version)
    assert titles(similar_to(query, min_similarity=0.5)) == ["near"]


def test_versions_of_an_encoder_are_never_compared(version: EncoderVersion) -> None:
    older = EncoderVersion.objects.create(
        encoder="default", fingerprint="older", backend="x", dimensions=16
    )
    query = product_at("query", [0], version)
    product_at("older", [0], older)
    product_at("same", [60], version)
    assert titles(similar_to(query)) == ["same"]


def test_an_item_without_embedding_gets_nothing(version: EncoderVersion) -> None:
    product_at("other", [0], version)
    assert similar_to(Product.objects.create(title="new")) == []
    assert similar_to(Product(title="unsaved")) == []


def test_a_variant_borrows_its_parents_pictures(version: EncoderVersion) -> None:
    parent = product_at("parent", [0], version)
    variant = Product.objects.create(title="variant", parent=parent)
    product_at("near", [5], version)
    assert titles(similar_to(variant)) == ["near"]


def test_an_item_that_is_its_own_source(add_product: AddProduct) -> None:
    from django.core.files.base import ContentFile

    from tests.conftest import jpeg

    posters = [
        Poster.objects.create(title=title, image=ContentFile(jpeg(colour), name=f"{title}.jpg"))
        for title, colour in [("red", RED), ("blue", BLUE), ("orange", ORANGE)]
    ]
    encode_all()
    found = similar_to(posters[0], collection="posters")
    assert [poster.title for poster in found] == ["orange", "blue"]
    assert found[0].matched_source is found[0]
    (row,) = PosterEmbedding.objects.filter(pk=posters[0].pk)
    assert [p.title for p in recommendations.similar_to_picture(row)] == ["orange", "blue"]


def test_the_number_of_queries_is_constant(
    version: EncoderVersion, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    query = product_at("query", [0], version)
    for number in range(3):
        product_at(f"few {number}", [number], version)
    with django_assert_max_num_queries(STATEMENTS):
        assert len(similar_to(query, limit=20)) == 3
    for number in range(12):
        product_at(f"many {number}", range(number, number + 5), version)
    with django_assert_max_num_queries(STATEMENTS):
        assert len(similar_to(query, limit=20)) == 15


def test_no_vector_is_fetched(version: EncoderVersion) -> None:
    query = product_at("query", [0], version)
    product_at("near", [1], version)
    fetched = []

    def watch(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
        result = execute(sql, params, many, context)
        description = context["cursor"].description
        fetched.extend(column.type_code for column in description or [])
        return result

    with connection.execute_wrapper(watch):
        assert len(similar_to(query)) == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT oid FROM pg_type WHERE typname = 'halfvec'")
        assert cursor.fetchone()[0] not in fetched
    assert fetched


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"limit": 0}, ValueError, "limit must be a whole number from 1 to 100, got 0."),
        ({"limit": 10**9}, ValueError, "from 1 to 100, got 1000000000."),
        ({"limit": "8"}, ValueError, "from 1 to 100, got '8'."),
        ({"min_similarity": float("nan")}, ValueError, "from 0 to 1, got nan."),
        ({"min_similarity": 2}, ValueError, "from 0 to 1, got 2."),
        ({"min_similarity": "0.5"}, ValueError, "from 0 to 1, got '0.5'."),
        ({"collection": "simlar"}, LookupError, "'simlar' is not defined .* are: similar, posters"),
        ({"collection": Poster}, TypeError, "collection must be a purpose or a label, .* got <cl"),
        ({"within": Poster.objects.all()}, TypeError, "queryset of catalogue.Product, got testapp"),
        ({"within": Product.objects.all()[:3]}, ValueError, "within must not be sliced"),
        ({"within": Product.objects}, TypeError, "catalogue.Product, got a Manager; its all()"),
        ({"within": ""}, TypeError, "within must be a queryset of catalogue.Product, got a str."),
        ({"within": Product.objects.values("pk")}, TypeError, "objects, not of their values()"),
        (
            {"within": Product.objects.all().union(Product.objects.all())},
            ValueError,
            "within must not be a union; combine with Q objects.",
        ),
    ],
)
def test_bad_arguments_are_named(
    options: dict[str, object], error: type[Exception], message: str, version: EncoderVersion
) -> None:
    query = product_at("query", [0], version)
    with pytest.raises(error, match=message):
        similar_to(query, **options)  # type: ignore[arg-type]


def test_a_picture_is_a_row_of_vectors_and_its_answers_are_of_a_queryset() -> None:
    with pytest.raises(TypeError, match="must be a row of an embedding model, got <Poster: A>"):
        recommendations.similar_to_picture(Poster(title="A"))  # type: ignore[arg-type]
    row = ProductImageEmbedding(pk=1)
    with pytest.raises(TypeError, match=r"queryset of catalogue.Product, got a list."):
        recommendations.similar_to_picture(row, within=[])  # type: ignore[arg-type]


def test_an_item_of_another_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"recommends catalogue.Product objects, got <Poster: A>"):
        similar_to(Poster(title="A"))


def test_pictures_come_by_the_shops_own_base_manager(
    version: EncoderVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loud(Manager[Any]):
        def get_queryset(self) -> QuerySet[Any]:
            return super().get_queryset().annotate(loud=Upper("caption"))

    query = product_at("query", [0], version)
    near = product_at("near", [10], version)
    near.images.update(caption="sale")
    own = Loud()
    own.model = ProductImage
    monkeypatch.setitem(ProductImage._meta.__dict__, "base_manager", own)
    fetching.selected.cache_clear()
    try:
        [item] = similar_to(query)
        assert (item.title, item.matched_source.loud) == ("near", "SALE")
    finally:
        fetching.selected.cache_clear()


class TestSettingsOfTheSearch:
    def current(self, name: str) -> str:
        with connection.cursor() as cursor:
            cursor.execute("SELECT '[1]'::vector, current_setting(%s)", [name])
            return str(cursor.fetchone()[1])

    def test_end_inside_the_callers_transaction(self, version: EncoderVersion) -> None:
        query = product_at("query", [0], version)
        names = ["statement_timeout", "hnsw.ef_search", "hnsw.iterative_scan"]
        before = [self.current(name) for name in names]
        with transaction.atomic():
            similar_to(query)
            assert [self.current(name) for name in names] == before
        assert [self.current(name) for name in names] == before

    def test_cancel_a_search_that_takes_too_long_and_spare_the_transaction(
        self, version: EncoderVersion, settings: object
    ) -> None:
        from django.test import override_settings

        query = product_at("query", [0], version)
        slow = Product.objects.extra(where=["pg_sleep(5) IS NOT NULL"])
        quick = {"COLLECTIONS": {"similar": "testapp.ProductImageEmbedding"}}
        product_at("near", [0], version)
        with (
            override_settings(CARDIGAN_RECO=quick | {"SEARCH_TIMEOUT_SECONDS": 0.2}),
            pytest.raises(OperationalError, match="statement timeout"),
        ):
            similar_to(query, within=slow)
        assert titles(similar_to(query)) == ["near"]
        assert self.current("statement_timeout") == "0"


@pytest.mark.django_db(transaction=True)
class TestOutsideOfATransaction:
    """As most of a shop's requests are, where tests usually are inside one."""

    @pytest.fixture(params=[False, True], ids=["one message", "bound by the server"])
    def bound_by_server(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[bool]:
        if request.param:
            monkeypatch.setitem(connection.settings_dict["OPTIONS"], "server_side_binding", True)
        connection.close()
        yield request.param
        connection.close()

    def test_the_nearest_come_and_the_settings_go(
        self, bound_by_server: bool, version: EncoderVersion
    ) -> None:
        query = product_at("query", [0], version)
        product_at("far", [60], version)
        product_at("near", [10], version)
        assert titles(similar_to(query)) == ["near", "far"]
        with connection.cursor() as cursor:
            cursor.execute("SELECT '[1]'::vector, current_setting('hnsw.iterative_scan')")
            assert cursor.fetchone()[1] == "off"
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone()[0] == "0"
        assert connection.get_autocommit()

    def test_a_new_connection_searches_with_them(self, bound_by_server: bool) -> None:
        names = ["statement_timeout", "hnsw.ef_search", "hnsw.iterative_scan"]
        shown = ", ".join(f"current_setting('{name}')" for name in names)
        for ef, expected in ((77, ("2s", "77", "relaxed_order")), (None, ("2s", "40", "off"))):
            connection.close()  # Its settings are unknown until pgvector is loaded.
            with asking("default") as ask:
                rows = ask(Statement(f"SELECT '[1]'::vector, {shown}", []), ef)
            assert rows[0][1:] == expected

    def test_a_search_takes_one_message(
        self, version: EncoderVersion, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        query = product_at("query", [0], version)
        product_at("near", [10], version)
        with django_assert_num_queries(2):  # The plan, and the search with pictures and items.
            similar_to(query)
        with django_assert_num_queries(1):
            similar_to(query)

    def test_one_that_takes_too_long_is_cancelled(
        self, bound_by_server: bool, version: EncoderVersion, settings: Settings
    ) -> None:
        query = product_at("query", [0], version)
        product_at("near", [10], version)
        own = settings.CARDIGAN_RECO
        settings.CARDIGAN_RECO = {**own, "SEARCH_TIMEOUT_SECONDS": 0.2}
        with pytest.raises(OperationalError, match="statement timeout"):
            similar_to(query, within=Product.objects.extra(where=["pg_sleep(5) IS NOT NULL"]))
        settings.CARDIGAN_RECO = own
        assert titles(similar_to(query)) == ["near"]

    def test_one_that_waits_for_who_has_a_table_for_himself_is_cancelled(
        self, bound_by_server: bool, version: EncoderVersion, settings: Settings
    ) -> None:
        query = product_at("query", [0], version)
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH_TIMEOUT_SECONDS": 0.2}
        other = connection.copy()
        try:
            with other.cursor() as cursor:
                cursor.execute("SET idle_in_transaction_session_timeout = '10s'")
                cursor.execute("BEGIN")
                cursor.execute(f"LOCK TABLE {Product._meta.db_table}")
                with pytest.raises(OperationalError, match="statement timeout"):
                    similar_to(query)
        finally:
            other.close()

    def test_a_transaction_that_django_does_not_know_of_keeps_its_settings(
        self, bound_by_server: bool, version: EncoderVersion, settings: Settings
    ) -> None:
        query = product_at("query", [0], version)
        product_at("near", [10], version)
        slow = Product.objects.extra(where=["pg_sleep(5) IS NOT NULL"])
        transaction.set_autocommit(False)
        try:
            assert titles(similar_to(query)) == ["near"]
            own = settings.CARDIGAN_RECO
            settings.CARDIGAN_RECO = {**own, "SEARCH_TIMEOUT_SECONDS": 0.2}
            with pytest.raises(OperationalError, match="statement timeout"):
                similar_to(query, within=slow)
            with hurried("default", 1), connection.cursor() as cursor:
                cursor.execute("SELECT")
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_setting('statement_timeout')")
                assert cursor.fetchone() == ("0",)
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("silent_doorbell")
@pytest.mark.parametrize(
    "options", [{}, {"DUPLICATES": {}}, {"SHELF_CACHE": "default"}], ids=lambda options: [*options]
)
def test_a_replica_is_asked_for_everything(
    options: dict[str, object],
    add_product: AddProduct,
    settings: Settings,
    django_db_blocker: DjangoDbBlocker,
) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, **options}
    mug = add_product("mug", RED)
    add_product("cup", ORANGE)
    encode_all()
    picture = ProductImageEmbedding.objects.get(source__product=mug)
    read_only = {
        **connection.settings_dict["OPTIONS"],
        "options": "-c default_transaction_read_only=on",
    }
    with (
        django_db_blocker.unblock(),
        alias("replica", OPTIONS=read_only),
        CaptureQueriesContext(connection) as elsewhere,
    ):
        within = ProductImageEmbedding.candidates().using("replica")
        assert titles(similar_to(mug, within=within)) == ["cup"]
        assert titles(recommendations.similar_to_picture(picture, within=within)) == ["cup"]
        photo = search.by_image(jpeg(RED), within=within)
        assert titles(photo) == ["mug", "cup"]
        assert {item.matched_source._state.db for item in photo} == {"replica"}
        picture.pk = 0
        assert recommendations.similar_to_picture(picture, within=within) == []
    assert [query["sql"] for query in elsewhere] == []
