"""Heartbeats: who is there, who fell silent, who ended in order; real workers at the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from cardigan_reco import __version__, heartbeats
from cardigan_reco.heartbeats import Heart
from cardigan_reco.models import WorkerHeartbeat
from tests.processes import Broker, wait_until
from tests.workers import StartWorker, wait_for_worker

pytestmark = pytest.mark.django_db(transaction=True)
DB = "default"


@pytest.fixture
def heart(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heart]:
    monkeypatch.setattr(heartbeats, "EVERY_SECONDS", 0.05)
    heart = Heart("celery@here", {"cardigan-search", "cardigan"}, [DB])
    yield heart
    heart.stop()


def beat(name: str, pid: int, queues: Sequence[str] = (), **past: float) -> None:
    """Adds a worker that was seen a while ago."""
    seen_at = timezone.now() - timedelta(**past)
    WorkerHeartbeat.objects.create(
        name=name, pid=pid, queues=list(queues), release="0.0", seen_at=seen_at
    )


def names() -> list[tuple[str, int]]:
    return [(worker.name, worker.pid) for worker in heartbeats.seen(using=DB)]


def test_a_worker_is_seen_again_and_again_and_leaves_in_order(heart: Heart) -> None:
    heart.start()
    wait_until(lambda: heartbeats.seen(using=DB), "it is seen")
    (worker,) = heartbeats.seen(using=DB)
    assert (worker.name, worker.pid, worker.release) == ("celery@here", os.getpid(), __version__)
    assert worker.queues == ("cardigan", "cardigan-search")
    assert worker.is_there
    WorkerHeartbeat.objects.update(seen_at=timezone.now() - timedelta(hours=1))
    wait_until(lambda: heartbeats.seen(using=DB)[0].silent_seconds < 60, "it is seen again")
    assert heartbeats.seen(using=DB)[0].started_at == worker.started_at
    heart.stop()
    assert heartbeats.seen(using=DB) == []


class TestServe:
    """Whether workers of a queue are there."""

    @pytest.fixture(autouse=True)
    def moments(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
        """Holds the time; its one entry is what the clock says."""
        moments = [1000.0]
        monkeypatch.setattr(heartbeats, "monotonic", lambda: moments[0])
        heartbeats._serve.cache_clear()
        yield moments
        heartbeats._serve.cache_clear()

    def test_some_are(self) -> None:
        beat("celery@there", 1, ["cardigan", "cardigan-search"])
        assert heartbeats.serve("cardigan-search")
        assert not heartbeats.serve("cardigan-other")

    def test_those_that_fell_silent_are_not(self) -> None:
        beat("celery@gone", 1, ["cardigan-search"], minutes=5)
        assert not heartbeats.serve("cardigan-search")

    def test_is_asked_once_a_second(self, moments: list[float]) -> None:
        with CaptureQueriesContext(connection) as queries:
            assert not heartbeats.serve("cardigan")
            beat("celery@there", 1, ["cardigan"])
            assert not heartbeats.serve("cardigan")
        assert sum("SELECT name" in query["sql"] for query in queries) == 1
        moments[0] += 1
        assert heartbeats.serve("cardigan")

    def test_may_be_unknown(self, caplog: pytest.LogCaptureFixture) -> None:
        """The transaction that asked goes on."""
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE {heartbeats.TABLE} RENAME TO elsewhere")
            assert heartbeats.serve("cardigan")
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE elsewhere RENAME TO {heartbeats.TABLE}")
        assert "Who serves the queue 'cardigan' can't be found out: relation" in caplog.text


def test_a_worker_of_the_same_name_and_process_has_begun_anew(heart: Heart) -> None:
    """As in a container, where each is process 1."""
    beat("celery@here", os.getpid(), minutes=5)
    WorkerHeartbeat.objects.update(started_at=timezone.now() - timedelta(days=3))
    heart.start()
    wait_until(lambda: heartbeats.seen(using=DB)[0].is_there, "it is seen")
    (worker,) = heartbeats.seen(using=DB)
    assert worker.started_at > timezone.now() - timedelta(minutes=1)
    assert worker.release == __version__


def test_rows_of_lost_workers_stay_until_another_takes_their_place(heart: Heart) -> None:
    beat("celery@here", 1, minutes=5)  # Of the same name: this is its successor.
    beat("celery@here", 2, seconds=5)  # Of the same name, by mistake, but there.
    beat("celery@there", 3, hours=5)
    beat("celery@gone", 4, hours=25)
    assert names() == [("celery@here", 2), ("celery@here", 1), ("celery@there", 3)]
    heart.start()
    wait_until(lambda: ("celery@here", os.getpid()) in names(), "it is seen")
    wait_until(lambda: WorkerHeartbeat.objects.count() == 3, "the lost are forgotten")
    assert set(names()) == {("celery@here", os.getpid()), ("celery@here", 2), ("celery@there", 3)}


def test_how_long_a_worker_may_be_silent(settings: Settings) -> None:
    beat("celery@there", 3, seconds=90)
    (worker,) = heartbeats.seen(using=DB)
    assert worker.silent_seconds == pytest.approx(90, abs=30)
    assert not worker.is_there
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "HEALTH": {"SILENT_SECONDS": 300}}
    assert worker.is_there


def test_a_database_that_refuses_is_logged_once_and_tried_again(
    heart: Heart, caplog: pytest.LogCaptureFixture
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {heartbeats.TABLE} RENAME TO away")
    try:
        heart.start()
        wait_until(lambda: caplog.records, "it is logged")
        heart._ends.wait(0.2)  # Some more beats.
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE away RENAME TO {heartbeats.TABLE}")
    wait_until(lambda: heartbeats.seen(using=DB), "it is seen")
    (record,) = caplog.records
    assert record.getMessage().startswith("Worker celery@here can't say that it is there: ")
    assert record.database == DB  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("skew_seconds", "said"), [(3600, "3600 s ahead of"), (-90, "90 s behind"), (1, "")]
)
def test_a_worker_whose_clock_is_wrong_says_so_once(
    skew_seconds: float,
    said: str,
    heart: Heart,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(heartbeats, "time", lambda: time.time() + skew_seconds)
    heart.start()
    wait_until(lambda: heartbeats.seen(using=DB), "it is seen")
    heart._ends.wait(0.2)  # Some more beats.
    assert [record.getMessage().partition(" that of")[0] for record in caplog.records] == (
        [f"The clock of worker celery@here is {said}"] if said else []
    )


@pytest.mark.parametrize("pool", ["solo", "threads", "prefork"])
def test_a_celery_worker(pool: str, start_worker: StartWorker, tmp_path: Path) -> None:
    broker = Broker.in_folder(tmp_path / "broker")
    worker = start_worker(broker, pool, arguments=("-n", "encoder@box"))
    wait_until(lambda: heartbeats.seen(using=DB), "it is seen", worker)
    (seen,) = heartbeats.seen(using=DB)
    assert (seen.name, seen.pid) == ("encoder@box", worker.popen.pid)
    assert seen.queues == ("cardigan",)
    wait_for_worker(worker)
    worker.popen.send_signal(signal.SIGTERM)
    worker.wait()
    assert heartbeats.seen(using=DB) == []


def test_a_killed_celery_worker_stays_in_sight(start_worker: StartWorker, tmp_path: Path) -> None:
    broker = Broker.in_folder(tmp_path / "broker")
    worker = start_worker(broker, "solo")
    wait_until(lambda: heartbeats.seen(using=DB), "it is seen", worker)
    worker.kill()
    (seen,) = heartbeats.seen(using=DB)
    assert seen.pid == worker.popen.pid


def test_a_worker_of_other_queues_is_none_of_ours(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    broker = Broker.in_folder(tmp_path / "broker")
    worker = start_worker(broker, "solo", CELERY_QUEUE="elsewhere")
    wait_for_worker(worker)
    worker.stop()
    assert not WorkerHeartbeat.objects.exists()
    assert heartbeats.TABLE not in worker.output()
