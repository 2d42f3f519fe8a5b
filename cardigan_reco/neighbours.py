"""The one search: nearest pictures of the allowed items, by index or exactly.

It owns the transaction and PostgreSQL's settings. Stored vectors are read inside the statement;
only that of a new picture travels.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
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
ESTIMATED_EVERY_SECONDS = 10
"""How long an estimate of a filter's rows is believed; a wrong one costs time, no rows."""


@dataclass(frozen=True)
class Query:
    """A statement and its parameters; what is looked around yields vectors and their versions."""

    sql: str
    parameters: Sequence[Any]


def stored(rows: QuerySet[Any]) -> Query:
    """Returns the query for the vectors of these rows of an embedding table."""
    return Query(*_compile(rows.values_list("vector", "encoder_version_id")))


def given(vector: NDArray[np.float32], *, encoder: str, fingerprint: str) -> Query:
    """Returns the query for a vector (dimensions,) of length 1, made by that encoder's version.

    One that has made no vectors yet finds nothing.
    """
    table = EncoderVersion._meta.db_table
    return Query(
        f"SELECT %s::halfvec, id FROM {table} WHERE encoder = %s AND fingerprint = %s",
        [HalfVector(vector).to_text(), encoder, fingerprint],
    )


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
    primary keys of items. The number of statements doesn't grow with that of the pictures.
    """
    path = embedding.item_path()
    rows = (
        EmbeddingQuerySet(embedding, using=using)
        .filter(**{f"{path}__in": _keys(candidates)})
        .annotate(item_pk=F(path))
    )
    # Left out here, not in SQL, so that all shelves of a shop are one statement to _expected().
    unwanted = {embedding.item_model()._meta.pk.to_python(pk) for pk in excluded}
    wanted = limit + len(unwanted)
    try:
        with _settings(using, wanted * PICTURES_PER_ITEM):
            matches = _search(rows, query, wanted)
    except EmptyResultSet:  # candidates.none() and the like have no SQL.
        return []
    return [match for match in matches if match.item_pk not in unwanted][:limit]


def _search(rows: EmbeddingQuerySet, query: Query, limit: int) -> list[Match]:
    allowed = Query(*_compile(rows.values_list("item_pk", "pk", "encoder_version_id", "vector")))
    expected = _expected(allowed, rows.db)
    if not _are_few(rows, expected):
        for pictures in (PICTURES_PER_ITEM, PICTURES_PER_ITEM**2):
            found = _by_index(rows, query, limit * pictures, limit)
            if len(found) == limit:
                return found
        if expected > MAX_EXACT_ROWS:
            return found
    return _exactly(allowed, query, limit, rows.db)


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


def _exactly(allowed: Query, query: Query, limit: int, using: str) -> list[Match]:
    """Compares all allowed pictures; OFFSET 0 keeps the planner from taking the index instead."""
    return _best(
        f"""cardigan_query JOIN LATERAL (
            SELECT item, source, vector <#> cardigan_query.vector AS distance
            FROM ({allowed.sql} OFFSET 0) AS allowed (item, source, version, vector)
            WHERE version = cardigan_query.version) AS near ON true""",
        allowed.parameters,
        query,
        limit,
        using,
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


def _expected(allowed: Query, using: str) -> int:
    """Returns the planner's estimate of the allowed rows, some seconds old at most."""
    now = int(time.monotonic() / ESTIMATED_EVERY_SECONDS)
    try:
        return _estimate(allowed.sql, tuple(allowed.parameters), using, now)
    except TypeError:  # A parameter that can't be hashed, such as a list.
        return _estimate.__wrapped__(allowed.sql, allowed.parameters, using, now)


@lru_cache(maxsize=256)
def _estimate(sql: str, parameters: Sequence[Any], using: str, now: int) -> int:
    """Asks the planner, at the price of a plan."""
    with connections[using].cursor() as cursor:
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
        previous = _current(cursor, wanted) if nested else {}
        _set(cursor, wanted)
        yield
        if nested:
            _set(cursor, previous)


# The cast loads pgvector, without which its settings are unknown to a new connection.
_LOAD = "SELECT '[1]'::vector, "


def _current(cursor: Any, names: Iterable[str]) -> dict[str, str]:
    names = list(names)
    cursor.execute(_LOAD + ", ".join(["current_setting(%s)"] * len(names)), names)
    _vector, *values = cursor.fetchone()
    return dict(zip(names, values, strict=True))


def _set(cursor: Any, values: Mapping[str, str]) -> None:
    cursor.execute(
        _LOAD + ", ".join(["set_config(%s, %s, true)"] * len(values)),
        [part for pair in values.items() for part in pair],
    )
