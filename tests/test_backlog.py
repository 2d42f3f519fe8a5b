"""The backlog: what waits, since when, and the last thing that went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cardigan_reco import backlog, collection, queue
from cardigan_reco.backlog import Backlog
from cardigan_reco.models import EncodingRequest
from cardigan_reco.queue import Failure, State
from tests.testapp.models import PosterEmbedding, ProductImageEmbedding

pytestmark = pytest.mark.django_db
DB = "default"
LABEL = ProductImageEmbedding._meta.label_lower


def mark(*pks: int) -> None:
    queue.mark(ProductImageEmbedding, pks, using=DB)


def claim(limit: int) -> Sequence[queue.Claim]:
    return queue.claim(ProductImageEmbedding, limit=limit, using=DB)


def change(pk: int, **ago: timedelta) -> None:
    """Moves times of a request into the past."""
    moved = {name: timezone.now() - past for name, past in ago.items()}
    EncodingRequest.objects.filter(source_pk=str(pk)).update(**moved)


def found() -> Backlog:
    return backlog.of_all(using=DB).get(LABEL, Backlog())


def overdue() -> float:
    return backlog.overdue_seconds(collection.models(), using=DB)


def test_nothing_waits() -> None:
    assert backlog.of_all(using=DB) == {}
    assert overdue() == 0
    assert backlog.last_error(ProductImageEmbedding, using=DB) is None


def test_all_states_are_counted() -> None:
    mark(1, 2, 3, 4, 5, 6, 7)
    for failure, one in zip(Failure, claim(3), strict=True):
        queue.fail(one, failure, "no", using=DB)
    (again,) = claim(1)
    queue.postpone(again, "The storage is away.", charged=False, using=DB)
    claim(1)
    queue.mark(PosterEmbedding, ["a", "b"], using=DB)
    counts = {state: getattr(found(), state) for state in backlog.COUNTED}
    assert counts == {
        "waiting": 3,
        "retrying": 1,
        "leased": 1,
        "missing": 1,
        "bad_image": 1,
        "dead": 1,
    }
    assert found().given_up == 3
    assert backlog.of_all(using=DB)[PosterEmbedding._meta.label_lower].waiting == 2


def test_a_picture_that_is_tried_again_later_is_old_but_not_overdue() -> None:
    mark(1)
    (one,) = claim(1)
    queue.postpone(one, "The storage is away.", charged=False, using=DB)
    change(1, requested_at=timedelta(hours=1))
    assert found().oldest_seconds == pytest.approx(3600, abs=60)
    assert found().overdue_seconds == overdue() == 0
    change(1, available_at=timedelta(minutes=10))
    assert found().overdue_seconds == pytest.approx(600, abs=60)
    assert overdue() == pytest.approx(600, abs=60)


def test_what_was_sent_back_after_months_is_not_overdue_at_once() -> None:
    mark(1)
    (one,) = claim(1)
    queue.fail(one, Failure.BAD_IMAGE, "no", using=DB)
    change(1, requested_at=timedelta(days=90), available_at=timedelta(days=90))
    queue.retry(queue.given_up(ProductImageEmbedding, using=DB))
    assert overdue() < 60


def test_a_lease_that_nobody_takes_over_is_overdue() -> None:
    mark(1, 2)
    claim(2)
    assert overdue() == 0
    change(2, lease_expires_at=timedelta(minutes=5))
    assert overdue() == pytest.approx(300, abs=60)
    assert found().overdue_seconds == pytest.approx(300, abs=60)


def test_what_is_overdue_is_read_from_the_ends_of_indexes() -> None:
    rows = (EncodingRequest(collection=LABEL, source_pk=str(pk), version=1) for pk in range(5_000))
    EncodingRequest.objects.bulk_create(rows)
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {backlog.TABLE}")
    with CaptureQueriesContext(
        connection,
    ) as captured:
        overdue()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {captured[0]['sql']}")
        plan = str(cursor.fetchone()[0])
    assert "'cardigan_reco_waiting'" in plan
    assert "'cardigan_reco_leased'" in plan
    assert "Seq Scan" not in plan


class TestLastError:
    def test_of_what_was_given_up_the_last(self) -> None:
        mark(1, 2, 3)
        first, second, third = claim(3)
        queue.fail(first, Failure.BAD_IMAGE, "This is GIF.", using=DB)
        queue.fail(second, Failure.DEAD, "The worker was lost.", using=DB)
        queue.postpone(third, "The storage is away.", charged=False, using=DB)
        change(1, available_at=timedelta(hours=1))
        last = backlog.last_error(ProductImageEmbedding, using=DB)
        assert last is not None
        assert (last.source_pk, last.state, last.text) == ("2", State.DEAD, "The worker was lost.")
        assert last.at == pytest.approx(timezone.now(), abs=timedelta(minutes=1))

    def test_of_what_waits_when_nothing_was_given_up(self) -> None:
        mark(1, 2)
        one, _other = claim(2)
        queue.postpone(one, "The storage is away.", charged=False, using=DB)
        last = backlog.last_error(ProductImageEmbedding, using=DB)
        assert last is not None
        assert (last.source_pk, last.state) == ("1", State.WAITING)
        assert last.at > timezone.now()  # When it is due.

    def test_is_of_its_own_collection(self) -> None:
        mark(1)
        queue.fail(claim(1)[0], Failure.DEAD, "no", using=DB)
        assert backlog.last_error(PosterEmbedding, using=DB) is None
