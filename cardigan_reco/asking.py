"""Asking PostgreSQL with a search's settings, which hold for nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from django.db import connections, transaction

from . import conf, prepared
from .prepared import Statement

Ask = Callable[[Statement, int | None], list[tuple[Any, ...]]]
"""Returns the rows of a statement under an hnsw.ef_search; None: it is none that searches."""


def is_inside(using: str) -> bool:
    """Returns whether what is asked is part of a transaction that goes on afterwards."""
    connection = connections[using]
    return connection.in_atomic_block or not connection.get_autocommit()


def sparing(using: str) -> AbstractContextManager[None]:
    """Returns a block whose failure leaves a transaction that is open already as it was before."""
    return transaction.atomic(using=using) if is_inside(using) else nullcontext()


@contextmanager
def asking(using: str) -> Iterator[Ask]:
    """Yields what asks PostgreSQL with a search's settings, which hold for nothing else.

    Where the driver allows it, they travel with the statement, in one message: PostgreSQL makes a
    transaction of that, and what is asked often may be prepared. Otherwise a transaction is opened;
    inside one that is open already, the settings are put back after the block, and what fails ends
    that transaction, unless it is `sparing()`.
    """
    connection = connections[using]
    if prepared.takes_several_statements(connection):
        with connection.cursor() as cursor:

            def ask_at_once(statement: Statement, ef: int | None) -> list[tuple[Any, ...]]:
                return prepared.ask(connection, statement, partial(_at_once, cursor, ef))

            yield ask_at_once
        return
    nested = is_inside(using)
    with transaction.atomic(using=using, savepoint=False), connection.cursor() as cursor:

        def ask(statement: Statement, ef: int | None) -> list[tuple[Any, ...]]:
            cursor.execute(*_setting(_wanted(ef)))
            cursor.execute(statement.sql, statement.parameters)
            return list(cursor.fetchall())

        previous = _current(cursor, _wanted(0)) if nested else {}
        yield ask
        if nested:
            cursor.execute(*_setting(previous))


def _at_once(cursor: Any, ef: int | None, statement: Statement) -> list[tuple[Any, ...]]:
    # Unlike set_config(), it needs no plan.
    settings = "".join(f"SET LOCAL {name} = '{value}'; " for name, value in _wanted(ef).items())
    cursor.execute(settings + statement.sql, statement.parameters)
    return prepared.last_rows(cursor)


def _wanted(ef: int | None) -> dict[str, str]:
    milliseconds = int(conf.current().search_timeout_seconds * 1000)
    wanted = {"statement_timeout": str(max(1, milliseconds))}
    if ef is not None:
        wanted |= {"hnsw.ef_search": str(ef), "hnsw.iterative_scan": "relaxed_order"}
    return wanted


# The cast loads pgvector, without which its settings are unknown to a new connection.
_LOAD = "SELECT '[1]'::vector, "


def _current(cursor: Any, names: Iterable[str]) -> dict[str, str]:
    names = list(names)
    cursor.execute(_LOAD + ", ".join(["current_setting(%s)"] * len(names)), names)
    _vector, *values = cursor.fetchone()
    return dict(zip(names, values, strict=True))


def _setting(values: Mapping[str, str]) -> tuple[str, list[str]]:
    """Returns the statement, and its parameters, that sets these until the transaction ends."""
    return (
        _LOAD + ", ".join(["set_config(%s, %s, true)"] * len(values)),
        [part for pair in values.items() for part in pair],
    )
