"""Locks of other sessions: who has a table for himself, in words, for those who only look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import OperationalError, connections

from . import database
from .exceptions import Locked

LOCK_SECONDS = 5.0
"""How long what only looks waits for who has a table for himself."""

# Of others' sessions, without pg_read_all_stats, there are the application and the user alone.
DESCRIBED = """
    CASE pid WHEN 0 THEN 'a prepared transaction, see pg_prepared_xacts' ELSE
        'process ' || pid || coalesce(' (' || nullif(concat_ws(', ',
            coalesce(nullif(session.application_name, ''), session.backend_type),
            'user ' || session.usename,
            session.state,
            'its transaction began '
                || date_trunc('second', clock_timestamp() - session.xact_start)
                || ' ago'), '') || ')', '') END
    """
"""A session in words, in SQL: such as "process 123 (psql, user shop, idle in transaction, its
transaction began 00:01:40 ago)"; for a `pid`, and `session`, its row of pg_stat_activity.
"""


@contextmanager
def looking(tables: Sequence[str], *, using: str, seconds: float) -> Iterator[None]:
    """Lets PostgreSQL cancel each statement of the block that takes longer than `seconds`, or that
    waits for a lock; otherwise as `database.hurried()`.

    Raises Locked, with those who have one of the tables for themselves.
    """
    try:
        with database.hurried(using, seconds, min(seconds, LOCK_SECONDS)):
            yield
    except OperationalError as error:
        if not database.is_lock_timeout(error):
            raise
        by = "; ".join(_locking(tables, using)) or "somebody who has let go of it"
        raise Locked(
            f"In database {using!r} a table, or an index of it, is locked: {' or '.join(tables)}. "
            f"In the way: {by}. Wait, or end it: SELECT pg_terminate_backend(PROCESS);"
        ) from error


def _locking(tables: Sequence[str], using: str) -> list[str]:
    """Returns, in words, who holds or wants one of the tables, or an index of it, for himself, and
    whom he waits for.
    """
    quote = connections[using].ops.quote_name
    with connections[using].cursor() as cursor:
        cursor.execute(_LOCKING, [[quote(table) for table in tables]])
        return [text for (text,) in cursor.fetchall()]


_LOCKING = f"""
    WITH named AS (SELECT to_regclass(name)::oid AS oid FROM unnest(%s::text[]) AS name),
    wanted AS (
        SELECT oid FROM named
        UNION SELECT indexrelid FROM pg_index WHERE indrelid IN (SELECT oid FROM named)),
    owners AS (
        SELECT DISTINCT coalesce(pid, 0) AS pid FROM pg_locks
        WHERE mode = 'AccessExclusiveLock' AND locktype = 'relation'
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND relation IN (SELECT oid FROM wanted)),
    involved AS (
        SELECT pid FROM owners
        UNION SELECT unnest(pg_blocking_pids(pid)) FROM owners WHERE pid > 0)
    SELECT {DESCRIBED} FROM involved LEFT JOIN pg_stat_activity session USING (pid) ORDER BY pid
    """
