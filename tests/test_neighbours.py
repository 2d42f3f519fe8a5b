"""The search on 20,000 pictures: the index is used, filters leave full pages, recall holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.db.models.functions import Mod
from pytest_django import DjangoAssertNumQueries, DjangoDbBlocker, Settings

from cardigan_reco import estimates, neighbours
from cardigan_reco.models import EncoderVersion
from cardigan_reco.recommendations import similar_to, similar_to_picture
from cardigan_reco.search import by_image
from tests.conftest import jpeg
from tests.testapp.catalogue.models import Product
from tests.testapp.models import ProductImageEmbedding

ROWS = 20_000
PICTURES = 2


@pytest.fixture(scope="module")
def catalogue(django_db_setup: None, django_db_blocker: DjangoDbBlocker):  # type: ignore[no-untyped-def]
    """20,000 pictures of 10,000 products in 1,000 loose groups; shelf 0 holds 1 % of them."""
    with django_db_blocker.unblock():
        version = EncoderVersion.objects.current("default")
        random = np.random.default_rng(7)
        centres = random.normal(size=(1000, 16))
        vectors = centres[random.integers(1000, size=ROWS)] + 0.4 * random.normal(size=(ROWS, 16))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO catalogue_product (id, title, is_public, shelf) "
                "SELECT i, 'product ' || i, true, i %% 100 FROM generate_series(1, %s) i",
                [ROWS // PICTURES],
            )
            cursor.execute(
                "INSERT INTO catalogue_productimage "
                "(id, product_id, original, caption, display_order) "
                "SELECT i, (i + 1) / 2, 'x.jpg', '', 0 FROM generate_series(1, %s) i",
                [ROWS],
            )
            table = ProductImageEmbedding._meta.db_table
            columns = "source_id, vector, digest, encoder_version_id"
            (index,) = ProductImageEmbedding._meta.indexes
            with connection.schema_editor() as editor:  # A full table is indexed much sooner.
                editor.remove_index(ProductImageEmbedding, index)
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                for number, vector in enumerate(vectors, 1):
                    text = "[" + ",".join(f"{value:.5f}" for value in vector) + "]"
                    copy.write_row((number, text, "0" * 64, version.pk))
            with connection.schema_editor() as editor:
                editor.add_index(ProductImageEmbedding, index)
            cursor.execute("ANALYZE")
        yield vectors
        with connection.cursor() as cursor:
            cursor.execute(
                f"TRUNCATE {table}, catalogue_productimage, catalogue_product, "
                "cardigan_reco_encoderversion CASCADE"
            )


def nearest_products(vectors, product: int, allowed=lambda number: True) -> list[int]:  # type: ignore[no-untyped-def]
    """Returns all other products by their nearest pictures, computed exactly."""
    own = vectors[[2 * product - 2, 2 * product - 1]]
    similarities = (own @ vectors.T).max(axis=0).reshape(-1, PICTURES).max(axis=1)
    order = 1 + np.argsort(-similarities)
    return [int(number) for number in order if number != product and allowed(number)]


Search = Callable[..., list[Any]]


def around_an_item(**options: Any) -> list[Any]:
    return similar_to(Product.objects.get(pk=1), **options)


def around_a_picture(**options: Any) -> list[Any]:
    return similar_to_picture(ProductImageEmbedding.objects.get(pk=1), **options)


def around_a_photo(**options: Any) -> list[Any]:
    return by_image(jpeg(), **options)


@pytest.mark.django_db
class TestSearch:
    def plans(self, search: Search, **options: object) -> str:
        """Returns the plans of the statements that a search sends."""
        plans = []

        def explain(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
            if "cardigan_query" in sql:
                with connection.connection.cursor() as cursor:
                    cursor.execute(f"EXPLAIN {sql}", params)
                    plans.append("\n".join(row[0] for row in cursor.fetchall()))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(explain):
            assert len(search(**options)) == options["limit"]
        return "\n".join(plans)

    @pytest.mark.parametrize("search", [around_an_item, around_a_picture, around_a_photo])
    def test_uses_the_index(self, catalogue: np.ndarray, search: Search) -> None:
        plan = self.plans(search, limit=8)
        assert "Index Scan using product_image_vector_hnsw" in plan
        assert "Order By: (vector <#> " in plan
        assert plan.count("cardigan_query") < 12  # One search, no second try.

    def test_a_filter_of_one_percent_is_searched_exactly(self, catalogue: np.ndarray) -> None:
        within = Product.objects.filter(shelf=0)
        plan = self.plans(around_an_item, within=within, limit=20)
        assert "product_image_vector_hnsw" not in plan

    @pytest.mark.parametrize("share", [1.0, 0.1, 0.01])
    def test_pages_are_full_and_recall_holds(self, catalogue: np.ndarray, share: float) -> None:
        shelves = set(range(round(100 * share)))
        within = Product.objects.filter(shelf__in=shelves)
        found = wanted = 0
        for product in Product.objects.filter(pk__in=range(1, 10_000, 500)):
            items = similar_to(product, within=within, limit=20)
            exact = nearest_products(catalogue, product.pk, lambda n: n % 100 in shelves)[:20]
            assert len(items) == 20
            assert len({item.pk for item in items}) == 20
            found += len({item.pk for item in items} & set(exact))
            wanted += 20
        assert found / wanted >= 0.97

    def test_a_wrong_estimate_costs_time_but_no_rows(
        self, catalogue: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The planner expects a third of all where it doesn't know, and there are 40 pictures."""
        within = Product.objects.annotate(rest=Mod("pk", 500)).filter(rest__lt=1)
        exact = nearest_products(catalogue, 1, lambda n: n % 500 == 0)[:15]
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL hnsw.max_scan_tuples = 1")  # As in a table of millions.
        found = []
        for most in (ROWS, 40, 39):
            monkeypatch.setattr(neighbours, "MAX_EXACT_ROWS", most)
            items = similar_to(Product.objects.get(pk=1), within=within, limit=15)
            found.append([item.pk for item in items])
        assert found[:2] == [exact, exact]
        assert len(found[2]) < 15  # So many aren't compared.

    def test_expected_rows_follow_the_filter(self, catalogue: np.ndarray) -> None:
        seen = []
        original = estimates.rows

        def watch(sql: str, parameters: Sequence[Any], using: str) -> int:
            seen.append(original(sql, parameters, using))
            return seen[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(estimates, "rows", watch)
            for within in [Product.objects.all(), Product.objects.filter(shelf=0)]:
                similar_to(Product.objects.get(pk=1), within=within)
        assert seen[0] > 15_000
        assert re.fullmatch(r"\d+", str(seen[1]))
        assert seen[1] < 1_000


def test_an_estimate_is_asked_for_once_in_a_while(
    django_assert_num_queries: DjangoAssertNumQueries, transactional_db: None
) -> None:
    with django_assert_num_queries(1):
        assert [estimates.rows("SELECT 1 WHERE %s", [True], "default") for _ in range(3)] == [1] * 3
    with django_assert_num_queries(1):  # A list can't be remembered.
        assert estimates.rows("SELECT 1 WHERE 1 = ANY(%s)", [[1, 2]], "default") == 1


def test_rows_are_counted_as_far_as_it_matters_and_for_as_long_as_a_search_may_take(
    db: None, settings: Settings
) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH_TIMEOUT_SECONDS": 0.2}
    series = "SELECT generate_series(1, %s)"
    assert [estimates.count(series, [rows], 5, "default") for rows in (4, 5, 10**9)] == [4, 5, 5]
    assert estimates.count("SELECT pg_sleep(%s)", [5], 5, "default") == 5
    assert estimates.count(series, [4], 5, "default") == 4  # The transaction lives.


@pytest.mark.parametrize(("length", "asked"), [(2, 1), (3, 2)])
def test_an_estimate_with_many_parameters_is_not_kept(
    length: int,
    asked: int,
    django_assert_num_queries: DjangoAssertNumQueries,
    transactional_db: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimates, "MOST_PARAMETERS", 2)
    listed = f"SELECT 1 WHERE 1 IN ({', '.join(['%s'] * length)})"
    with django_assert_num_queries(asked):
        for _ in range(2):
            estimates.rows(listed, list(range(length)), "default")
