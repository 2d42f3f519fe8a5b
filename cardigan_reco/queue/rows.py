"""Rows: the requests of a collection, to be counted, dropped or tried again."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from django.db import connections, router
from django.db.models import Count, QuerySet, TextField
from django.db.models.functions import Cast, Now

from cardigan_reco.models import Embedding, EncodingRequest

TABLE = EncodingRequest._meta.db_table
State = EncodingRequest.State


class Failure(StrEnum):
    """What a picture that can't be encoded ends as."""

    MISSING = State.MISSING
    BAD_IMAGE = State.BAD_IMAGE
    DEAD = State.DEAD


def is_in(using: str) -> bool:
    """Returns whether a database has a queue: the shop may save its models into others, too.

    What the routers say isn't enough: a database that is migrated by way of another alias has it.
    """
    if router.allow_migrate_model(using, EncodingRequest):
        return True
    if connections[using].vendor != "postgresql":
        return False
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [TABLE])
        return bool(cursor.fetchone()[0])


def requests(embedding: type[Embedding], *, using: str) -> QuerySet[EncodingRequest]:
    """Returns the requests of a collection."""
    return EncodingRequest.objects.using(using).filter(collection=embedding._meta.label_lower)


def requests_of(
    embedding: type[Embedding], source_pk: Any, *, using: str
) -> QuerySet[EncodingRequest]:
    """Returns the request of an expression of primary keys, such as OuterRef("pk")."""
    return requests(embedding, using=using).filter(source_pk=Cast(source_pk, TextField()))


def forget(embedding: type[Embedding], source_pk: Any, *, using: str) -> None:
    """Drops the request of a source that is being deleted."""
    EncodingRequest.objects.using(using).filter(
        collection=embedding._meta.label_lower, source_pk=str(source_pk)
    ).delete()


def drop(versions: Mapping[int, int], *, using: str) -> int:
    """Drops requests, by id, that still have that version; returns how many.

    Never waits: one that somebody changes right now stays.
    """
    if not versions:
        return 0
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"""
            DELETE FROM {TABLE} WHERE id IN (
                SELECT request.id FROM {TABLE} request
                JOIN unnest(%s::bigint[], %s::bigint[]) AS seen (id, version)
                    ON seen.id = request.id AND seen.version = request.version
                FOR UPDATE OF request SKIP LOCKED)
            """,
            [list(versions), list(versions.values())],
        )
        return int(cursor.rowcount)


def given_up(embedding: type[Embedding], *, using: str) -> QuerySet[EncodingRequest]:
    """Returns the requests that nobody will try again by themselves."""
    return EncodingRequest.objects.using(using).filter(
        collection=embedding._meta.label_lower, state__in=list(Failure)
    )


def retry(requests: QuerySet[EncodingRequest]) -> int:
    """Sends requests that were given up back to wait; returns how many."""
    return requests.update(
        state=State.WAITING, attempts=0, error="", available_at=Now(), requested_at=Now()
    )


def counts(embedding: type[Embedding], *, using: str) -> dict[str, int]:
    """Returns how many requests are in each state."""
    found = (
        EncodingRequest.objects.using(using)
        .filter(collection=embedding._meta.label_lower)
        .values_list("state")
        .annotate(Count("id"))
    )
    return dict.fromkeys(State.values, 0) | dict(found)
