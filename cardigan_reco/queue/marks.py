"""Marks: sources that are asked for, each in one row, however often it is marked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import connections
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast

from cardigan_reco.models import Embedding

from .rows import TABLE


def mark(embedding: type[Embedding], source_pks: Iterable[Any], *, using: str) -> None:
    """Asks for sources to be encoded, in the caller's transaction and in one statement.

    A source that is marked already is asked for again: its attempts start over, and whoever
    encodes it now will find the lease gone.
    """
    texts = sorted({str(pk) for pk in source_pks})
    if not texts:
        return
    statement = marking("%s", "unnest(%s::text[]) AS marked (pk)")
    with connections[using].cursor() as cursor:
        cursor.execute(statement, [embedding._meta.label_lower, texts])


def marking(collection: str, pks: str, *, table: str = TABLE) -> str:
    """Returns the statement that marks each text `pk` of `pks`, an item of FROM; all is SQL.

    It goes by the order of the keys, so that two who mark the same sources at once can't each
    hold what the other waits for. What waits already keeps its place: a source that is saved more
    often than the queue is long would never have its turn.
    """
    return f"""
        INSERT INTO {table} AS request
            (collection, source_pk, version, state, attempts, error)
        SELECT {collection}, pk, 1, 'waiting', 0, '' FROM {pks} ORDER BY pk COLLATE "C"
        ON CONFLICT (collection, source_pk) DO UPDATE SET
            version = request.version + 1, state = 'waiting', attempts = 0, error = '',
            requested_at = clock_timestamp(),
            available_at = CASE WHEN request.state = 'waiting'
                THEN least(request.available_at, clock_timestamp()) ELSE clock_timestamp() END,
            lease_token = NULL, lease_expires_at = NULL
        """


def mark_new(embedding: type[Embedding], sources: QuerySet[Any]) -> int:
    """Marks those of `sources` that have no request, in one statement; returns how many."""
    keys = sources.values_list(Cast("pk", TextField()))
    selection, parameters = keys.query.get_compiler(sources.db).as_sql()
    with connections[sources.db].cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {TABLE} (collection, source_pk, version, state, attempts, error)
            SELECT %s, pk, 1, 'waiting', 0, '' FROM ({selection}) AS sources (pk)
            ORDER BY pk COLLATE "C"
            ON CONFLICT (collection, source_pk) DO NOTHING
            """,
            [embedding._meta.label_lower, *parameters],
        )
        return int(cursor.rowcount)
