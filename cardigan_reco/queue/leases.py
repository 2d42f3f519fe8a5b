"""Leases: sources in the hands of a worker for a while, and what becomes of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from django.db import connections

from cardigan_reco import conf
from cardigan_reco.models import Embedding, EncodingRequest

from .rows import TABLE, Failure

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


def lock_overtaken(claims: Sequence[Claim], *, using: str) -> set[int]:
    """Locks the claims that were marked again and that nobody else has taken, as lock() does.

    What was encoded of them may be stored: whoever takes the new request puts it right.
    """
    if not claims:
        return set()
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT id FROM {TABLE} WHERE id = ANY(%s) AND state = 'waiting'
            FOR UPDATE SKIP LOCKED
            """,
            [[claim.id for claim in claims]],
        )
        return {row[0] for row in cursor.fetchall()}


def settle(ids: Iterable[int], *, using: str) -> None:
    """Removes locked requests that are done."""
    EncodingRequest.objects.using(using).filter(id__in=list(ids)).delete()


def fail(claim: Claim, failure: Failure, error: str, *, using: str) -> None:
    """Records why a locked request is given up."""
    _close(claim, f"state = '{failure}'", error, 0, using)


def postpone(claim: Claim, error: str, *, charged: bool, using: str) -> None:
    """Sends a locked request back to wait, longer each time, up to LONGEST_PAUSE_SECONDS.

    What is not the picture's fault, such as a storage that is down, is not `charged` with an
    attempt; it waits a quarter of its age so far, between RETRY_SECONDS and LONGEST_PAUSE_SECONDS.
    """
    pause_seconds = conf.current().retry_seconds
    if charged:
        doubled = min(pause_seconds * 2 ** (claim.attempts - 1), LONGEST_PAUSE_SECONDS)
        _close(claim, "state = 'waiting'", error, max(pause_seconds, doubled), using)
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


def source_pks(embedding: type[Embedding], claims: Sequence[Claim]) -> dict[Any, Claim]:
    """Returns the claims by primary key, as the source's own type."""
    key = embedding.source_model()._meta.pk
    return {key.to_python(claim.source_pk): claim for claim in claims}
