"""What a call asks of PostgreSQL, to be asked again without the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from django.conf import settings as django_settings
from django.db import connection
from django.test import override_settings

SEARCH = "WITH cardigan_query"
"""How the statement begins that searches; settings may travel in front of it."""
EF_SEARCH = 50
SESSION = {
    "hnsw.ef_search": str(EF_SEARCH),
    "hnsw.iterative_scan": "relaxed_order",
    "statement_timeout": "2000",
}
"""What a search sets; the peers set it once a connection."""


@dataclass(frozen=True)
class Statement:
    sql: str
    parameters: tuple[Any, ...]


def asked(call: Callable[[], object]) -> list[Statement]:
    """Returns the statements of a call that return rows, without those for settings and plans, and
    as they are where none was prepared.
    """
    seen: list[Statement] = []

    def note(execute: Any, sql: str, parameters: Sequence[Any], many: bool, context: Any) -> Any:
        place = sql.find(SEARCH)
        own = tuple(parameters or ())
        if place >= 0:
            kept = sql[place:]
            seen.append(Statement(kept, own[len(own) - kept.count("%s") :]))
        elif sql.startswith("SELECT") and "set_config" not in sql and "pg_class" not in sql:
            seen.append(Statement(sql, own))
        return execute(sql, parameters, many, context)

    plain = {**django_settings.CARDIGAN_RECO, "PREPARED_SEARCHES": 0}
    with override_settings(CARDIGAN_RECO=plain), connection.execute_wrapper(note):
        call()
    if not any(statement.sql.startswith(SEARCH) for statement in seen):
        raise SystemExit(f"No statement began with {SEARCH!r}: {[one.sql for one in seen]}")
    return seen


def connect(address: str, *, ef_search: int = EF_SEARCH) -> psycopg.Connection[Any]:
    """Returns a connection with a search's settings; each statement is its own transaction."""
    opened = psycopg.connect(address, autocommit=True)
    opened.execute("SELECT '[1]'::vector")
    for name, value in {**SESSION, "hnsw.ef_search": str(ef_search)}.items():
        opened.execute("SELECT set_config(%s, %s, false)", [name, value])
    return opened


def replay(opened: psycopg.Connection[Any], statements: Sequence[Statement]) -> int:
    """Asks them again, prepared, in binary; returns how many rows came."""
    rows = 0
    for statement in statements:
        with opened.cursor(binary=True) as cursor:
            cursor.execute(statement.sql, statement.parameters, prepare=True)
            rows += len(cursor.fetchall())
    return rows
