"""What the PostgreSQL server offers: the extension, and the state of an index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto

from django.db import ProgrammingError, connections, transaction

from .asking import is_inside
from .fields import OPERATOR_CLASS

MINIMUM = (0, 8, 4)
"""The first pgvector without the index corruptions of 0.8.2 to 0.8.3."""
INSUFFICIENT_PRIVILEGE = "42501"
LOCK_NOT_AVAILABLE = "55P03"
Version = tuple[int, ...]


@dataclass(frozen=True)
class Extension:
    """pgvector in one database."""

    installed: Version | None
    """None: migrate is to create it."""
    available: Version | None
    """What CREATE EXTENSION would install; None: the server doesn't have it."""


class IndexState(Enum):
    VALID = auto()
    INVALID = auto()
    """A concurrent build was broken off."""
    OTHER_OPERATOR = auto()
    ABSENT = auto()
    NO_TABLE = auto()
    """The table itself waits for its migration."""


def extension(using: str) -> Extension:
    """Returns which pgvector is there."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            SELECT
                (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
                (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')
            """
        )
        installed, available = cursor.fetchone()
    return Extension(_version(installed), _version(available))


def may_create_extension(using: str) -> bool:
    """Tries to create the extension, and takes it back: managed services allow it by hooks of
    their own, which no catalogue shows.
    """
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute("CREATE EXTENSION vector")
            transaction.set_rollback(True, using=using)
    except ProgrammingError as error:
        if getattr(error.__cause__, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
            raise
        return False
    return True


def index_state(table: str, name: str, using: str) -> IndexState:
    """Returns what became of an EmbeddingIndex."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            SELECT index.indisvalid, access.amname = 'hnsw' AND operator.opcname = %s
            FROM pg_class owner
            LEFT JOIN (pg_index index
                JOIN pg_class named ON named.oid = index.indexrelid AND named.relname = %s
                JOIN pg_am access ON access.oid = named.relam
                JOIN pg_opclass operator ON operator.oid = index.indclass[0])
                ON index.indrelid = owner.oid
            WHERE owner.oid = to_regclass(%s)
            """,
            [OPERATOR_CLASS, name, connections[using].ops.quote_name(table)],
        )
        row = cursor.fetchone()
    if row is None:
        return IndexState.NO_TABLE
    valid, ours = row
    if valid is None:
        return IndexState.ABSENT
    if not ours:
        return IndexState.OTHER_OPERATOR
    return IndexState.VALID if valid else IndexState.INVALID


@contextmanager
def hurried(using: str, seconds: float, lock_seconds: float | None = None) -> Iterator[None]:
    """Lets PostgreSQL cancel each statement of the block that takes longer, or that waits for a
    lock for longer than `lock_seconds`.

    The block is a transaction; inside another one the old limits hold again after it.
    """
    wanted = {"statement_timeout": seconds}
    if lock_seconds is not None:
        wanted["lock_timeout"] = lock_seconds
    nested = is_inside(using)
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        before = {}
        for name, limit in wanted.items():
            if nested:
                cursor.execute("SELECT current_setting(%s)", [name])
                (before[name],) = cursor.fetchone()
            cursor.execute(_CHANGE, [name, str(max(1, int(limit * 1000)))])
        yield
        for name, value in before.items():
            cursor.execute(_CHANGE, [name, value])


_CHANGE = "SELECT set_config(%s, %s, true)"


def is_lock_timeout(error: Exception) -> bool:
    """Whether PostgreSQL has cancelled a statement since it waited for a lock."""
    return getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE


def analyze(table: str, using: str) -> None:
    """Refreshes the planner's statistics of a table."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"ANALYZE {connections[using].ops.quote_name(table)}")


def _version(text: str | None) -> Version | None:
    return tuple(int(part) for part in text.split(".") if part.isdigit()) if text else None
