"""Searches that a connection keeps prepared: planning takes PostgreSQL a fourth of a search's time.

What many searches share, such as a filter's values, is part of what is prepared, so that the plan
is the one for those values; only what is looked around is left open. PostgreSQL plans anew after
ANALYZE and whatever else changes a table.

A connection may turn out not to be one, but PgBouncer's way to several. Names tell texts apart, so
nothing else than was meant is ever executed; what isn't there is asked plainly, and the connection
prepares nothing more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from . import conf

AFTER = 2
"""Times that a connection plans a search, before it prepares the next one like it."""
COUNTED = 500
"""Different searches that a connection counts."""
MOST_SHARED = 100
"""Parameters of a search that is counted; one with more, such as a list of keys, would be kept in
memory, and hardly comes again."""
MOST_CHARACTERS = 4_000
"""Of the texts among the parameters of what is kept in memory."""
_LOST = {
    "26000",  # No such statement: another connection of the pool, or DEALLOCATE ALL.
    "42P05",  # There is one already: another client's of the pool.
    "0A000",  # Columns have another type by now.
}
"""SQLSTATE of errors after which a search is asked plainly."""
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Statement:
    """A statement, whose parameters are first those of its own, then those that others share."""

    sql: str
    own: Sequence[Any]
    shared: Sequence[Any] = ()
    may_be_prepared: bool = True
    """PostgreSQL prepares no EXPLAIN."""

    @property
    def parameters(self) -> list[Any]:
        """All, in the order in which `sql` has them."""
        return [*self.own, *self.shared]


@dataclass
class _Kept:
    """What a connection has prepared."""

    names: OrderedDict[Any, str] = field(default_factory=OrderedDict)
    """Key of what is shared -> name; the last used come last."""
    counts: OrderedDict[Any, int] = field(default_factory=OrderedDict)
    is_given_up: bool = False


_kept: WeakKeyDictionary[Any, _Kept] = WeakKeyDictionary()
"""By the driver's connections: Django's outlive them."""


def may_be_kept(parameters: Sequence[Any], most: int) -> bool:
    """Returns whether parameters may be kept in memory: `most`, and no long texts."""
    characters = sum(len(one) for one in parameters if isinstance(one, str))
    return len(parameters) <= most and characters <= MOST_CHARACTERS


def takes_several_statements(connection: BaseDatabaseWrapper) -> bool:
    """Returns whether one message may hold several, which are a transaction of their own."""
    bound_by_server = connection.settings_dict["OPTIONS"].get("server_side_binding")
    return not connection.in_atomic_block and connection.get_autocommit() and not bound_by_server


def ask(
    connection: BaseDatabaseWrapper, statement: Statement, execute: Callable[[Statement], _Answer]
) -> _Answer:
    """Returns what `execute` makes of the statement, or of one that executes it prepared: a message
    of several, whose rows come last. Raises what `execute` does, unless it is asked plainly then.
    """
    kept = _kept_one(connection, statement)
    try:
        return execute(kept or statement)
    except DatabaseError as error:
        if kept is None or getattr(error.__cause__, "sqlstate", None) not in _LOST:
            raise
        _kept[connection.connection] = _Kept(is_given_up=True)
    return execute(statement)


def last_rows(cursor: Any) -> list[tuple[Any, ...]]:
    """Returns the rows of the last statement of a message."""
    while cursor.nextset():
        pass
    return list(cursor.fetchall())


def _kept_one(connection: BaseDatabaseWrapper, statement: Statement) -> Statement | None:
    """Returns what executes the statement prepared, and prepares it first if it wasn't; None where
    it should be asked as it is.
    """
    most = conf.current().prepared_searches
    # Django's word for a pool that gives each transaction another connection.
    is_pooled = connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS")
    if not most or is_pooled or not takes_several_statements(connection):
        return None
    if not (statement.may_be_prepared and may_be_kept(statement.shared, MOST_SHARED)):
        return None
    connection.ensure_connection()
    kept = _kept.setdefault(connection.connection, _Kept())
    key = (statement.sql, *statement.shared, *map(type, statement.shared))
    try:
        name = kept.names.get(key)
    except TypeError:  # A parameter that can't be hashed, such as a list.
        return None
    if kept.is_given_up or (name is None and not _is_worthwhile(kept, key)):
        return None
    before = ""
    if name is None:
        while len(kept.names) >= most:
            before += f"DEALLOCATE {kept.names.popitem(last=False)[1]}; "
        text = _text(connection, statement)
        name = kept.names[key] = f"cardigan_{sha256(text.encode()).hexdigest()[:16]}"
        before += f"PREPARE {name} AS {text}; ".replace("%", "%%")
    kept.names.move_to_end(key)
    places = ", ".join(["%s"] * len(statement.own))
    given = f" ({places})" if places else ""
    return Statement(f"{before}EXECUTE {name}{given}", statement.own)


def _is_worthwhile(kept: _Kept, key: Any) -> bool:
    count = kept.counts.pop(key, 0)
    if count >= AFTER:
        return True
    kept.counts[key] = count + 1
    if len(kept.counts) > COUNTED:
        kept.counts.popitem(last=False)
    return False


def _text(connection: BaseDatabaseWrapper, statement: Statement) -> str:
    sql = statement.sql
    for number in range(1, len(statement.own) + 1):
        sql = sql.replace("%s", f"${number}", 1)
    return psycopg.ClientCursor(connection.connection).mogrify(sql, statement.shared)
