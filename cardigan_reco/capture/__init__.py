"""Capture: triggers on the shop's tables that mark what any program writes, as it is written.

Each embedding model has one function and, for each kind of statement, one trigger. A statement
fires it once, however many rows it writes, and the marks are part of its transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from django.db import DatabaseError, connections, router, transaction

from cardigan_reco import collection, conf
from cardigan_reco.exceptions import CaptureError

from . import installed
from .definition import PREFIX, define, function_name
from .feeds import Feed

__all__ = [
    "Feed",
    "State",
    "collections_captured",
    "function_name",
    "install",
    "keep_up",
    "remove",
    "state",
]

logger = logging.getLogger(__name__)

LOCK_SECONDS = 5.0
"""How long an installation waits for those who write the table, while new writers wait for it."""
LOCK_NOT_AVAILABLE, INSUFFICIENT_PRIVILEGE = "55P03", "42501"


class State(Enum):
    CURRENT = "installed"
    OUTDATED = "outdated"
    """Of another version of this package, or of the table as it was, or switched off."""
    ABSENT = "not installed"
    NO_TABLE = "without a table"
    """It waits for its migration."""


def install(feed: Feed, *, using: str, lock_seconds: float | None = LOCK_SECONDS) -> bool:
    """Installs the triggers of a collection or brings them up to date; returns whether it had to.

    Raises CaptureError when rights are missing, when the table can't have such triggers, or when
    somebody keeps it locked for longer than `lock_seconds`; None waits for as long as it takes.
    """
    with transaction.atomic(using=using), _refusals(feed.collection, using):
        with connections[using].cursor() as cursor:
            if lock_seconds is not None:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [_ms(lock_seconds)])
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [PREFIX])
        definition = define(feed, using=using)
        if definition is None:
            raise CaptureError(
                f"The tables of {feed.collection} are not in database {using!r}. Run migrate first."
            )
        found = installed.find(definition, using=using)
        statements = list(found.difference(definition))
        if statements:
            installed.require_rights(definition, using=using)
            with connections[using].cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
    return bool(statements)


def remove(label: str, *, using: str, lock_seconds: float | None = LOCK_SECONDS) -> bool:
    """Removes the triggers of a collection, by its label; returns whether there were any."""
    with transaction.atomic(using=using), _refusals(label, using):
        functions = installed.functions(function_name(label.lower()), using=using)
        with connections[using].cursor() as cursor:
            if lock_seconds is not None:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [_ms(lock_seconds)])
            for function in functions:
                # It takes the triggers along, and needs no right on the shop's table.
                cursor.execute(f"DROP FUNCTION {function}() CASCADE")
    return bool(functions)


def state(feed: Feed, *, using: str) -> State:
    """Returns what a database has of a collection's triggers."""
    definition = define(feed, using=using)
    if definition is None:
        return State.NO_TABLE
    found = installed.find(definition, using=using)
    if not list(found.difference(definition)):
        return State.CURRENT
    return State.OUTDATED if found.has_function else State.ABSENT


def collections_captured(*, using: str) -> list[str]:
    """Returns the labels of all collections with triggers, also of models that are gone."""
    return installed.labels(using=using)


def keep_up(*, using: str) -> None:
    """Installs what the setting asks for, and renews what a migration has left behind."""
    if connections[using].vendor != "postgresql":
        return
    are_wanted = conf.current().capture == "triggers"
    for embedding in collection.models():
        if not router.allow_migrate_model(using, embedding):
            continue
        feed = Feed.of(embedding)
        is_due = are_wanted
        try:
            found = state(feed, using=using)
            is_due = found is State.OUTDATED or (are_wanted and found is State.ABSENT)
            if is_due:
                install(feed, using=using, lock_seconds=LOCK_SECONDS)
        except CaptureError as error:
            # The migration itself is done, and the system check says so until somebody acts.
            if is_due:
                extra = {"collection": embedding._meta.label_lower, "database": using}
                logger.warning("%s", error, extra=extra)


@contextmanager
def _refusals(label: str, using: str) -> Iterator[None]:
    """Turns what PostgreSQL refuses into errors that say what to do."""
    try:
        yield
    except DatabaseError as error:
        match getattr(error.__cause__, "sqlstate", None):
            case code if code == LOCK_NOT_AVAILABLE:
                reason = "something has held its table for too long. Try again in a quiet moment."
            case code if code == INSUFFICIENT_PRIVILEGE:
                user = connections[using].settings_dict["USER"]
                reason = f"{error.__cause__}. Let the owner of the table do it, in place of {user}."
            case _:
                raise
        raise CaptureError(f"The triggers of {label} in database {using!r}: {reason}") from error


def _ms(seconds: float) -> str:
    return f"{int(seconds * 1000)}ms"
