"""Heartbeats: workers that are there say so, in a row of their own, every few seconds.

A thread of its own beats, so that a database that hangs keeps no worker from its work. Every time
is the database's clock; a worker whose own one is wrong says so in its log.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from time import monotonic, time

from django.db import Error, connections
from django.db.backends.utils import CursorWrapper

from . import __version__, collection, conf
from .asking import sparing
from .models import WorkerHeartbeat

TABLE = WorkerHeartbeat._meta.db_table
EVERY_SECONDS = 15.0
HOLDS_SECONDS = 1.0
"""How long it holds whether a queue is served."""
SILENT_SECONDS = 60.0
"""After so long a process that has begun anew drops the row of one before it."""
SKEWED_SECONDS = 2.0
"""By how much a worker's clock may differ from the database's: one that is ahead by more than
SEARCH["DEADLINE_SECONDS"] takes each photo for one that nobody waits for any more."""
FAREWELL_SECONDS = 2.0
"""How long a worker that ends waits for its row to go."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Worker:
    """A worker that was seen."""

    name: str
    pid: int
    queues: tuple[str, ...]
    release: str
    started_at: datetime
    seen_at: datetime
    silent_seconds: float
    """Since it was seen."""

    @property
    def is_there(self) -> bool:
        """Whether it was seen lately."""
        return self.silent_seconds <= conf.current().healthy.silent_seconds


def seen(*, using: str) -> list[Worker]:
    """Returns the workers that were seen within a day, and have not ended in order."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT name, pid, ARRAY(SELECT jsonb_array_elements_text(queues)), release, started_at,
                seen_at, extract(epoch FROM clock_timestamp() - seen_at)
            FROM {TABLE} WHERE seen_at > clock_timestamp() - interval '1 day'
            ORDER BY name, seen_at DESC
            """
        )
        return [
            Worker(name, pid, tuple(queues), release, started_at, seen_at, float(silent))
            for name, pid, queues, release, started_at, seen_at, silent in cursor.fetchall()
        ]


def serve(queue: str) -> bool:
    """Returns whether workers of a Celery queue are there; True where it can't be found out.

    Asks the databases once a second at most.
    """
    return _serve(queue, int(monotonic() / HOLDS_SECONDS))


@lru_cache(maxsize=8)
def _serve(queue: str, moment: int) -> bool:
    try:
        for using in collection.databases():
            with sparing(using):
                workers = seen(using=using)
            if any(worker.is_there and queue in worker.queues for worker in workers):
                return True
    except Error as error:
        logger.warning(
            "Who serves the queue %r can't be found out: %s", queue, error, extra={"queue": queue}
        )
        return True
    return False


class Heart:
    """Beats for the worker that this process is, in each of the databases that it serves."""

    def __init__(self, name: str, queues: Collection[str], databases: Collection[str]) -> None:
        self.name = name
        self.queues = sorted(queues)
        self.databases = sorted(databases)
        self._begun: set[str] = set()
        self._failing: set[str] = set()
        self._skewed: set[str] = set()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="cardigan-heart", daemon=True)

    def start(self) -> None:
        """Beats now, and on until the process ends or `stop()` is called."""
        self._thread.start()

    def stop(self) -> None:
        """Ends in order: nobody shall miss this worker."""
        self._ends.set()
        self._thread.join(FAREWELL_SECONDS)

    def _go_on(self) -> None:
        while True:
            for using in self.databases:
                self._beat(using)
            if self._ends.wait(EVERY_SECONDS):
                break
        for using in self.databases:
            with suppress(Error), _cursor(using) as cursor:
                cursor.execute(_END, [self.name, os.getpid()])

    def _beat(self, using: str) -> None:
        try:
            with _cursor(using) as cursor:
                begins = using not in self._begun
                values: list[str | int] = [self.name, os.getpid(), json.dumps(self.queues)]
                values += [__version__, begins]
                before = time()
                cursor.execute(_BEAT, values)
                self._compare(using, before, float(cursor.fetchone()[0]), time())
                if begins:
                    cursor.execute(_FORGET, [self.name, os.getpid(), SILENT_SECONDS])
        except Error as error:
            if using not in self._failing:
                logger.warning(
                    "Worker %s can't say that it is there: %s",
                    self.name,
                    error,
                    extra={"worker": self.name, "database": using},
                )
            self._failing.add(using)
        else:
            self._begun.add(using)
            self._failing.discard(using)

    def _compare(self, using: str, before: float, database: float, after: float) -> None:
        """Says once that this machine's clock is wrong, or the database's is."""
        seconds = before - database if database < before else min(0.0, after - database)
        if abs(seconds) <= SKEWED_SECONDS:
            self._skewed.discard(using)
        elif using not in self._skewed:
            self._skewed.add(using)
            logger.warning(
                "The clock of worker %s is %.0f s %s that of the database. Photos that web servers "
                "send it may be refused as too old: let a time service set both.",
                self.name,
                abs(seconds),
                "ahead of" if seconds > 0 else "behind",
                extra={"worker": self.name, "database": using, "seconds": round(seconds, 3)},
            )


@contextmanager
def _cursor(using: str) -> Iterator[CursorWrapper]:
    try:
        with connections[using].cursor() as cursor:
            yield cursor
    finally:
        connections[using].close()


_BEAT = f"""
    INSERT INTO {TABLE} AS beat (name, pid, queues, release) VALUES (%s, %s, %s, %s)
    ON CONFLICT (name, pid) DO UPDATE SET
        queues = excluded.queues, release = excluded.release, seen_at = clock_timestamp(),
        started_at = CASE WHEN %s THEN clock_timestamp() ELSE beat.started_at END
    RETURNING extract(epoch FROM clock_timestamp())
    """
_FORGET = f"""
    DELETE FROM {TABLE} WHERE seen_at < clock_timestamp() - interval '1 day'
        OR (name = %s AND pid <> %s AND seen_at < clock_timestamp() - make_interval(secs => %s))
    """
_END = f"DELETE FROM {TABLE} WHERE name = %s AND pid = %s"
