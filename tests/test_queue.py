"""The queue's promises: nothing lost, nothing twice, nobody blocked."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, connections, transaction
from django.test import override_settings

from cardigan_reco import backlog, queue
from cardigan_reco.models import EncodingRequest
from cardigan_reco.queue import Claim, Failure
from tests.testapp.models import PosterEmbedding, ProductImageEmbedding

pytestmark = pytest.mark.django_db(transaction=True)
DB = "default"


def mark(*pks: int) -> None:
    queue.mark(ProductImageEmbedding, pks, using=DB)


def claim(limit: int = 10) -> list[Claim]:
    return queue.claim(ProductImageEmbedding, limit=limit, using=DB)


def states() -> dict[str, str]:
    return dict(EncodingRequest.objects.order_by("id").values_list("source_pk", "state"))


def expire_leases() -> None:
    EncodingRequest.objects.filter(state="leased").update(lease_expires_at="2000-01-01T00:00Z")


def test_no_plan_takes_more_than_the_limit() -> None:
    mark(1, 2, 3, 4, 5)
    with connection.cursor() as cursor:
        # A subquery in place of the CTE would now be run again for each row, and take all five.
        for step in ("hashjoin", "mergejoin", "hashagg", "sort", "material"):
            cursor.execute(f"SET enable_{step} = off")
    try:
        assert len(claim(limit=1)) == 1
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET ALL")
    assert len(claim(limit=3)) == 3


def test_claims_are_oldest_first_and_belong_to_one() -> None:
    mark(1)
    mark(2)
    mark(3)
    assert [c.source_pk for c in claim(2)] == ["1", "2"]
    assert [c.source_pk for c in claim(2)] == ["3"]
    assert claim() == []


def test_collections_have_their_own_requests() -> None:
    mark(1)
    assert queue.claim(PosterEmbedding, limit=5, using=DB) == []


def test_claiming_never_waits_for_another_worker() -> None:
    mark(*range(6))
    seen: list[list[Claim]] = []

    def work() -> None:
        try:
            seen.append(claim(3))
        finally:
            connections.close_all()

    with transaction.atomic():
        mine = claim(3)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(10)
        assert len(seen) == 1
    assert {c.id for c in mine}.isdisjoint({c.id for c in seen[0]})
    assert len(seen[0]) == 3


def test_a_mark_takes_the_lease_away() -> None:
    mark(1)
    claims = claim()
    mark(1)
    with transaction.atomic():
        assert queue.lock(claims, using=DB) == set()
    assert states() == {"1": "waiting"}


def test_what_is_marked_again_while_it_waits_keeps_its_place() -> None:
    """Otherwise what is saved more often than the queue is long would never be encoded."""
    mark(1)
    mark(2)
    mark(1)
    assert [c.source_pk for c in claim(1)] == ["1"]
    mark(1)  # It had its turn.
    assert [c.source_pk for c in claim(1)] == ["2"]


def test_what_has_failed_waits_from_now_on_when_it_is_marked_again() -> None:
    mark(1, 2)
    dead, late = claim()
    queue.fail(dead, Failure.DEAD, "broken", using=DB)
    queue.postpone(late, "storage down", charged=False, using=DB)
    EncodingRequest.objects.filter(state="dead").update(available_at="2000-01-01T00:00Z")
    mark(1, 2)
    assert backlog.of_all(using=DB)["testapp.productimageembedding"].overdue_seconds < 60
    assert [c.source_pk for c in claim()] == ["1", "2"]


def test_an_expired_lease_is_fenced() -> None:
    mark(1)
    slow = claim()
    expire_leases()
    fast = claim()
    assert fast[0].attempts == 2
    with transaction.atomic():
        assert queue.lock(slow, using=DB) == set()
        assert queue.lock(fast, using=DB) == {fast[0].id}


def test_locking_skips_what_the_shop_is_changing() -> None:
    mark(1, 2)
    claims = claim()
    locked: list[set[int]] = []

    def work() -> None:
        try:
            with transaction.atomic():
                locked.append(queue.lock(claims, using=DB))
        finally:
            connections.close_all()

    with transaction.atomic():
        mark(1)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(10)
    assert locked == [{claims[1].id}]


def test_after_a_crash_sources_come_alone_and_die_at_the_limit() -> None:
    mark(1, 2, 3)
    assert len(claim()) == 3
    for _ in range(3):
        expire_leases()
        (single,) = claim()
        if single.source_pk != "2":
            queue.settle([single.id], using=DB)
    expire_leases()
    assert [c.attempts for c in claim()] == [3]
    expire_leases()
    assert claim() == []
    (buried,) = queue.bury(ProductImageEmbedding, using=DB)
    assert queue.bury(ProductImageEmbedding, using=DB) == []
    (row,) = EncodingRequest.objects.all()
    assert buried == row
    assert (row.source_pk, row.state, row.attempts) == ("2", "dead", 3)
    assert row.error == "The worker was lost 3 times while encoding this picture."


def test_a_new_picture_brings_the_dead_back() -> None:
    mark(1)
    queue.fail(claim()[0], Failure.DEAD, "broken", using=DB)
    mark(1)
    (again,) = claim()
    assert again.attempts == 1


def test_released_claims_look_untouched() -> None:
    mark(1, 2)
    queue.release(claim(), using=DB)
    assert [c.attempts for c in claim()] == [1, 1]


def test_abandoned_claims_are_tried_alone_at_once() -> None:
    mark(1, 2)
    queue.abandon(claim(), "RuntimeError: boom", using=DB)
    assert [c.attempts for c in claim()] == [2]
    assert EncodingRequest.objects.filter(error="RuntimeError: boom").count() == 2


@pytest.mark.parametrize(
    ("attempts", "pause_seconds"), [(1, 10), (2, 20), (5, 160), (6, 300), (2_000, 300)]
)
def test_a_charged_retry_waits_longer_each_time(attempts: int, pause_seconds: int) -> None:
    mark(1)
    EncodingRequest.objects.update(attempts=attempts - 1)
    with override_settings(CARDIGAN_RECO={"RETRY_SECONDS": 10, "MAX_ATTEMPTS": 3_000}):
        queue.postpone(claim()[0], "gone", charged=True, using=DB)
    assert claim() == []
    assert pause() == pytest.approx(pause_seconds, abs=5)


def test_an_uncharged_retry_keeps_its_attempts() -> None:
    mark(1)
    queue.postpone(claim()[0], "storage down", charged=False, using=DB)
    row = EncodingRequest.objects.get()
    assert (row.state, row.attempts, row.error) == ("waiting", 0, "storage down")


@pytest.mark.parametrize(("age_seconds", "pause_seconds"), [(0, 10), (200, 50), (86_400, 300)])
def test_an_uncharged_retry_waits_longer_the_longer_it_has_waited(
    age_seconds: int, pause_seconds: int
) -> None:
    mark(1)
    age_all(age_seconds)
    with override_settings(CARDIGAN_RECO={"RETRY_SECONDS": 10}):
        queue.postpone(claim()[0], "storage down", charged=False, using=DB)
    assert pause() == pytest.approx(pause_seconds, abs=5)


def test_what_the_shop_is_changing_is_looked_at_again_soon() -> None:
    mark(1)
    age_all(86_400)
    with override_settings(CARDIGAN_RECO={"RETRY_SECONDS": 10}):
        queue.yield_to_shop(claim()[0], using=DB)
    assert pause() == pytest.approx(10, abs=5)
    row = EncodingRequest.objects.get()
    assert (row.state, row.attempts, row.error) == ("waiting", 0, "")


def age_all(seconds: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {queue.TABLE} SET requested_at = requested_at - make_interval(secs => %s)",
            [seconds],
        )


def pause() -> float:
    """Returns for how many seconds the one request still waits."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT extract(epoch FROM available_at - clock_timestamp()) FROM {queue.TABLE}"
        )
        return float(cursor.fetchone()[0])


def test_retry_sends_only_the_given_up_back() -> None:
    mark(1, 2)
    queue.fail(claim(1)[0], Failure.BAD_IMAGE, "no picture", using=DB)
    assert queue.retry(queue.given_up(ProductImageEmbedding, using=DB)) == 1
    assert states() == {"1": "waiting", "2": "waiting"}
    assert queue.counts(ProductImageEmbedding, using=DB) == {
        "waiting": 2,
        "leased": 0,
        "missing": 0,
        "bad_image": 0,
        "dead": 0,
    }
