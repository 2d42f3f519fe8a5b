"""Revisions: whether a collection's vectors are what they were."""

from __future__ import annotations

from django.db import connections

from .models import CollectionRevision, Embedding

TABLE = CollectionRevision._meta.db_table


def advance(embedding: type[Embedding], *, using: str) -> None:
    """Says that vectors were written, in their transaction and last: others wait for its end.

    Who reads a revision, and vectors after it, has seen all that it counts.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {TABLE} AS known (collection, revision) VALUES (%s, 1) "
            "ON CONFLICT (collection) DO UPDATE SET revision = known.revision + 1",
            [embedding._meta.label_lower],
        )
