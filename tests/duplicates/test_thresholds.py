"""Precision at thresholds, with its interval, and the command that prints it."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command
from pytest_django import DjangoAssertNumQueries, Settings

from cardigan_reco.duplicates import thresholds
from cardigan_reco.duplicates.listings import collection_of
from cardigan_reco.models import DuplicatePair
from tests.testapp.models import ProductImageEmbedding

pytestmark = pytest.mark.django_db
COLLECTION = collection_of(ProductImageEmbedding)


@pytest.fixture(autouse=True)
def duplicates_are_looked_for(settings: Settings) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": {}}


def add(probability: float, state: str, collection: str = COLLECTION) -> None:
    number = DuplicatePair.objects.count()
    DuplicatePair.objects.create(
        collection=collection,
        first_pk=f"{number}",
        second_pk=f"{number + 1}",
        kind="exact",
        probability=probability,
        state=state,
    )


def row(threshold: float) -> thresholds.Row:
    [found] = [r for r in thresholds.table(COLLECTION, "default") if r.threshold == threshold]
    return found


def test_what_each_threshold_would_have_been_worth() -> None:
    for probability, state in [
        (0.99, "confirmed"),
        (0.95, "merged"),
        (0.95, "open"),
        (0.8, "dismissed"),
        (0.6, "confirmed"),
        (0.5, "dismissed"),
    ]:
        add(probability, state)
    add(0.7, "dismissed", "others.collection")
    assert (row(0.99).reported, row(0.99).confirmed, row(0.99).dismissed) == (1, 1, 0)
    assert (row(0.95).reported, row(0.95).confirmed, row(0.95).precision) == (3, 2, 1.0)
    assert (row(0.8).reported, row(0.8).dismissed, row(0.8).precision) == (4, 1, 2 / 3)
    assert (row(0.5).reported, row(0.5).precision) == (6, 0.6)
    assert (row(0.05).reported, row(0.05).precision) == (6, 0.6)


def test_thresholds_ascend() -> None:
    found = [row.threshold for row in thresholds.table(COLLECTION, "default")]
    assert found == sorted(thresholds.THRESHOLDS)


def test_nothing_is_known_without_verdicts() -> None:
    add(0.9, "open")
    assert (row(0.9).precision, row(0.9).low, row(0.9).high) == (None, None, None)


def test_one_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        thresholds.table(COLLECTION, "default")


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(successes: int, trials: int, low: float, high: float) -> None:
    assert thresholds.interval(successes, trials) == pytest.approx((low, high), abs=0.0001)


def printed() -> list[str]:
    output = io.StringIO()
    call_command("duplicate_thresholds", stdout=output)
    return output.getvalue().splitlines()


def test_the_command_prints_the_table() -> None:
    add(0.96, "confirmed")
    add(0.91, "dismissed")
    lines = printed()
    assert lines[0] == "threshold  reported  confirmed  dismissed  precision  95% interval"
    assert "     0.95         1          1          0      1.000  0.207 to 1.000" in lines
    assert "     0.90         2          1          1      0.500  0.095 to 0.905" in lines
    assert "     0.99         0          0          0          -" in lines
    assert lines[-1] == "MIN_PROBABILITY is 0.5."


def test_the_command_says_what_to_do_without_verdicts() -> None:
    assert printed()[-1] == "Nothing was judged yet: confirm or dismiss pairs in the admin."


def test_the_command_needs_the_setting(settings: Settings) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": None}
    with pytest.raises(CommandError, match="is not set: there are no verdicts"):
        printed()
