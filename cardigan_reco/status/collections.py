"""How one collection goes: what waits, how fast it is encoded, its encoder and its index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.db.models import Count

from cardigan_reco import backlog, database, indexes, locks, tallies
from cardigan_reco.backlog import Backlog, LastError
from cardigan_reco.database import IndexState
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.models import Embedding, EncoderVersion, EncodingRequest, EncodingTally

COUNTING_SECONDS = 30.0
"""How long the vectors of all collections may take to be counted, and the queue to be read: they
are what grows."""


@dataclass(frozen=True)
class EncoderState:
    """The encoder of a collection, and which of its states the vectors are from."""

    alias: str
    fingerprint: str | None
    """In use; None: it has made no vector yet, or can't be found out here."""
    problem: str
    """Why it can't."""
    rows: Mapping[str, int] | None
    """Vectors by fingerprint; None: they are too many to count in time."""

    @property
    def stale(self) -> int:
        """Vectors of other states than the one in use."""
        rows = self.rows or {}
        return sum(count for fingerprint, count in rows.items() if fingerprint != self.fingerprint)


@dataclass(frozen=True)
class CollectionStatus:
    """How one collection goes."""

    collection: str
    """The embedding model's label."""
    encoder: EncoderState
    backlog: Backlog
    per_second_1: float
    """Pictures encoded a second, over the last minute."""
    per_second_5: float
    """The same over the last five."""
    last_error: LastError | None
    index: indexes.Health

    def as_dict(self) -> dict[str, Any]:
        """Returns all of it in JSON's types."""
        error = self.last_error
        return {
            "collection": self.collection,
            "encoder": {**asdict(self.encoder), "stale": self.encoder.stale},
            "backlog": {
                **asdict(self.backlog),
                "oldest_seconds": round(self.backlog.oldest_seconds, 1),
                "overdue_seconds": round(self.backlog.overdue_seconds, 1),
            },
            "per_second_1": round(self.per_second_1, 3),
            "per_second_5": round(self.per_second_5, 3),
            "last_error": error and {**asdict(error), "at": error.at.isoformat(timespec="seconds")},
            "index": self.index.as_dict(),
        }


def look(
    embedding: type[Embedding], found: Backlog, using: str, counting_seconds: float
) -> CollectionStatus:
    """Returns how the collection goes, without loading a network.

    `counting_seconds`: how long its vectors may take to be counted. Raises Locked.
    """
    label = embedding._meta.label_lower
    index = indexes.health(embedding, using=using)
    ours = [model._meta.db_table for model in (EncoderVersion, EncodingTally, EncodingRequest)]
    with locks.looking(ours, using=using, seconds=COUNTING_SECONDS):
        version, problem = _version(embedding, using)
        per_second = [tallies.per_second(label, minutes, using=using) for minutes in (1, 5)]
        last_error = backlog.last_error(embedding, using=using)
    rows: dict[str, int] | None = {}
    if index.state is not IndexState.NO_TABLE:
        rows = _rows(embedding, using, counting_seconds)
    return CollectionStatus(
        collection=embedding._meta.label,
        encoder=EncoderState(
            embedding.encoder, version.fingerprint if version else None, problem, rows
        ),
        backlog=found,
        per_second_1=per_second[0],
        per_second_5=per_second[1],
        last_error=last_error,
        index=index,
    )


def _version(embedding: type[Embedding], using: str) -> tuple[EncoderVersion | None, str]:
    """Returns the version in use, and why it can't be known."""
    try:
        return EncoderVersion.objects.using(using).newest(embedding.encoder), ""
    except (CardiganError, ImproperlyConfigured) as error:
        return None, str(error)


def _rows(embedding: type[Embedding], using: str, seconds: float) -> dict[str, int] | None:
    counted = (
        embedding._base_manager.using(using).values_list("encoder_version").annotate(Count("pk"))
    )
    try:
        with database.hurried(using, seconds, min(seconds, locks.LOCK_SECONDS)):
            rows = dict(counted)
            versions = EncoderVersion.objects.using(using).in_bulk(list(rows))
    except OperationalError:
        return None
    return {versions[pk].fingerprint: count for pk, count in rows.items() if pk in versions}
