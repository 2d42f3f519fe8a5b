"""The backlog: what of a collection waits, is in hand or was given up, and since when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connections

from .models import Embedding, EncodingRequest
from .queue import Failure, State

TABLE = EncodingRequest._meta.db_table
COUNTED = {
    "waiting": "state = 'waiting'",
    "retrying": "state = 'waiting' AND error <> ''",
    "leased": "state = 'leased'",
    "missing": "state = 'missing'",
    "bad_image": "state = 'bad_image'",
    "dead": "state = 'dead'",
}
"""What is counted of a backlog, and which requests those are, in SQL."""


@dataclass(frozen=True)
class Backlog:
    """The requests of a collection."""

    waiting: int = 0
    retrying: int = 0
    """Of those that wait, the ones that have failed before."""
    leased: int = 0
    missing: int = 0
    bad_image: int = 0
    dead: int = 0
    oldest_seconds: float = 0.0
    """Since the one that waits for the longest time was asked for."""
    overdue_seconds: float = 0.0
    """How long a worker could have taken one already that none has taken. A picture that is to be
    tried again later is not overdue until then.
    """

    @property
    def given_up(self) -> int:
        return self.missing + self.bad_image + self.dead


@dataclass(frozen=True)
class LastError:
    """What went wrong last, as far as it isn't mended."""

    source_pk: str
    state: State
    text: str
    at: datetime
    """When it was given up; when it is due again for one that waits."""


def of_all(*, using: str) -> dict[str, Backlog]:
    """Returns the backlog of each collection, by its label, that has one."""
    with connections[using].cursor() as cursor:
        cursor.execute(_BACKLOGS)
        return {
            collection: Backlog(
                **dict(zip(COUNTED, counts, strict=True)),
                oldest_seconds=float(oldest or 0),
                overdue_seconds=max(0.0, float(overdue or 0)),
            )
            for collection, oldest, overdue, *counts in cursor.fetchall()
        }


def overdue_seconds(embeddings: Sequence[type[Embedding]], *, using: str) -> float:
    """Returns the longest `Backlog.overdue_seconds` among them, by two steps in an index each."""
    labels = [embedding._meta.label_lower for embedding in embeddings]
    with connections[using].cursor() as cursor:
        cursor.execute(_OVERDUE, [labels])
        return max(0.0, float(cursor.fetchone()[0] or 0))


def last_error(embedding: type[Embedding], *, using: str) -> LastError | None:
    """Returns the last error of a collection: of what was given up, or else of what waits."""
    requests = EncodingRequest.objects.using(using).filter(collection=embedding._meta.label_lower)
    for states in ([*Failure], [State.WAITING, State.LEASED]):
        found = requests.filter(state__in=states).exclude(error="").order_by("-available_at")
        if (request := found.first()) is not None:
            state = State(request.state)
            return LastError(request.source_pk, state, request.error, request.available_at)
    return None


_BACKLOGS = f"""
    SELECT collection,
        extract(epoch FROM clock_timestamp() - min(requested_at) FILTER (WHERE state = 'waiting')),
        extract(epoch FROM clock_timestamp() - least(
            min(available_at) FILTER (WHERE state = 'waiting'),
            min(lease_expires_at) FILTER (WHERE state = 'leased'))),
        {", ".join(f"count(*) FILTER (WHERE {condition})" for condition in COUNTED.values())}
    FROM {TABLE} GROUP BY collection
    """
_OVERDUE = f"""
    SELECT extract(epoch FROM clock_timestamp() - min(least(
        (SELECT min(available_at) FROM {TABLE}
            WHERE collection = label AND state = 'waiting'),
        (SELECT min(lease_expires_at) FROM {TABLE}
            WHERE collection = label AND state = 'leased'))))
    FROM unnest(%s::text[]) AS asked (label)
    """
