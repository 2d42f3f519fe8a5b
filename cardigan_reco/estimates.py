"""What PostgreSQL's planner thinks of tables and filters, some seconds old at most.

A wrong estimate costs time, no rows: what seems too much to be compared is counted before a page
stays short, unless that takes longer than a search may.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.db import OperationalError, connections

from .asking import asking, sparing
from .models import Embedding
from .prepared import Statement, may_be_kept

EVERY_SECONDS = 10
"""How long an estimate is believed."""
MOST_PARAMETERS = 1_000
"""Of a query whose estimate is kept: of one with more, such as a list of keys, they would take more
memory than asking anew takes time."""


def rows(sql: str, parameters: Sequence[Any], using: str) -> int:
    """Returns how many rows a query is expected to yield."""
    asked = _rows if _is_kept(parameters) else _rows.__wrapped__
    return asked(sql, tuple(parameters), using, _now())


def count(sql: str, parameters: Sequence[Any], most: int, using: str) -> int:
    """Returns how many rows a query yields: `most` if there are more, or to count them takes longer
    than a search may.
    """
    asked = _count if _is_kept(parameters) else _count.__wrapped__
    return asked(sql, tuple(parameters), most, using, _now())


def totals(embedding: type[Embedding], using: str) -> tuple[float, float]:
    """Returns how many pictures and items there were when their tables were last analysed; below 0
    of a table that never was.
    """
    return _totals(embedding, using, _now())


def forget() -> None:
    """Asks anew for whatever is wanted next."""
    _rows.cache_clear()
    _count.cache_clear()
    _totals.cache_clear()


def _now() -> int:
    return int(time.monotonic() / EVERY_SECONDS)


def _is_kept(parameters: Sequence[Any]) -> bool:
    if not may_be_kept(parameters, MOST_PARAMETERS):
        return False
    try:
        hash(tuple(parameters))
    except TypeError:  # Such as a list.
        return False
    return True


@lru_cache(maxsize=256)
def _rows(sql: str, parameters: tuple[Any, ...], using: str, now: int) -> int:
    """Asks the planner, at the price of a plan."""
    # As a search, since a plan waits for whoever has a table for himself.
    statement = Statement(f"EXPLAIN (FORMAT JSON) {sql}", [], parameters, may_be_prepared=False)
    with asking(using) as ask:
        ((plans,),) = ask(statement, None)
    return int(plans[0]["Plan"]["Plan Rows"])


@lru_cache(maxsize=256)
def _count(sql: str, parameters: tuple[Any, ...], most: int, using: str, now: int) -> int:
    statement = Statement(f"SELECT count(*) FROM ({sql} LIMIT {most}) AS counted", [], parameters)
    try:
        with sparing(using), asking(using) as ask:
            return int(ask(statement, None)[0][0])
    except OperationalError:  # It was cancelled.
        return most


@lru_cache(maxsize=256)
def _totals(embedding: type[Embedding], using: str, now: int) -> tuple[float, float]:
    quote = connections[using].ops.quote_name
    tables = [quote(model._meta.db_table) for model in (embedding, embedding.item_model())]
    count = "(SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s))"
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {count}, {count}", tables)
        pictures, items = cursor.fetchone()
    return pictures, items
