"""What PostgreSQL's planner thinks of tables and filters, some seconds old at most.

A wrong estimate costs time, no rows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.db import connections

from .models import Embedding

EVERY_SECONDS = 10
"""How long an estimate is believed."""


def rows(sql: str, parameters: Sequence[Any], using: str) -> int:
    """Returns how many rows a query is expected to yield."""
    try:
        return _rows(sql, tuple(parameters), using, _now())
    except TypeError:  # A parameter that can't be hashed, such as a list.
        return _rows.__wrapped__(sql, parameters, using, _now())


def totals(embedding: type[Embedding], using: str) -> tuple[float, float]:
    """Returns how many pictures and items there were when their tables were last analysed; below 0
    of a table that never was.
    """
    return _totals(embedding, using, _now())


def forget() -> None:
    """Asks anew for whatever is wanted next."""
    _rows.cache_clear()
    _totals.cache_clear()


def _now() -> int:
    return int(time.monotonic() / EVERY_SECONDS)


@lru_cache(maxsize=256)
def _rows(sql: str, parameters: Sequence[Any], using: str, now: int) -> int:
    """Asks the planner, at the price of a plan."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
        return int(cursor.fetchone()[0][0]["Plan"]["Plan Rows"])


@lru_cache(maxsize=256)
def _totals(embedding: type[Embedding], using: str, now: int) -> tuple[float, float]:
    quote = connections[using].ops.quote_name
    tables = [quote(model._meta.db_table) for model in (embedding, embedding.item_model())]
    count = "(SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s))"
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {count}, {count}", tables)
        pictures, items = cursor.fetchone()
    return pictures, items
