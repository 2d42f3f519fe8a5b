"""Tallies: what became of the pictures lately, minute by minute, by all workers together.

To count new vectors would take a scan of their table, which has no index on `encoded_at`.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import DatabaseError, connections, transaction

from .models import EncodingTally

TABLE = EncodingTally._meta.db_table
RESULTS = (
    *("encoded", "skipped", "removed", "retried", "outdated"),
    *("missing", "bad_image", "dead"),
)
"""What may become of a picture, as summary.Summary says."""
BOUNDS_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Of a batch: from its claim, or else the end of the one before, to its commit."""
BEFORE = datetime(2000, 1, 1, tzinfo=UTC)
"""The minute of the row that sums up what is older than a day, so that totals never shrink."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Total:
    """All that ever became of the pictures of a collection."""

    collection: str
    results: Mapping[str, int]
    seconds: float
    """That its batches took."""
    durations: tuple[int, ...]
    """How many batches took as long as each of BOUNDS_SECONDS, and how many longer."""


def add(collection: str, results: Mapping[str, int], seconds: float, *, using: str) -> None:
    """Counts a batch. A tally that can't be written is logged, and keeps nothing from going on."""
    counts = [results.get(result, 0) for result in RESULTS]
    durations = [0] * (len(BOUNDS_SECONDS) + 1)
    durations[bisect_left(BOUNDS_SECONDS, seconds)] = 1
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute(_ADD, [collection, *counts, seconds, durations])
            (begins_a_minute,) = cursor.fetchone()
            if begins_a_minute:
                cursor.execute(_SUM_UP, [collection, BEFORE, BEFORE])
    except DatabaseError as error:
        logger.warning(
            "A batch of %s is not in the tally: %s",
            collection,
            error,
            extra={"collection": collection, "database": using},
        )


def per_second(collection: str, minutes: int, *, using: str) -> float:
    """Returns how many pictures were encoded a second, since `minutes` ago and the beginning of
    that minute.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT coalesce(sum(encoded), 0) / extract(epoch FROM clock_timestamp() - since)
            FROM (SELECT date_trunc('minute', clock_timestamp()) - make_interval(mins => %s))
                AS beginning (since)
            LEFT JOIN {TABLE} ON collection = %s AND minute >= since
            GROUP BY since
            """,
            [minutes, collection],
        )
        return float(cursor.fetchone()[0])


def totals(*, using: str) -> list[Total]:
    """Returns the total of each collection in the database `using`; they only grow."""
    with connections[using].cursor() as cursor:
        cursor.execute(_TOTALS)
        return [
            Total(
                collection,
                dict(zip(RESULTS, map(int, counts), strict=True)),
                seconds,
                tuple(int(count) for count in durations),
            )
            for collection, seconds, durations, *counts in cursor.fetchall()
        ]


_GROWN = f"""
    ON CONFLICT (collection, minute) DO UPDATE SET
        {", ".join(f"{name} = tally.{name} + excluded.{name}" for name in (*RESULTS, "seconds"))},
        durations = (
            SELECT array_agg(coalesce(mine, 0) + coalesce(theirs, 0) ORDER BY place)
            FROM unnest(tally.durations, excluded.durations) WITH ORDINALITY
                AS pairs (mine, theirs, place))
    """
_COLUMNS = f"collection, minute, {', '.join(RESULTS)}, seconds, durations"
_SUMS = ", ".join(f"sum({name})" for name in RESULTS)
_ADD = f"""
    INSERT INTO {TABLE} AS tally ({_COLUMNS})
    VALUES (%s, date_trunc('minute', clock_timestamp()),
        {", ".join(["%s"] * len(RESULTS))}, %s, %s::bigint[])
    {_GROWN}
    RETURNING xmax = 0
    """
# Whoever comes second passes by the rows that the first one sums up.
_SUM_UP = f"""
    WITH old AS (
        DELETE FROM {TABLE} WHERE id IN (
            SELECT id FROM {TABLE} WHERE collection = %s AND minute > %s
                AND minute < clock_timestamp() - interval '1 day'
            FOR UPDATE SKIP LOCKED)
        RETURNING *),
    summed (durations) AS (
        SELECT array_agg(count ORDER BY place) FROM (
            SELECT place, sum(batches)::bigint FROM old
            CROSS JOIN unnest(durations) WITH ORDINALITY AS counted (batches, place)
            GROUP BY place) AS places (place, count))
    INSERT INTO {TABLE} AS tally ({_COLUMNS})
    SELECT collection, %s, {_SUMS}, sum(seconds), (SELECT durations FROM summed)
    FROM old GROUP BY collection
    {_GROWN}
    """
_TOTALS = f"""
    SELECT collection, sum(seconds), (
            SELECT array_agg(count ORDER BY place) FROM (
                SELECT place, sum(batches) FROM {TABLE} AS own
                CROSS JOIN unnest(own.durations) WITH ORDINALITY AS counted (batches, place)
                WHERE own.collection = tally.collection GROUP BY place) AS places (place, count)),
        {_SUMS}
    FROM {TABLE} AS tally GROUP BY collection ORDER BY collection
    """
