"""Swapping an encoder: nothing compares vectors of two versions, and the shop never notices."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from copy import copy
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from pytest_django import Settings

from cardigan_reco import comparison, queue, recommendations, search
from cardigan_reco.duplicates import candidates, listings, pictures, verdicts
from cardigan_reco.models import (
    Embedding,
    EncoderVersion,
    EncodingRequest,
)
from tests.conftest import BLUE, GREEN, ORANGE, RED, AddProduct, add_image, encode_all, jpeg, need
from tests.duplicates.rows import group_of, pair
from tests.processes import ROOT
from tests.swapping.encoders import DIMENSIONS
from tests.swapping.shop import (  # noqa: F401
    NEW,
    OLD,
    second_table,
    second_table_unknown,
    with_weights,
)
from tests.testapp.catalogue.models import Product
from tests.testapp.models import ProductImageEmbedding

COLOURS = (RED, ORANGE, GREEN, BLUE)
EVERYWHERE_THE_SAME = np.eye(DIMENSIONS, dtype=np.float32)[0]

pytestmark = pytest.mark.usefixtures("silent_doorbell", "second_table")


@pytest.fixture
def shop(add_product: AddProduct) -> list[Product]:
    products = [add_product(f"product {place}", COLOURS[place % 4]) for place in range(8)]
    encode_all()
    return products


@pytest.fixture
def half_encoded(
    shop: list[Product],
    second_table: type[Embedding],  # noqa: F811
    settings: Settings,
) -> list[Product]:
    """The second table while new weights are on their way: every other row is of the new state.

    All its vectors are equal, so that only the version keeps any two of them apart.
    """
    settings.CARDIGAN_RECO = with_weights("2")
    sources = [product.images.get().pk for product in shop[::2]]
    queue.mark(second_table, sources, using="default")
    encode_all()
    second_table._base_manager.update(vector=EVERYWHERE_THE_SAME)
    assert len(versions_of(second_table._base_manager.all())) == 2
    return shop


def versions_of(rows: Iterable[Any]) -> set[int]:
    return {row.encoder_version_id for row in rows}


def versions_found(table: type[Embedding], items: Iterable[Any]) -> set[int]:
    """Returns the versions of the vectors by which items were found."""
    keys = [item.matched_source.pk for item in items]
    return versions_of(table._base_manager.filter(pk__in=keys))


@pytest.mark.django_db
class TestVersions:
    @pytest.mark.parametrize("exact_rows", [1, 12_000], ids=["by index", "exactly"])
    def test_a_shelf_is_of_one(
        self,
        half_encoded: list[Product],
        second_table: type[Embedding],  # noqa: F811
        settings: Settings,
        exact_rows: int,
    ) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "EXACT_ROWS": exact_rows}
        for product in half_encoded:
            own = versions_of(second_table._base_manager.filter(source__product=product))
            found = recommendations.similar_to(product, collection=NEW, limit=20)

            assert len(found) == 3  # The others of its half.
            assert versions_found(second_table, found) == own
            [row] = second_table._base_manager.filter(source__product=product)
            around = recommendations.similar_to_picture(row, limit=20)
            assert set(around) == set(found)

    def test_a_shelf_is_of_one_even_where_the_item_is_of_two(
        self,
        half_encoded: list[Product],
        second_table: type[Embedding],  # noqa: F811
    ) -> None:
        product = half_encoded[1]
        image = add_image(product, RED, 1)
        encode_all()
        second_table._base_manager.update(vector=EVERYWHERE_THE_SAME)
        own = second_table._base_manager.filter(source__product=product)
        assert len(versions_of(own)) == 2
        assert own.filter(pk=image.pk).exists()

        found = recommendations.similar_to(product, collection=NEW, limit=20)
        assert len(versions_found(second_table, found)) == 1

    def test_a_photo_finds_what_its_encoder_made(
        self,
        half_encoded: list[Product],
        second_table: type[Embedding],  # noqa: F811
        settings: Settings,
    ) -> None:
        current = EncoderVersion.objects.current("next")
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "COLLECTIONS": {"similar": NEW}}
        found = search.by_image(jpeg(RED), limit=20)
        assert set(found) == set(half_encoded[::2])
        assert versions_found(second_table, found) == {current.pk}

        settings.CARDIGAN_RECO = with_weights("3")
        assert search.by_image(jpeg(RED), limit=20) == []

    def test_doubles_are_looked_for_in_one(
        self,
        half_encoded: list[Product],
        second_table: type[Embedding],  # noqa: F811
        settings: Settings,
    ) -> None:
        settings.CARDIGAN_RECO = {
            **settings.CARDIGAN_RECO,
            "COLLECTIONS": {"similar": NEW},
            "DUPLICATES": {"LISTINGS": "tests.duplicates.shop.PlainListings"},
        }
        chosen = listings.current()
        assert chosen is not None
        compared = pictures.comparable(chosen, using="default")
        assert compared is not None
        keys = [product.images.get().pk for product in half_encoded]
        candidates.prepare(compared)
        for exactly in (True, False):
            around = candidates.by_vector(compared, keys, exactly=exactly)
            for place, key in enumerate(keys):
                assert set(around[key].nearest) == set(keys[place % 2 :: 2]) - {key}
        pairs = {(keys[0], key): f"{row_digest(keys[0])}:{row_digest(key)}" for key in keys[1:]}
        for candidate in candidates.resolve(compared, pairs):
            is_same = keys.index(candidate.sources[1]) % 2 == 0
            assert (candidate.similarity is not None) == is_same

    def test_two_tables_never_meet(
        self,
        shop: list[Product],
        second_table: type[Embedding],  # noqa: F811
    ) -> None:
        found = comparison.compare(shop[0], comparison.chosen(OLD, NEW))
        for shelf, table in ((found.old, ProductImageEmbedding), (found.new, second_table)):
            vectors = {
                pk: np.array(vector, np.float32)
                for pk, vector in table._base_manager.values_list("pk", "vector")
            }
            own = vectors[shop[0].images.get().pk]
            assert len(shelf.items) == 7
            for item in shelf.items:
                expected = float(own @ vectors[item.matched_source.pk])
                assert item.similarity == pytest.approx(expected, abs=0.002)
        similar = {item.pk: item.similarity for item in found.old.items}
        # They would have been mistaken for each other's otherwise.
        assert any(abs(similar[item.pk] - item.similarity) > 0.01 for item in found.new.items)

    def test_a_comparison_in_between_says_so(
        self,
        half_encoded: list[Product],
        second_table: type[Embedding],  # noqa: F811
    ) -> None:
        tables = comparison.chosen(OLD, NEW)
        pairs = {comparison.versions(product, tables) for product in half_encoded}
        assert len(pairs) == 2
        add_image(half_encoded[1], RED, 1)
        encode_all()
        found = comparison.compare(half_encoded[1], tables)
        assert len(found.new.versions) == 2
        assert found.versions is None


def row_digest(key: int) -> str:
    return str(ProductImageEmbedding.objects.values_list("digest", flat=True).get(pk=key))


@pytest.mark.django_db
class TestSteps:
    def test_a_save_is_for_both_tables(
        self,
        shop: list[Product],
        second_table: type[Embedding],  # noqa: F811
    ) -> None:
        image = add_image(shop[0], BLUE, 1)
        labels = EncodingRequest.objects.values_list("collection", flat=True)
        assert set(labels) == {OLD.lower(), NEW.lower()}
        encode_all()
        image.delete()
        for table in (ProductImageEmbedding, second_table):
            assert table._base_manager.count() == 8

    def test_encoding_goes_on_where_it_stopped(
        self,
        shop: list[Product],
        second_table: type[Embedding],  # noqa: F811
    ) -> None:
        second_table._base_manager.all().delete()
        out = io.StringIO()
        call_command("encode_images", NEW, "--stale", limit=3, stdout=out, stderr=io.StringIO())
        call_command("encode_images", NEW, "--stale", stdout=out, stderr=io.StringIO())
        call_command("encode_images", NEW, "--stale", stdout=out, stderr=io.StringIO())

        first, second, third = out.getvalue().splitlines()
        assert first.startswith(f"{NEW}: 3 encoded, 0 unchanged")
        assert second.startswith(f"{NEW}: 5 encoded, 0 unchanged")
        assert third.startswith(f"{NEW}: 0 encoded, 0 unchanged")
        assert second_table._base_manager.count() == 8

    def test_one_setting_switches_and_switches_back(
        self, shop: list[Product], settings: Settings
    ) -> None:
        before = recommendations.similar_to(shop[0])
        other = recommendations.similar_to(shop[0], collection=NEW)
        assert before != other
        collections = settings.CARDIGAN_RECO["COLLECTIONS"]
        for label, expected in ((NEW, other), (OLD, before)):
            settings.CARDIGAN_RECO = {
                **settings.CARDIGAN_RECO,
                "COLLECTIONS": {**collections, "similar": label},
            }
            assert recommendations.similar_to(shop[0]) == expected

    def test_code_without_the_class_deletes_pictures_while_the_table_has_no_row_of_them(
        self,
        shop: list[Product],
        second_table: type[Embedding],  # noqa: F811
    ) -> None:
        """So the web is restarted before the workers, which store the vectors."""
        second_table._base_manager.filter(source__product=shop[0]).delete()
        with second_table_unknown():
            delete_picture(shop[0])
            with pytest.raises(IntegrityError, match="swapping_productimageembeddingv2"):
                delete_picture(shop[1])

    def test_a_table_without_a_constraint_outlives_its_class(
        self,
        shop: list[Product],
        second_table: type[Embedding],  # noqa: F811
    ) -> None:
        """So it goes before the class does: until the table is dropped, pictures are deleted."""
        source = second_table._meta.get_field("source")
        unbound = copy(source)
        unbound.db_constraint = False
        connection.check_constraints()  # A table with events that wait can't be altered.
        with connection.schema_editor() as editor:
            editor.alter_field(second_table, source, unbound)
        with second_table_unknown():
            delete_picture(shop[0])
        assert second_table._base_manager.count() == 8
        assert ProductImageEmbedding.objects.count() == 7

    def test_verdicts_on_duplicates_hold(self, shop: list[Product], settings: Settings) -> None:
        chosen = {"LISTINGS": "tests.duplicates.shop.PlainListings"}
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": chosen}
        group = group_of(pair(shop[4], shop[1], probability=0.9))
        verdicts.confirm(group.pk, version=group.version, reviewer="anna")
        assert len(recommendations.similar_to(shop[0])) == 6
        # Before it serves, too, where people compare both.
        assert len(recommendations.similar_to(shop[0], collection=NEW)) == 6

        switched = {**settings.CARDIGAN_RECO["COLLECTIONS"], "similar": NEW}
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "COLLECTIONS": switched}
        assert len(recommendations.similar_to(shop[0])) == 6


def delete_picture(product: Product) -> None:
    """Deletes it, and looks at the keys as a commit does."""
    with transaction.atomic():
        product.images.get().delete()
        connection.check_constraints()


def test_a_shop_under_load_swaps_and_nobody_notices() -> None:
    need("redis-server")
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/swap.py"), "--rows=300", "--seconds=0.5", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-20_000:]
    figures = json.loads(done.stdout)
    for promised in ("errors", "errors of saves", "mixed or of the wrong table"):
        assert figures[promised] == 0
    assert figures["pictures without the vector of their newest file"] == 0
    # Both tables have served, and which one an answer is of can be told.
    assert min(figures["of the old table"], figures["of the new table"]) > 10
    assert figures["that could be of either"] < figures["requests"] / 10
    # The command was killed with work in hand, and the one after it did the rest.
    assert 0 < figures["vectors when the command was killed"] < 300
