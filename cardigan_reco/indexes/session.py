"""A connection of its own for statements that take long: watched, and cancelled when told so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from cardigan_reco.exceptions import IndexProblem
from cardigan_reco.locks import DESCRIBED

WATCH_SECONDS = 0.2
CANCEL_SECONDS = 5.0
NOTE_SECONDS = 2.0
"""After so long a wait for the same others is worth a line."""
CONNECTION_OPTIONS = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""libpq's options, unless the database's OPTIONS say otherwise: a host that vanished is noticed in
half a minute, not in hours, and what stands on the way doesn't forget a build that is long silent.
"""
LOCK_CLASS = 0x43617264
"""The first half of our advisory locks' keys; the second is the table's oid."""


@dataclass(frozen=True)
class Progress:
    """What a long statement does now."""

    phase: str
    """In PostgreSQL's words, such as "building index: loading tuples"; "" where it has none, as
    for DROP INDEX, or before a build begins."""
    done: int
    """Blocks of the table; 0 where the phase doesn't count."""
    total: int
    waits_for: str
    """Who must end first, such as "process 123 (psql, user shop, idle in transaction, its
    transaction began 00:01:40 ago)", or ""."""
    blockers: tuple[int, ...]
    """Their processes; 0 is a prepared transaction."""


class Listener:
    """Is told what happens; override what is of interest."""

    def progress(self, progress: Progress) -> None:
        """Something goes on, a few times a second."""

    def note(self, text: str) -> None:
        """Something was decided, PostgreSQL gave notice, or it waits for others."""


class Session:
    """Runs statements one by one in a thread, so that they can be watched and cancelled.

    It neither takes settings from nor leaves any to the connections that the shop uses. PgBouncer
    in transaction mode won't do: settings and locks must last from one statement to the next.
    """

    def __init__(self, using: str, listener: Listener) -> None:
        self.using = using
        self._listener = listener
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cardigan-index")
        self._connection: BaseDatabaseWrapper
        self._watcher = _own_connection(using)
        self.pid: int

    def __enter__(self) -> Session:
        try:
            self.pid = self._thread.submit(self._connect).result()
        except BaseException:
            self._thread.shutdown()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()
        self._watcher.close()

    def _connect(self) -> int:
        self._connection = _own_connection(self.using)  # Here, since no other thread may use it.
        self._connection.ensure_connection()
        self._connection.set_autocommit(True)
        raw: Any = self._connection.connection
        raw.add_notice_handler(lambda notice: self._listener.note(notice.message_primary))
        # A build takes as long as it takes; a shop's own limits are for its pages.
        self._execute(
            "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = ANY(%s)",
            [["statement_timeout", "lock_timeout", "transaction_timeout"]],
        )
        self._execute("SET client_min_messages = notice")
        return int(raw.info.backend_pid)

    def _execute(self, sql: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def ask(self, sql: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Returns the rows of a short statement."""
        return self._thread.submit(self._execute, sql, parameters).result()

    def run(self, sql: str) -> None:
        """Runs a long statement; the listener hears of its progress.

        When anything is raised meanwhile, KeyboardInterrupt included, the statement is cancelled
        before that goes on.
        """
        running = self._thread.submit(self._execute, sql)
        waits = _Waits(self._listener)
        try:
            while True:
                with suppress(TimeoutError):
                    running.result(WATCH_SECONDS)
                    return
                if (progress := self._progress()) is not None:
                    self._listener.progress(progress)
                waits.see(progress)
        finally:
            self._cancel(running)

    def _cancel(self, running: Future[Any]) -> None:
        raw: Any = self._connection.connection
        while not running.done():
            with suppress(Exception):  # A server that is gone ends the statement by itself.
                raw.cancel_safe(timeout=CANCEL_SECONDS)
            with suppress(Exception):  # What was raised first is what matters.
                running.result(WATCH_SECONDS)

    def _progress(self) -> Progress | None:
        try:
            with self._watcher.cursor() as cursor:
                cursor.execute(_PROGRESS, [self.pid] * 3)
                phase, done, total, waits_for, blockers = cursor.fetchone()
        except Error:
            self._watcher.close()  # The next look connects anew; the statement may well go on.
            return None
        if not phase and not blockers:
            return None
        return Progress(phase, done, total, waits_for, tuple(blockers))

    @contextmanager
    def locked(self, table: str, label: str) -> Iterator[None]:
        """Lets nobody else build on `table` meanwhile.

        Raises IndexProblem when somebody does already.
        """
        [(oid,)] = self.ask("SELECT to_regclass(%s)::oid::bigint", [table])
        key = [LOCK_CLASS, oid - 2**32 if oid >= 2**31 else oid]
        if self.ask("SELECT pg_try_advisory_lock(%s, %s)", key) != [(True,)]:
            holders = self.ask(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = %s "
                "AND objid = %s AND objsubid = 2 AND granted",
                [LOCK_CLASS, oid],
            )
            by = " ".join(f"process {pid} of the server" for (pid,) in holders) or "another process"
            raise IndexProblem(
                f"An index of {label} is being built by {by}. Wait for it (index_report shows how "
                f"far it is), or end it with SELECT pg_cancel_backend(PROCESS);"
            )
        try:
            yield
        finally:
            # It would end with the connection, but a little later than that is closed.
            with suppress(Error):
                self.ask("SELECT pg_advisory_unlock(%s, %s)", key)


def _own_connection(using: str) -> BaseDatabaseWrapper:
    connection = connections[using].copy()
    options = connection.settings_dict["OPTIONS"]
    options.pop("pool", None)
    connection.settings_dict["OPTIONS"] = CONNECTION_OPTIONS | options
    return connection


class _Waits:
    """Tells once of each long wait."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._blockers: tuple[int, ...] = ()
        self._since = 0.0
        self._is_told = False

    def see(self, progress: Progress | None) -> None:
        blockers = progress.blockers if progress else ()
        if progress is None or blockers != self._blockers:
            self._blockers, self._since, self._is_told = blockers, time.monotonic(), False
        elif blockers and not self._is_told and time.monotonic() - self._since >= NOTE_SECONDS:
            self._is_told = True
            ends = " ".join(f"SELECT pg_terminate_backend({pid});" for pid in blockers if pid)
            self._listener.note(f"Waits for {progress.waits_for}. To end that: {ends}".strip())


# DROP INDEX, and who still waits for the table, are in no view of progress.
_PROGRESS = f"""
    WITH blockers AS (
        SELECT DISTINCT unnest(pg_blocking_pids(pid)) AS pid
        FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'),
    progress AS (
        SELECT phase, blocks_done, blocks_total
        FROM pg_stat_progress_create_index WHERE pid = %s
        UNION ALL
        SELECT 'vacuum: ' || phase, heap_blks_scanned, heap_blks_total
        FROM pg_stat_progress_vacuum WHERE pid = %s)
    SELECT coalesce(phase, ''), coalesce(blocks_done, 0), coalesce(blocks_total, 0),
        coalesce((SELECT string_agg({DESCRIBED}, ' and ' ORDER BY pid)
            FROM blockers LEFT JOIN pg_stat_activity session USING (pid)), ''),
        ARRAY(SELECT pid FROM blockers ORDER BY pid)
    FROM (VALUES (1)) AS one LEFT JOIN progress ON true
"""
