"""What a database has of our functions and triggers, and how it differs from a definition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connections

from cardigan_reco import queue
from cardigan_reco.exceptions import CaptureError

from .definition import DATE_STYLE, PREFIX, SEARCH_PATH, Definition, Trigger

CONFIGURATION = [f"search_path={SEARCH_PATH}", f"DateStyle={DATE_STYLE}"]
EVENTS = {4: "INSERT", 8: "DELETE", 16: "UPDATE", 32: "TRUNCATE"}
"""By pg_trigger.tgtype, of triggers that come after a statement."""
LABEL = "convert_from(trim(trailing '\\x00'::bytea from tgargs), 'UTF8')"
OURS = f"""
    pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
    WHERE starts_with(proname, '{PREFIX}') AND position((
        SELECT quote_literal(format('%%I.%%I', nspname, relname)) FROM pg_class
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE pg_class.oid = to_regclass('{queue.TABLE}')) IN prosrc) > 0
    """
"""Functions that mark in our queue: another project may have its own in the same database."""


@dataclass(frozen=True)
class Installed:
    """The function and triggers of one collection that are there."""

    has_function: bool
    is_current: bool
    """Whether the function is the one of the definition, and nobody else may use it."""
    triggers: frozenset[Trigger]
    """Those that are switched off are not among them."""

    def difference(self, definition: Definition) -> Iterator[str]:
        """Yields the statements that make it what the definition says."""
        if not self.is_current:
            yield definition.create_function()
            yield f"REVOKE ALL ON FUNCTION {definition.function}() FROM PUBLIC"
        wanted = {(trigger.table, trigger.name) for trigger in definition.triggers}
        for trigger in sorted(self.triggers - definition.triggers, key=str):
            if (trigger.table, trigger.name) not in wanted:
                yield f'DROP TRIGGER "{trigger.name}" ON {trigger.table}'
        for trigger in sorted(definition.triggers - self.triggers, key=str):
            yield trigger.create(definition.function)


def find(definition: Definition, *, using: str) -> Installed:
    """Returns what is there of a definition."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            SELECT oid, prosrc, prosecdef, proconfig,
                has_function_privilege('public', oid, 'EXECUTE')
            FROM pg_proc WHERE oid = to_regprocedure(%s)
            """,
            [f"{definition.function}()"],
        )
        row = cursor.fetchone()
        if row is None:
            return Installed(False, False, frozenset())
        oid, *properties = row
        cursor.execute(
            f"""
            SELECT format('%%I.%%I', nspname, relname), tgname, tgtype, {LABEL} FROM pg_trigger
            JOIN pg_class ON pg_class.oid = tgrelid
            JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE tgfoid = %s AND tgenabled IN ('O', 'A')
            """,
            [oid],
        )
        triggers = frozenset(
            Trigger(table, name, EVENTS.get(kind, "other"), label)
            for table, name, kind, label in cursor.fetchall()
        )
    is_current = properties == [definition.body, True, CONFIGURATION, False]
    return Installed(True, is_current, triggers)


def functions(name: str, *, using: str) -> list[str]:
    """Returns our functions of a name, with their schemas."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT format('%%I.%%I', nspname, proname) FROM {OURS} AND proname = %s", [name]
        )
        return [row[0] for row in cursor.fetchall()]


def labels(*, using: str) -> list[str]:
    """Returns the labels of the collections that have triggers of ours."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT DISTINCT {LABEL} FROM pg_trigger
            WHERE tgfoid IN (SELECT pg_proc.oid FROM {OURS}) ORDER BY 1
            """,
            [],
        )
        return [row[0] for row in cursor.fetchall()]


def require_rights(definition: Definition, *, using: str) -> None:
    """Raises CaptureError where the function could not do its work, as whoever installs it now."""
    wanted = [(definition.queue, right) for right in ("SELECT", "INSERT", "UPDATE", "DELETE")]
    wanted += [(table, "SELECT") for table in definition.read]
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            SELECT name, privilege, current_user
            FROM unnest(%s::text[], %s::text[]) AS wanted (name, privilege)
            WHERE NOT has_table_privilege(name, privilege)
            """,
            [[table for table, _right in wanted], [right for _table, right in wanted]],
        )
        missing = cursor.fetchall()
    if missing:
        rights = ", ".join(f"{right} on {table}" for table, right, _user in missing)
        raise CaptureError(
            f"{missing[0][2]} would own the function and has no right to {rights}. Install it as "
            "the owner of these tables."
        )
