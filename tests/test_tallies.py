"""Tallies: counted by minute, summed up after a day, never in the way of the encoding."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from cardigan_reco import tallies
from cardigan_reco.models import EncodingTally
from tests.conftest import GREEN, RED, AddProduct, add_image, encode_all
from tests.testapp.models import ProductImageEmbedding

pytestmark = pytest.mark.django_db(transaction=True)
LABEL = ProductImageEmbedding._meta.label_lower
DB = "default"


def add(seconds: float = 0.3, label: str = LABEL, **results: int) -> None:
    tallies.add(label, results, seconds, using=DB)


def age(**past: float) -> None:
    """Moves all rows but that of the old ones into the past."""
    rows = EncodingTally.objects.exclude(minute=tallies.BEFORE)
    rows.update(minute=timezone.now().replace(second=0, microsecond=0) - timedelta(**past))


def total() -> tallies.Total:
    (found,) = tallies.totals(using=DB)
    return found


def test_batches_of_a_minute_are_one_row() -> None:
    add(0.3, encoded=30, dead=2)
    add(0.05, encoded=5, retried=1)
    add(61.0, encoded=1)
    assert EncodingTally.objects.count() <= 2  # A minute may end meanwhile.
    found = total()
    assert found.collection == LABEL
    assert {key: count for key, count in found.results.items() if count} == {
        "encoded": 36,
        "dead": 2,
        "retried": 1,
    }
    assert found.seconds == pytest.approx(61.35)
    # Up to 0.1 s, up to 0.5 s, and above all bounds.
    assert found.durations == (1, 0, 1, 0, 0, 0, 0, 0, 0, 1)


def test_what_encoding_does_is_counted(add_product: AddProduct) -> None:
    product = add_product("mug", RED, GREEN)
    broken = add_image(product, RED)
    broken.original.storage.delete(broken.original.name)
    with broken.original.storage.open(broken.original.name, "wb") as file:
        file.write(b"no picture")
    encode_all()
    product.images.first().save()
    encode_all()
    assert {key: count for key, count in total().results.items() if count} == {
        "encoded": 2,
        "bad_image": 1,
        "skipped": 1,
    }
    assert sum(total().durations) == 2


def test_rates_are_of_the_last_minutes() -> None:
    add(encoded=600)
    assert tallies.per_second(LABEL, 1, using=DB) >= 600 / 121
    age(minutes=3)
    assert tallies.per_second(LABEL, 1, using=DB) == 0
    assert 600 / 361 <= tallies.per_second(LABEL, 5, using=DB) <= 600 / 299
    age(minutes=7)
    assert tallies.per_second(LABEL, 5, using=DB) == 0
    assert tallies.per_second("shop.nothing", 5, using=DB) == 0


def test_what_is_old_is_summed_up_and_totals_never_shrink() -> None:
    for days in (4, 3, 2):
        EncodingTally.objects.create(
            collection=LABEL,
            minute=timezone.now() - timedelta(days=days),
            encoded=10,
            durations=[0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        )
    assert total().results["encoded"] == 30
    add(0.3, encoded=1, label="shop.another")  # Each collection sums up its own.
    assert EncodingTally.objects.filter(collection=LABEL).count() == 3
    add(2.0, encoded=5, missing=1)
    rows = EncodingTally.objects.filter(collection=LABEL).order_by("minute")
    assert [row.encoded for row in rows] == [30, 5]
    assert rows[0].minute == tallies.BEFORE
    after = {one.collection: one for one in tallies.totals(using=DB)}[LABEL]
    assert after.results["encoded"] == 35
    assert after.durations == (0, 0, 3, 0, 1, 0, 0, 0, 0, 0)
    # And once more, onto the row that is there.
    EncodingTally.objects.exclude(minute=tallies.BEFORE).update(
        minute=timezone.now() - timedelta(days=2)
    )
    add(2.0, encoded=1)
    assert [row.encoded for row in rows.all()] == [35, 1]


def test_rows_of_a_release_with_other_bounds_count() -> None:
    EncodingTally.objects.create(
        collection=LABEL, minute=timezone.now() - timedelta(days=3), encoded=4, durations=[1, 2]
    )
    add(61, encoded=1)
    assert total().durations == (1, 2, 0, 0, 0, 0, 0, 0, 0, 1)
    assert total().results["encoded"] == 5


def test_workers_that_count_at_once_lose_nothing() -> None:
    EncodingTally.objects.bulk_create(
        EncodingTally(
            collection=LABEL,
            minute=timezone.now() - timedelta(days=2, minutes=minute),
            encoded=1,
            durations=[1],
        )
        for minute in range(100)
    )
    start = threading.Barrier(4)

    def count() -> None:
        try:
            start.wait(30)
            for _ in range(25):
                add(encoded=1)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert total().results["encoded"] == 200
    assert sum(total().durations) == 200
    assert EncodingTally.objects.filter(minute__lt=timezone.now() - timedelta(days=1)).count() == 1


def test_a_tally_that_cant_be_written_stops_nothing(
    add_product: AddProduct, caplog: pytest.LogCaptureFixture
) -> None:
    image = add_product("mug", RED).images.get()
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {tallies.TABLE} RENAME TO away")
    try:
        assert encode_all().encoded == 1
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE away RENAME TO {tallies.TABLE}")
    assert ProductImageEmbedding.objects.filter(source=image).exists()
    (record,) = [one for one in caplog.records if one.name == "cardigan_reco.tallies"]
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"A batch of {LABEL} is not in the tally: relation ")
