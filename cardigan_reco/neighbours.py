"""The one search: nearest pictures of the allowed items, by index or exactly.

It owns the transaction and PostgreSQL's settings. Stored vectors are read inside the statement;
only that of a new picture travels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.core.exceptions import EmptyResultSet
from django.db import connections, transaction
from django.db.models import F, QuerySet
from django.db.models.expressions import RawSQL
from numpy.typing import NDArray
from pgvector import HalfVector

from . import conf
from .models import Embedding, EncoderVersion
from .querysets import EmbeddingQuerySet

PICTURES_PER_ITEM = 4
"""Rows that are asked of the index for each wanted item, since an item may have many pictures."""
MAX_EF_SEARCH = 1000
"""pgvector's own limit."""
FEW_ROWS = 2_000
"""So many rows are compared one by one in any case."""
SELECTIVE_SHARE = 0.15
"""Up to CARDIGAN_RECO["EXACT_ROWS"], only a filter that leaves less of the table is worth that."""
MAX_EXACT_ROWS = 200_000
"""Beyond this, a page that stays short is better than a scan of the table."""


@dataclass(frozen=True)
class Query:
    """A statement that yields vectors and their encoder versions: what to look around."""

    sql: str
    parameters: Sequence[Any]


def stored(rows: QuerySet[Any]) -> Query:
    """Returns the query for the vectors of these rows of an embedding table."""
    return Query(*_compile(rows.values_list("vector", "encoder_version_id")))


def given(vector: NDArray[np.float32], version: EncoderVersion) -> Query:
    """Returns the query for a vector (dimensions,) of length 1, made by that encoder version."""
    return Query("SELECT %s::halfvec, %s::bigint", [HalfVector(vector).to_text(), version.pk])


@dataclass(frozen=True)
class Match:
    """An item, its picture that is nearest, and how near."""

    item_pk: Any
    source_pk: Any
    similarity: float
    """Cosine, 0 (unrelated or opposed) to 1 (same)."""


def nearest(
    embedding: type[Embedding],
    query: Query,
    *,
    candidates: QuerySet[Any],
    excluded: Sequence[Any] = (),
    limit: int,
    using: str,
) -> list[Match]:
    """Returns the `limit` items of `candidates` nearest to any of the vectors of `query`.

    One match an item, nearest first, compared within one encoder version only. `excluded` holds
    primary keys of items. Takes at most eight statements, whatever the number of pictures.
    """
    path = embedding.item_path()
    rows = (
        EmbeddingQuerySet(embedding, using=using)
        .filter(**{f"{path}__in": _keys(candidates)})
        .exclude(**{f"{path}__in": list(excluded)})
        .annotate(item_pk=F(path))
    )
    try:
        with _settings(using, limit * PICTURES_PER_ITEM):
            return _search(rows, query, limit)
    except EmptyResultSet:  # candidates.none() and the like have no SQL.
        return []


def _search(rows: EmbeddingQuerySet, query: Query, limit: int) -> list[Match]:
    expected = _expected(rows)
    if not _are_few(rows, expected):
        for pictures in (PICTURES_PER_ITEM, PICTURES_PER_ITEM**2):
            found = _by_index(rows, query, limit * pictures, limit)
            if len(found) == limit:
                return found
        if expected > MAX_EXACT_ROWS:
            return found
    return _exactly(rows, query, limit)


def _by_index(rows: EmbeddingQuerySet, query: Query, count: int, limit: int) -> list[Match]:
    """Asks the index for `count` pictures around each vector of the query."""
    near = (
        rows.filter(encoder_version_id=RawSQL("cardigan_query.version", []))
        .nearest(RawSQL("cardigan_query.vector", []))
        .values_list("item_pk", "pk", "distance")[:count]
    )
    near_sql, near_parameters = _compile(near)
    return _best(
        f"cardigan_query CROSS JOIN LATERAL ({near_sql}) AS near (item, source, distance)",
        near_parameters,
        query,
        limit,
        rows.db,
    )


def _exactly(rows: EmbeddingQuerySet, query: Query, limit: int) -> list[Match]:
    """Compares all allowed pictures; OFFSET 0 keeps the planner from taking the index instead."""
    allowed = rows.values_list("item_pk", "pk", "encoder_version_id", "vector")
    allowed_sql, allowed_parameters = _compile(allowed)
    return _best(
        f"""cardigan_query JOIN LATERAL (
            SELECT item, source, vector <#> cardigan_query.vector AS distance
            FROM ({allowed_sql} OFFSET 0) AS allowed (item, source, version, vector)
            WHERE version = cardigan_query.version) AS near ON true""",
        allowed_parameters,
        query,
        limit,
        rows.db,
    )


def _best(
    near: str, near_parameters: Sequence[Any], query: Query, limit: int, using: str
) -> list[Match]:
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"""
            WITH cardigan_query (vector, version) AS MATERIALIZED ({query.sql})
            SELECT item, source, distance FROM (
                SELECT DISTINCT ON (item) item, source, distance FROM {near}
                ORDER BY item, distance) AS best
            ORDER BY distance, item LIMIT %s
            """,
            [*query.parameters, *near_parameters, limit],
        )
        return [
            Match(item, source, min(1.0, max(0.0, -distance)))
            for item, source, distance in cursor.fetchall()
        ]


def _are_few(rows: EmbeddingQuerySet, expected: int) -> bool:
    """Whether comparing all allowed rows is faster than asking the index and filtering after."""
    limit = conf.current().exact_rows
    if expected <= min(FEW_ROWS, limit) or expected > limit:
        return expected <= limit
    with connections[rows.db].cursor() as cursor:
        cursor.execute(
            "SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)",
            [connections[rows.db].ops.quote_name(rows.model._meta.db_table)],
        )
        return bool(expected <= SELECTIVE_SHARE * cursor.fetchone()[0])


def _expected(rows: EmbeddingQuerySet) -> int:
    """Returns the planner's estimate of the allowed rows, at the price of a plan."""
    sql, parameters = _compile(rows.values_list("pk"))
    with connections[rows.db].cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
        return int(cursor.fetchone()[0][0]["Plan"]["Plan Rows"])


def _compile(rows: QuerySet[Any]) -> tuple[str, Sequence[Any]]:
    sql, parameters = rows.query.get_compiler(rows.db).as_sql()
    return sql, parameters


def _keys(candidates: QuerySet[Any]) -> QuerySet[Any]:
    keys = candidates.values("pk")
    return keys if candidates.query.is_sliced else keys.order_by()


@contextmanager
def _settings(using: str, count: int) -> Iterator[None]:
    """Opens a transaction with a search's settings; inside another one, puts them back after it."""
    settings = conf.current()
    wanted = {
        "hnsw.ef_search": str(min(max(settings.ef_search, count), MAX_EF_SEARCH)),
        "hnsw.iterative_scan": "relaxed_order",
        "statement_timeout": str(int(settings.search_timeout_seconds * 1000)),
    }
    nested = connections[using].in_atomic_block
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        # The cast loads pgvector, without which its settings are unknown to a new connection.
        cursor.execute("SELECT '[1]'::vector, " + ", ".join(["current_setting(%s)"] * 3), [*wanted])
        _vector, *previous = cursor.fetchone()
        _set(cursor, wanted)
        yield
        if nested:
            _set(cursor, dict(zip(wanted, previous, strict=True)))


def _set(cursor: Any, values: Mapping[str, str]) -> None:
    cursor.execute(
        "SELECT " + ", ".join(["set_config(%s, %s, true)"] * len(values)),
        [part for pair in values.items() for part in pair],
    )
