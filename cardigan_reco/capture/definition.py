"""Definitions: the function and the triggers of a collection, as SQL."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connections

from cardigan_reco import queue
from cardigan_reco.exceptions import CaptureError

from .feeds import Feed

PREFIX = "cardigan_reco_capture_"
LONGEST_NAME_BYTES = 63
SEARCH_PATH = "pg_catalog, pg_temp"
DATE_STYLE = "iso"
TRANSITION_TABLES = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "REFERENCING OLD TABLE AS old_rows",
    "TRUNCATE": "",
}
TABLES = ("r", "p")
"""In pg_class.relkind: tables, and partitioned ones. Nothing else has transition tables."""

# Each statement is planned when it runs: a plan made for one row may take hours for a million,
# and transition tables have no statistics that would throw it away.
BODY = """
DECLARE
    changed text;
    missing record;
BEGIN
    IF to_regclass({queue}) IS NULL THEN
        RETURN NULL;  -- The package was uninstalled, and the shop goes on.
    ELSIF TG_OP = 'TRUNCATE' THEN
        EXECUTE {forget_all} USING TG_ARGV[0];
    ELSIF TG_OP = 'DELETE' THEN
        EXECUTE {forget_before} || TG_RELID::regclass || {forget_after} USING TG_ARGV[0];
    ELSE
        changed := CASE TG_OP WHEN 'INSERT' THEN {inserted} ELSE {updated} END;
        SELECT * INTO missing FROM (VALUES {needed}) AS needed (of_table, name)
        WHERE NOT EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = to_regclass(of_table)
                AND attname = name::name AND NOT attisdropped
        ) LIMIT 1;
        IF FOUND THEN
            -- In the middle of a migration, or after a change by hand.
            RAISE WARNING 'Column % of % is not there, so each row that is written is marked. '
                'Run "manage.py capture_writes".', missing.name, missing.of_table;
            changed := CASE TG_OP WHEN 'INSERT' THEN {all_inserted} ELSE {all_updated} END;
        END IF;
        IF changed IS NOT NULL THEN  -- Without a foreign key, what it led to marks nothing.
            EXECUTE {mark_before} || changed || {mark_after} USING TG_ARGV[0];
        END IF;
    END IF;
    RETURN NULL;
END
"""

FORGET = """
    DELETE FROM {queue} WHERE id IN (
        SELECT request.id FROM {queue} AS request {condition}
        FOR UPDATE OF request SKIP LOCKED)
    """
"""A worker that has a request in hand finds the source gone and drops it by itself; to wait for it
could be to wait for each other.
"""


@dataclass(frozen=True)
class Trigger:
    """One trigger, as PostgreSQL has it or is to have it."""

    table: str
    """With its schema, quoted where it must be."""
    name: str
    event: str
    collection: str

    def create(self, function: str) -> str:
        return (
            f'CREATE OR REPLACE TRIGGER "{self.name}" AFTER {self.event} ON {self.table} '
            f"{TRANSITION_TABLES[self.event]} FOR EACH STATEMENT "
            f"EXECUTE FUNCTION {function}({_literal(self.collection)})"
        )


@dataclass(frozen=True)
class Definition:
    """All that one collection has in one database."""

    function: str
    """With its schema, quoted where it must be."""
    body: str
    triggers: frozenset[Trigger]
    read: tuple[str, ...]
    """The tables of the shop that the function reads."""
    queue: str
    """The table that it writes."""

    def create_function(self) -> str:
        # Whoever writes the shop's table needs no right on the queue, and nobody can slip
        # operators of their own under a function that has its owner's rights.
        tag = f"$cardigan_{hashlib.sha256(self.body.encode()).hexdigest()[:8]}$"
        return (
            f"CREATE OR REPLACE FUNCTION {self.function}() RETURNS trigger LANGUAGE plpgsql "
            f"SECURITY DEFINER SET search_path = {SEARCH_PATH} SET datestyle = {DATE_STYLE} "
            f"AS {tag}{self.body}{tag}"
        )


def function_name(collection: str, suffix: str = "") -> str:
    """Returns the name of a collection's function, or with a suffix that of a trigger."""
    name = f"{PREFIX}{collection}{suffix}"
    if len(name.encode()) <= LONGEST_NAME_BYTES:
        return name
    ending = f"_{hashlib.sha256(collection.encode()).hexdigest()[:8]}{suffix}"
    room = LONGEST_NAME_BYTES - len(ending.encode())
    return name.encode()[:room].decode(errors="ignore") + ending


def define(feed: Feed, *, using: str) -> Definition | None:
    """Returns the definition for a database; None while one of its tables isn't there.

    Raises CaptureError for a key or a table that triggers can't serve.
    """
    feed.require_exact_key()
    resolved = _resolve([*feed.tables(), queue.TABLE], using)
    if resolved is None:
        return None
    *tables, queue_table = resolved
    for table in tables:
        if table.kind not in TABLES:
            raise CaptureError(
                f"{table.name} is no table, so that no trigger sees what is written to it. Leave "
                f"CAPTURE at 'signals' for {feed.collection}, and run sweeps."
            )
    function = f'{tables[0].schema}."{function_name(feed.collection)}"'
    places = [("INSERT", 0), ("DELETE", 0), ("TRUNCATE", 0)]
    places += [("UPDATE", place) for place in feed.changing()]
    triggers = frozenset(
        Trigger(
            tables[place].name,
            function_name(feed.collection, f"_{event.lower()}"),
            event,
            feed.collection,
        )
        for event, place in places
    )
    names = tuple(table.name for table in tables)
    body = _body(feed, names, queue_table.name)
    return Definition(function, body, triggers, names, queue_table.name)


@dataclass(frozen=True)
class _Table:
    name: str
    schema: str
    kind: str


def _resolve(tables: list[str], using: str) -> list[_Table] | None:
    """Finds tables as the search path does now; those who write them may have another."""
    quoted = [connections[using].ops.quote_name(table) for table in tables]
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            SELECT format('%%I.%%I', nspname, relname), quote_ident(nspname), relkind
            FROM unnest(%s::text[]) WITH ORDINALITY AS given (name, position)
            JOIN pg_class ON pg_class.oid = to_regclass(given.name)
            JOIN pg_namespace ON pg_namespace.oid = relnamespace
            ORDER BY position
            """,
            [quoted],
        )
        found = [_Table(*row) for row in cursor.fetchall()]
    return found if len(found) == len(tables) else None


def _body(feed: Feed, tables: tuple[str, ...], queue_table: str) -> str:
    key = _quoted(feed.key_column())
    mark_before, mark_after = queue.marking(
        "$1", "(SELECT DISTINCT pk FROM (\0) AS changed) AS marked", table=queue_table
    ).split("\0")
    forget_before, forget_after = FORGET.format(
        queue=queue_table,
        condition=(
            f"JOIN (SELECT gone.{key}::text AS pk FROM old_rows AS gone WHERE NOT EXISTS "
            f"(SELECT FROM \0 AS present WHERE present.{key} = gone.{key})) AS deleted "
            "ON deleted.pk = request.source_pk WHERE request.collection = $1"
        ),
    ).split("\0")
    parts = {
        "queue": queue_table,
        "forget_all": FORGET.format(queue=queue_table, condition="WHERE request.collection = $1"),
        "forget_before": forget_before,
        "forget_after": forget_after,
        "mark_before": mark_before,
        "mark_after": mark_after,
        "inserted": (
            f"SELECT pk FROM ({_pictures(feed, tables, 'new_rows', 0)}) AS new WHERE picture <> ''"
        ),
        "all_inserted": f"SELECT {_key(feed)} FROM new_rows AS row0",
    }
    needed = [
        f"({_literal(tables[place])}, {_literal(column)})"
        for place, column in feed.needed_columns()
    ]
    return BODY.format(
        needed=", ".join(needed),
        updated=_of_written(tables, {at: _updated(feed, tables, at) for at in feed.changing()}),
        all_updated=_of_written(tables, {at: _keys(feed, tables, at) for at in feed.changing()}),
        **{name: _literal(text) for name, text in parts.items()},
    )


def _of_written(tables: tuple[str, ...], selections: dict[int, str | None]) -> str:
    """Returns an expression for the selection, by place, that is of the table written to."""
    of_table: dict[str, list[str]] = {}
    for place, selection in selections.items():
        of_table.setdefault(tables[place], []).extend([selection] if selection else [])
    texts = {
        table: _literal(" UNION ALL ".join(found)) if found else "NULL"
        for table, found in of_table.items()
    }
    if len(texts) == 1:
        return next(iter(texts.values()))
    cases = (f"WHEN to_regclass({_literal(table)}) THEN {text}" for table, text in texts.items())
    return f"CASE TG_RELID {' '.join(cases)} END"


def _updated(feed: Feed, tables: tuple[str, ...], at: int) -> str:
    """Returns what selects the keys of sources that an UPDATE of table number `at` has given
    another picture, or none.
    """
    now, before = (_pictures(feed, tables, rows, at) for rows in ("new_rows", "old_rows"))
    return (
        f"SELECT new.pk FROM ({now}) AS new LEFT JOIN ({before}) AS old USING (pk) "
        "WHERE new.picture <> coalesce(old.picture, '')"
    )


def _pictures(feed: Feed, tables: tuple[str, ...], written: str, at: int) -> str:
    """Returns what selects the keys and pictures of the rows of a transition table, which stands
    in for table number `at`.
    """
    picture = f"row{len(tables) - 1}.{_quoted(feed.image_column())}::text"
    rows = _joined(feed, [*tables[:at], written, *tables[at + 1 :]], at)
    # A foreign key may lead to what is written later in the transaction, as in a fixture, or is
    # gone already, where the database itself empties the key: that is another picture than none.
    unknown = "".join(
        f" WHEN row{place + 1}.{_quoted(link.next_column)} IS NULL "
        f"THEN '?' || row{place}.{_quoted(link.column)}::text"
        for place, link in enumerate(feed.links())
        if link.may_change and place >= at
    )
    if unknown:
        picture = f"CASE{unknown} ELSE {picture} END"
    return f"SELECT {_key(feed)}, coalesce({picture}, '') AS picture FROM {rows}"


def _keys(feed: Feed, tables: tuple[str, ...], at: int) -> str | None:
    """Returns what selects the keys of all sources that rows written to table number `at` belong
    to; None where foreign keys lead there, one of which may be what is missing.
    """
    if any(link.may_change for link in feed.links()[:at]):
        return None
    return f"SELECT {_key(feed)} FROM {_joined(feed, [*tables[:at], 'new_rows'], at)}"


def _joined(feed: Feed, tables: Sequence[str], at: int) -> str:
    """Returns tables with each row's next one; from number `at` on, there may be none."""
    joined = f"{tables[0]} AS row0"
    may_be_none = False
    for place, (link, table) in enumerate(zip(feed.links(), tables[1:], strict=False)):
        may_be_none = may_be_none or (link.may_change and place >= at)
        joined += (
            f" {'LEFT ' if may_be_none else ''}JOIN {table} AS row{place + 1} ON "
            f"row{place}.{_quoted(link.column)} = row{place + 1}.{_quoted(link.next_column)}"
        )
    return joined


def _key(feed: Feed) -> str:
    return f"row0.{_quoted(feed.key_column())}::text AS pk"


def _quoted(column: str) -> str:
    return '"{}"'.format(column.replace('"', '""'))


def _literal(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))
