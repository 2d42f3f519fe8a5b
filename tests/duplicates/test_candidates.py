"""Where candidates come from: the statements, their plans, and how many there are."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext, override_settings
from pytest_django import DjangoDbBlocker, Settings

from cardigan_reco.copies import describe
from cardigan_reco.duplicates import candidates, listings, pairs, pending, pictures
from cardigan_reco.duplicates.pictures import Pictures
from cardigan_reco.duplicates.run import Run
from cardigan_reco.models import CopyDescriptor, EncoderVersion
from tests.duplicates.rows import pair
from tests.duplicates.shop import photo
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import ProductImageEmbedding

pytestmark = pytest.mark.django_db
ROWS = 3_000
PLAIN = {"LISTINGS": "tests.duplicates.shop.PlainListings"}


@pytest.fixture(autouse=True)
def plain(settings: Settings) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": PLAIN}


def the_pictures() -> Pictures:
    shop = listings.current()
    assert shop is not None
    found = pictures.comparable(shop, using="default")
    assert found is not None
    return found


def angle(degrees: float) -> list[float]:
    """Returns a unit vector in a plane: how near two are is how near their angles are."""
    radians = math.radians(degrees)
    return [math.cos(radians), math.sin(radians), *[0.0] * 14]


def add(
    *vectors: list[float],
    bits: list[int] | None = None,
    version: EncoderVersion | None = None,
    compared: bool = True,
) -> list[int]:
    """Saves a listing with one picture for each vector; returns their keys."""
    version = (
        version
        or EncoderVersion.objects.get_or_create(
            encoder="default", fingerprint="f", defaults={"backend": "b", "dimensions": 16}
        )[0]
    )
    first = ProductImage.objects.count() + 1
    keys = list(range(first, first + len(vectors)))
    digests = [hashlib.sha256(str(key).encode()).hexdigest() for key in keys]
    hashes = bits or [key * 0x1234567 for key in keys]
    Product.objects.bulk_create(Product(pk=key, title="mug") for key in keys)
    ProductImage.objects.bulk_create(
        ProductImage(pk=key, product_id=key, original="x") for key in keys
    )
    ProductImageEmbedding.objects.bulk_create(
        ProductImageEmbedding(pk=key, vector=vector, digest=digest, encoder_version=version)
        for key, vector, digest in zip(keys, vectors, digests, strict=True)
    )
    CopyDescriptor.objects.bulk_create(
        CopyDescriptor(digest=digest, bits=one, mirrored_bits=~one, data=b"")
        for digest, one in zip(digests, hashes, strict=True)
    )
    if compared:
        pending.record(the_pictures(), pending.among(the_pictures(), keys))
    return keys


def rebuild_the_index() -> None:
    """Empties its graph of what other tests have rolled back, which a vacuum would find some day;
    so small a table among so much of it, a search may end before it comes to a row.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"REINDEX TABLE {ProductImageEmbedding._meta.db_table}")


@pytest.mark.parametrize(("own", "expected"), [(None, "70"), (200, "200"), (10, "32")])
def test_the_index_is_searched_as_the_collection_asks(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, own: int | None, expected: str
) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "EF_SEARCH": 70}
    monkeypatch.setattr(ProductImageEmbedding, "ef_search", own)
    candidates.prepare(the_pictures())
    with connection.cursor() as cursor:
        cursor.execute("SHOW hnsw.ef_search")
        assert cursor.fetchone() == (expected,)


class TestVectors:
    @pytest.fixture(autouse=True)
    def clean(self, db: None) -> None:
        rebuild_the_index()

    def around(self, key: int, *, exactly: bool) -> candidates.Neighbours:
        candidates.prepare(the_pictures())
        return candidates.by_vector(the_pictures(), [key], exactly=exactly)[key]

    @pytest.mark.parametrize("exactly", [True, False])
    def test_the_nearest_come_first(self, exactly: bool) -> None:
        keys = add(*(angle(degrees) for degrees in (0, 50, 20, 80, 10)))
        found = self.around(keys[0], exactly=exactly)
        assert found.nearest == [keys[place] for place in (4, 2, 1, 3)]
        cosines = [math.cos(math.radians(degrees)) for degrees in (10, 20, 50, 80)]
        assert found.level == pytest.approx(sum(cosines) / 4, abs=0.001)

    @pytest.mark.parametrize("exactly", [True, False])
    def test_the_level_is_of_the_nearest_sixteen(self, exactly: bool) -> None:
        keys = add(angle(0), *[angle(10)] * 16, *[angle(80)] * 16)
        found = self.around(keys[0], exactly=exactly)
        assert found.level == pytest.approx(math.cos(math.radians(10)), abs=0.001)

    def test_only_vectors_of_one_encoder_version_are_compared(self) -> None:
        other = EncoderVersion.objects.create(
            encoder="default", fingerprint="g", backend="b", dimensions=16
        )
        keys = add(angle(0), angle(40))
        add(angle(1), version=other)
        assert self.around(keys[0], exactly=False).nearest == [keys[1]]
        [candidate] = candidates.resolve(the_pictures(), {(keys[0], keys[1] + 1): None})
        assert candidate.similarity is None

    def test_a_listing_alone_has_nothing_around_it(self) -> None:
        keys = add(angle(0))
        assert candidates.by_vector(the_pictures(), keys, exactly=False) == {}


class TestHashes:
    @pytest.mark.parametrize("band", range(4))
    def test_three_bits_are_found_wherever_they_are(self, band: int) -> None:
        chance = random.Random(band)
        own = chance.getrandbits(64) - 2**63
        flipped = own
        for other in set(range(4)) - {band}:
            flipped ^= 1 << (16 * other + chance.randrange(15))
        keys = add(angle(0), angle(40), bits=[own, flipped])
        assert candidates.by_hash(the_pictures(), keys[1:], limit=5) == [(keys[1], keys[0])]

    def test_a_mirrored_picture_is_found(self) -> None:
        keys = add(angle(0), angle(40), bits=[5, ~5])
        assert candidates.by_hash(the_pictures(), keys[1:], limit=5) == [(keys[1], keys[0])]

    def test_others_are_not(self) -> None:
        far = 0b11111111111 << 16
        keys = add(angle(0), angle(40), bits=[0, far])
        assert candidates.by_hash(the_pictures(), keys[1:], limit=5) == []

    def test_the_nearest_are_chosen(self) -> None:
        keys = add(*[angle(0)] * 5, bits=[0, 0b111, 0b1, 0b1111, 0b11])
        found = candidates.by_hash(the_pictures(), keys[:1], limit=2)
        assert {other for _, other in found} == {keys[2], keys[4]}

    def test_a_picture_that_was_not_compared_is_not_found(self) -> None:
        keys = add(angle(0), bits=[0])
        add(angle(0), bits=[1], compared=False)
        assert candidates.by_hash(the_pictures(), keys, limit=5) == []


@pytest.fixture(scope="class")
def many(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[list[int]]:
    """A catalogue that is worth an index, with its statistics."""
    numbers = np.random.default_rng(1)
    vectors = numbers.normal(size=(ROWS, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chance = random.Random(1)
    bits = [chance.getrandbits(64) - 2**63 for _ in range(ROWS)]
    chosen = {**settings.CARDIGAN_RECO, "DUPLICATES": PLAIN}
    with django_db_blocker.unblock():
        rebuild_the_index()
        with override_settings(CARDIGAN_RECO=chosen):
            keys = add(*vectors.tolist(), bits=bits)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        yield keys
        call_command("flush", verbosity=0, interactive=False)


def plans(queries: CaptureQueriesContext) -> str:
    """Returns the plans of the statements that were captured."""
    found = []
    with connection.cursor() as cursor:
        for query in queries.captured_queries:
            if query["sql"].lstrip().startswith(("WITH", 'SELECT "')):
                cursor.execute(f"EXPLAIN {query['sql']}")
                found += [row[0] for row in cursor.fetchall()]
    return "\n".join(found)


def capture(call: Any) -> str:
    candidates.prepare(the_pictures())
    with CaptureQueriesContext(connection) as queries:
        call()
    return plans(queries)


class TestManyPictures:
    def test_the_vector_index_serves(self, many: list[int]) -> None:
        plan = capture(lambda: candidates.by_vector(the_pictures(), many[:20], exactly=False))
        assert "Index Scan using product_image_vector_hnsw" in plan
        assert "Order By: (vector <#> own.vector)" in plan

    def test_the_vector_index_serves_a_tenant(self, many: list[int], settings: Settings) -> None:
        chosen = {"LISTINGS": "tests.duplicates.shop.ShelvedListings"}
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": chosen}
        plan = capture(lambda: candidates.by_vector(the_pictures(), many[:20], exactly=False))
        assert "Index Scan using product_image_vector_hnsw" in plan

    def test_without_the_index_the_rows_are_compared(self, many: list[int]) -> None:
        plan = capture(lambda: candidates.by_vector(the_pictures(), many[:1], exactly=True))
        assert "hnsw" not in plan

    def test_the_band_indexes_serve(self, many: list[int]) -> None:
        plan = capture(lambda: candidates.by_hash(the_pictures(), many[:20], limit=11))
        for band in range(4):
            assert f"using cardigan_reco_copy_band{band}" in plan
        assert "using cardigan_reco_check_digest" in plan
        assert "Seq Scan on cardigan_reco_copydescriptor" not in plan

    def test_the_digest_index_serves(self, many: list[int]) -> None:
        plan = capture(lambda: candidates.by_digest(the_pictures(), many[:20]))
        assert "using cardigan_reco_check_digest" in plan

    def test_the_index_of_listings_serves_a_verdict(self, many: list[int]) -> None:
        pks = [str(pk) for pk in Product.objects.values_list("pk", flat=True)[:20]]
        found = [pair(*pks[place : place + 2]) for place in range(0, 20, 2)]
        plan = capture(lambda: pairs.judged(found, "default"))
        assert "using cardigan_reco_check_item" in plan

    def test_the_plans_hold_while_the_planner_takes_the_checks_for_an_empty_table(
        self, many: list[int]
    ) -> None:
        """As in the first run, which fills the table."""
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE pg_class SET reltuples = 0, relpages = 0 "
                "WHERE relname = 'cardigan_reco_duplicatecheck'"
            )
        plan = capture(lambda: candidates.by_hash(the_pictures(), many[:20], limit=11))
        assert "using cardigan_reco_check_digest" in plan

    def test_tenants_with_few_pictures_are_searched_exactly(
        self, many: list[int], settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chosen = {"LISTINGS": "tests.duplicates.shop.ShelvedListings"}
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": chosen}
        Product.objects.filter(pk__lte=100).update(shelf=1)
        monkeypatch.setattr(candidates, "FEW_ROWS", 150)
        assert candidates.are_few(the_pictures(), {0, 1}) == {0: False, 1: True}


@pytest.mark.parametrize("count", [5, 50])
def test_a_chunk_takes_as_many_statements_with_few_pictures_as_with_many(count: int) -> None:
    """What depends on the pairs that it finds is counted in tests/duplicates/test_grouping.py."""
    add(*(angle(degrees) for degrees in range(count)), compared=False)
    for seed, row in enumerate(CopyDescriptor.objects.all()):
        row.data = describe(photo(seed)).data
        row.save()
    run = Run(the_pictures(), 0.5, 10)
    with CaptureQueriesContext(connection) as queries:
        compared, stored = run.compare(pending.after(the_pictures(), None, limit=100))
    assert (len(compared), stored.found) == (count, 0)
    assert len([query for query in queries if "SAVEPOINT" not in query["sql"]]) == 19
