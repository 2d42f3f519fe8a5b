"""The queue: mark sources, claim them for a while, settle them.

The rows of EncodingRequest are the truth; a wake-up that is lost costs time, never a picture.
Every time below is the database's clock.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from django.db import connections, router
from django.db.models import Count, QuerySet, TextField
from django.db.models.functions import Cast, Now

from . import conf
from .models import Embedding, EncodingRequest

TABLE = EncodingRequest._meta.db_table
State = EncodingRequest.State
LONGEST_PAUSE_SECONDS = 300
"""Between two tries of a picture that can't be read through no fault of its own."""
LOST = "state = 'leased' AND lease_expires_at <= clock_timestamp()"
"""Whose worker was lost, or gave the source back as after a crash."""


class Claim(NamedTuple):
    """A source that this process may encode until its lease ends."""

    id: int
    source_pk: str
    version: int
    attempts: int
    """Claims so far, this one included."""
    token: uuid.UUID


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


def mark(embedding: type[Embedding], source_pks: Iterable[Any], *, using: str) -> None:
    """Asks for sources to be encoded, in the caller's transaction and in one statement.

    A source that is marked already is asked for again: its attempts start over, and whoever
    encodes it now will find the lease gone.
    """
    texts = sorted({str(pk) for pk in source_pks})
    if not texts:
        return
    statement = marking("%s", "unnest(%s::text[]) AS marked (pk)")
    with connections[using].cursor() as cursor:
        cursor.execute(statement, [embedding._meta.label_lower, texts])


def marking(collection: str, pks: str, *, table: str = TABLE) -> str:
    """Returns the statement that marks each text `pk` of `pks`, an item of FROM; all is SQL.

    It goes by the order of the keys, so that two who mark the same sources at once can't each
    hold what the other waits for.
    """
    return f"""
        INSERT INTO {table} AS request
            (collection, source_pk, version, state, attempts, error)
        SELECT {collection}, pk, 1, 'waiting', 0, '' FROM {pks} ORDER BY pk COLLATE "C"
        ON CONFLICT (collection, source_pk) DO UPDATE SET
            version = request.version + 1, state = 'waiting', attempts = 0, error = '',
            requested_at = clock_timestamp(), available_at = clock_timestamp(),
            lease_token = NULL, lease_expires_at = NULL
        """


def forget(embedding: type[Embedding], source_pk: Any, *, using: str) -> None:
    """Drops the request of a source that is being deleted."""
    EncodingRequest.objects.using(using).filter(
        collection=embedding._meta.label_lower, source_pk=str(source_pk)
    ).delete()


def mark_new(embedding: type[Embedding], sources: QuerySet[Any]) -> int:
    """Marks those of `sources` that have no request, in one statement; returns how many."""
    keys = sources.values_list(Cast("pk", TextField()))
    selection, parameters = keys.query.get_compiler(sources.db).as_sql()
    with connections[sources.db].cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {TABLE} (collection, source_pk, version, state, attempts, error)
            SELECT %s, pk, 1, 'waiting', 0, '' FROM ({selection}) AS sources (pk)
            ORDER BY pk COLLATE "C"
            ON CONFLICT (collection, source_pk) DO NOTHING
            """,
            [embedding._meta.label_lower, *parameters],
        )
        return int(cursor.rowcount)


def requests(embedding: type[Embedding], *, using: str) -> QuerySet[EncodingRequest]:
    """Returns the requests of a collection."""
    return EncodingRequest.objects.using(using).filter(collection=embedding._meta.label_lower)


def requests_of(
    embedding: type[Embedding], source_pk: Any, *, using: str
) -> QuerySet[EncodingRequest]:
    """Returns the request of an expression of primary keys, such as OuterRef("pk")."""
    return requests(embedding, using=using).filter(source_pk=Cast(source_pk, TextField()))


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


def claim(embedding: type[Embedding], *, limit: int, using: str) -> list[Claim]:
    """Leases up to `limit` sources to the caller; [] when nothing can be done now.

    A source whose worker was lost comes back alone, so that a picture that kills its worker takes
    no other with it; after CARDIGAN_RECO["MAX_ATTEMPTS"] nobody gets it, and `bury()` gives it up.
    """
    lost = f"{LOST} AND attempts < %(max_attempts)s"
    due = "state = 'waiting' AND available_at <= clock_timestamp()"
    return (
        _lease(embedding, lost, "lease_expires_at", 1, using)
        or _lease(embedding, due, "available_at, id", limit, using)
    )  # fmt: skip


def bury(embedding: type[Embedding], *, using: str) -> list[EncodingRequest]:
    """Gives up the sources whose worker was lost too often, and returns their requests.

    Never waits: one that somebody changes right now is left out.
    """
    return list(
        EncodingRequest.objects.using(using).raw(
            f"""
            UPDATE {TABLE} SET state = 'dead', lease_token = NULL, lease_expires_at = NULL,
                available_at = clock_timestamp(),
                error = CASE WHEN error = '' THEN
                    'The worker was lost ' || attempts || ' times while encoding this picture.'
                    ELSE error END
            WHERE id IN (
                SELECT id FROM {TABLE} WHERE collection = %s AND {LOST} AND attempts >= %s
                FOR UPDATE SKIP LOCKED)
            RETURNING *
            """,
            [embedding._meta.label_lower, conf.current().max_attempts],
        )
    )


def _lease(
    embedding: type[Embedding], condition: str, order: str, limit: int, using: str
) -> list[Claim]:
    token = uuid.uuid4()
    with connections[using].cursor() as cursor:
        # Materialised: as a subquery a plan may run it again for each row, past the limit.
        cursor.execute(
            f"""
            WITH chosen AS MATERIALIZED (
                SELECT id AS chosen_id FROM {TABLE}
                WHERE collection = %(collection)s AND {condition}
                ORDER BY {order} LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
            UPDATE {TABLE} SET state = 'leased', attempts = attempts + 1, lease_token = %(token)s,
                lease_expires_at = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
            FROM chosen WHERE id = chosen_id
            RETURNING id, source_pk, version, attempts
            """,
            {
                "collection": embedding._meta.label_lower,
                "max_attempts": conf.current().max_attempts,
                "limit": limit,
                "token": token,
                "lease_seconds": conf.current().lease_seconds,
            },
        )
        return [
            Claim(id, source_pk, version, attempts, token)
            for id, source_pk, version, attempts in sorted(cursor.fetchall())
        ]


def lock(claims: Sequence[Claim], *, using: str) -> set[int]:
    """Locks the claims that still hold, for the rest of the transaction; returns their ids.

    Never waits: a row that somebody changes right now is a claim that is lost.
    """
    if not claims:
        return set()
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT request.id FROM {TABLE} request
            JOIN unnest(%s::bigint[], %s::bigint[]) AS mine (id, version)
                ON mine.id = request.id AND mine.version = request.version
            WHERE request.lease_token = %s FOR UPDATE OF request SKIP LOCKED
            """,
            [
                [claim.id for claim in claims],
                [claim.version for claim in claims],
                claims[0].token,
            ],
        )
        return {row[0] for row in cursor.fetchall()}


def settle(ids: Iterable[int], *, using: str) -> None:
    """Removes locked requests that are done."""
    EncodingRequest.objects.using(using).filter(id__in=list(ids)).delete()


def fail(claim: Claim, failure: Failure, error: str, *, using: str) -> None:
    """Records why a locked request is given up."""
    _close(claim, f"state = '{failure}'", error, 0, using)


def postpone(claim: Claim, error: str, *, charged: bool, using: str) -> None:
    """Sends a locked request back to wait, longer each time.

    What is not the picture's fault, such as a storage that is down, is not `charged` with an
    attempt; it waits a quarter of its age so far, between RETRY_SECONDS and LONGEST_PAUSE_SECONDS.
    """
    pause_seconds = conf.current().retry_seconds
    if charged:
        _close(claim, "state = 'waiting'", error, pause_seconds * 2 ** (claim.attempts - 1), using)
    else:
        change = "state = 'waiting', attempts = attempts - 1"
        _close(claim, change, error, pause_seconds, using, LONGEST_PAUSE_SECONDS)


def yield_to_shop(claim: Claim, *, using: str) -> None:
    """Sends a locked request back whose source the shop is changing or deleting right now."""
    change = "state = 'waiting', attempts = attempts - 1"
    _close(claim, change, "", conf.current().retry_seconds, using)


def _close(
    claim: Claim,
    change: str,
    error: str,
    pause_seconds: int,
    using: str,
    longest_pause_seconds: int = 0,
) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE {TABLE} SET {change}, error = %s, lease_token = NULL, lease_expires_at = NULL,
                available_at = clock_timestamp() + greatest(make_interval(secs => %s),
                    least((clock_timestamp() - requested_at) / 4, make_interval(secs => %s)))
            WHERE id = %s
            """,
            [error, pause_seconds, longest_pause_seconds, claim.id],
        )


def release(claims: Sequence[Claim], *, using: str) -> None:
    """Gives claims back, as if they had never been made."""
    _return(
        claims, "state = 'waiting', attempts = attempts - 1, lease_expires_at = NULL", "", using
    )


def abandon(claims: Sequence[Claim], error: str, *, using: str) -> None:
    """Gives claims back as after a crash: each is tried alone, and counts as an attempt."""
    _return(claims, "lease_expires_at = clock_timestamp()", error, using)


def _return(claims: Sequence[Claim], change: str, error: str, using: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"UPDATE {TABLE} SET {change}, lease_token = NULL, error = %s "
            "WHERE lease_token = %s AND id = ANY(%s)",
            [error, claims[0].token, [claim.id for claim in claims]],
        )


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


def source_pks(embedding: type[Embedding], claims: Sequence[Claim]) -> dict[Any, Claim]:
    """Returns the claims by primary key, as the source's own type."""
    key = embedding.source_model()._meta.pk
    return {key.to_python(claim.source_pk): claim for claim in claims}
