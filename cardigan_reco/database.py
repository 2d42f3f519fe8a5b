"""What the PostgreSQL server offers: the extension, and the state of an index."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from django.db import connections

from .fields import OPERATOR_CLASS

MINIMUM = (0, 8, 4)
"""The first pgvector without the index corruptions of 0.8.2 to 0.8.3."""
Version = tuple[int, ...]


@dataclass(frozen=True)
class Extension:
    """pgvector in one database."""

    installed: Version | None
    available: Version | None
    may_create: bool


class IndexState(Enum):
    VALID = auto()
    INVALID = auto()
    """A concurrent build was broken off."""
    OTHER_OPERATOR = auto()
    ABSENT = auto()
    NO_TABLE = auto()
    """The table itself waits for its migration."""


def extension(using: str) -> Extension:
    """Returns which pgvector is there and whether our user may create it."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            SELECT extension.installed_version, extension.default_version,
                (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                OR (version.trusted AND has_database_privilege(current_database(), 'CREATE'))
            FROM pg_available_extensions extension
            JOIN pg_available_extension_versions version
                ON version.name = extension.name AND version.version = extension.default_version
            WHERE extension.name = 'vector'
            """
        )
        row = cursor.fetchone()
    if row is None:
        return Extension(None, None, may_create=False)
    installed, available, may_create = row
    return Extension(_version(installed) if installed else None, _version(available), may_create)


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


def _version(text: str) -> Version:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
