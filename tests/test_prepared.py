"""Searches that a connection keeps prepared: which, how many, and what happens without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet
from pytest_django import DjangoAssertNumQueries, Settings

from cardigan_reco import estimates, prepared
from cardigan_reco.models import EncoderVersion
from cardigan_reco.prepared import Statement
from cardigan_reco.recommendations import similar_to
from tests.test_recommendations import product_at, titles
from tests.testapp.catalogue.models import Product, ProductImage

# Inside a transaction, as tests usually are, nothing is prepared.
pytestmark = pytest.mark.django_db(transaction=True)

OFTEN = prepared.AFTER + 1
"""Searches alike, the last of which is prepared."""


@pytest.fixture(autouse=True)
def new_connection() -> Iterator[None]:
    connection.close()
    yield
    connection.close()


@pytest.fixture
def mug() -> Product:
    version = EncoderVersion.objects.current("default")
    product_at("near", [10], version)
    product_at("far", [60], version)
    return product_at("mug", [0], version)


@pytest.fixture
def settle(settings: Settings) -> Callable[..., None]:
    def settle(**values: Any) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, **values}

    return settle


def kept() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements ORDER BY prepare_time")
        return [text for (text,) in cursor.fetchall()]


def rows(statement: Statement) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement.sql, statement.parameters)
        return prepared.last_rows(cursor)


def ask_often(item: Product, within: QuerySet[Product] | None = None) -> list[str]:
    for _ in range(OFTEN):
        answers = titles(similar_to(item, within=within))
    return answers


def titled(part: str) -> QuerySet[Product]:
    return Product.objects.filter(title__contains=part)


class TestWhatIsAskedOften:
    def test_is_prepared_once_and_serves_all_items(
        self, mug: Product, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        for number in range(OFTEN):
            assert len(kept()) == 0, number
            assert titles(similar_to(mug)) == ["near", "far"]
        assert len(kept()) == 1
        assert titles(similar_to(Product.objects.get(title="far"))) == ["near", "mug"]
        with django_assert_num_queries(1):  # The search, in one message as ever.
            assert titles(similar_to(mug)) == ["near", "far"]
        assert len(kept()) == 1

    def test_is_prepared_with_the_values_of_its_filter(self, mug: Product) -> None:
        assert ask_often(mug, titled("ea")) == ["near"]
        assert ask_often(mug, titled("fa")) == ["far"]
        first, second = kept()
        assert "'%ea%'" in first
        assert "'%fa%'" in second
        assert titles(similar_to(mug, within=titled("ea"))) == ["near"]

    def test_may_have_any_letters_in_its_filter(self, mug: Product) -> None:
        odd = "100 %s 'new' %% $1 \\"
        Product.objects.filter(title="far").update(title=odd)
        assert ask_often(mug, titled("%s 'new' %% $1 \\")) == [odd]
        assert len(kept()) == 1

    def test_sees_vectors_and_items_that_came_later(self, mug: Product) -> None:
        ask_often(mug)
        product_at("nearer", [5], EncoderVersion.objects.current("default"))
        Product.objects.filter(title="far").update(is_public=False)
        assert titles(similar_to(mug, within=Product.objects.filter(is_public=True))) == [
            "nearer",
            "near",
        ]

    def test_is_planned_anew_where_a_value_cannot_be_told_from_others(self, mug: Product) -> None:
        listed = Product.objects.extra(where=["title = ANY(%s)"], params=[["near", "mug"]])
        assert ask_often(mug, listed) == ["near"]
        assert kept() == []

    def test_may_have_nothing_of_its_own(self) -> None:
        for _ in range(OFTEN):
            assert prepared.ask(connection, Statement("SELECT %s", [], [7]), rows) == [(7,)]
        assert len(kept()) == 1


class TestAConnection:
    def test_keeps_so_many_and_forgets_the_longest_unused(
        self, mug: Product, settle: Callable[..., None]
    ) -> None:
        settle(PREPARED_SEARCHES=2)
        ask_often(mug, titled("n"))
        ask_often(mug, titled("f"))
        similar_to(mug, within=titled("n"))
        assert ask_often(mug, titled("a")) == ["near", "far"]
        texts = kept()
        assert ["'%n%'" in text or "'%a%'" in text for text in texts] == [True, True]

    def test_counts_so_many_different_searches(
        self, mug: Product, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prepared, "COUNTED", 2)
        for _ in range(OFTEN):
            for part in ("n", "f", "a"):
                similar_to(mug, within=titled(part))
        assert kept() == []

    def test_counts_none_with_a_long_list_of_keys(self, mug: Product) -> None:
        """Such as those that a search engine found: each would be kept, and hardly comes again."""
        listed = Product.objects.filter(pk__in=[mug.pk, *range(10**6, 10**6 + 200)])
        assert ask_often(mug, listed) == []
        assert kept() == []
        assert not any(found.counts for found in prepared._kept.values())

    def test_counts_none_with_a_long_text(self, mug: Product) -> None:
        ask_often(mug, Product.objects.exclude(title="a" * (prepared.MOST_CHARACTERS + 1)))
        assert kept() == []
        assert not any(found.counts for found in prepared._kept.values())

    @pytest.mark.parametrize("pooled", [False, True])
    def test_keeps_none_where_the_settings_say_so(
        self,
        pooled: bool,
        mug: Product,
        settle: Callable[..., None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        if pooled:
            monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
        else:
            settle(PREPARED_SEARCHES=0)
        assert ask_often(mug) == ["near", "far"]
        assert kept() == []

    def test_prepares_where_the_settings_do_not_say_whether_there_is_a_pool(
        self, mug: Product, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As startproject writes them. dj_database_url, which the tests use, always says it."""
        monkeypatch.delitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS")
        assert ask_often(mug) == ["near", "far"]
        assert len(kept()) == 1

    def test_prepares_nothing_inside_a_transaction(self, mug: Product) -> None:
        with transaction.atomic():
            assert ask_often(mug) == ["near", "far"]
            assert kept() == []

    def test_that_has_lost_them_answers_and_prepares_no_more(self, mug: Product) -> None:
        ask_often(mug)
        with connection.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")
        assert ask_often(mug) == ["near", "far"]
        assert kept() == []
        connection.close()
        ask_often(mug)
        assert len(kept()) == 1

    def test_that_turns_out_to_have_one_already_answers(self, mug: Product) -> None:
        """As behind PgBouncer, where another client has prepared the same."""
        ask_often(mug)
        prepared._kept.clear()
        assert ask_often(mug) == ["near", "far"]
        assert titles(similar_to(mug)) == ["near", "far"]

    def test_outlives_a_change_of_types(self, mug: Product) -> None:
        ask_often(mug)
        change = f"ALTER TABLE {ProductImage._meta.db_table} ALTER COLUMN product_id TYPE %s"
        with connection.cursor() as cursor:
            cursor.execute(change % "integer")
            try:
                assert titles(similar_to(mug)) == ["near", "far"]
            finally:
                cursor.execute(change % "bigint")

    def test_prepares_no_plan(self, mug: Product) -> None:
        """Which PostgreSQL can't: what a filter leaves is estimated anew every few seconds."""
        for _ in range(OFTEN):
            estimates.forget()
            assert titles(similar_to(mug)) == ["near", "far"]

    def test_keeps_one_that_was_cancelled_when_it_was_prepared(
        self, mug: Product, settle: Callable[..., None]
    ) -> None:
        slow = Product.objects.extra(
            where=["pg_sleep(current_setting('shop.pause')::float) IS NOT NULL"]
        )
        with connection.cursor() as cursor:
            cursor.execute("SET shop.pause = 0")
            for _ in range(prepared.AFTER):
                similar_to(mug, within=slow)
            cursor.execute("SET shop.pause = 5")
            settle(SEARCH_TIMEOUT_SECONDS=0.2)
            with pytest.raises(OperationalError, match="statement timeout"):
                similar_to(mug, within=slow)
            assert len(kept()) == 1
            cursor.execute("SET shop.pause = 0")
            similar_to(mug, within=slow)
            assert len(kept()) == 1
