"""How one collection goes: what waits, how fast it is encoded, its encoder and its index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.db.models import Count

from cardigan_reco import backlog, database, indexes, tallies
from cardigan_reco.backlog import Backlog, LastError
from cardigan_reco.database import IndexState
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.models import Embedding, EncoderVersion

COUNTING_SECONDS = 30.0
"""How long the vectors may take to be counted; that is the one thing here that grows with them."""


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


def look(embedding: type[Embedding], found: Backlog, using: str) -> CollectionStatus:
    """Returns how the collection goes, without loading a network."""
    label = embedding._meta.label_lower
    index = indexes.health(embedding, using=using)
    return CollectionStatus(
        collection=embedding._meta.label,
        encoder=_encoder(embedding, index.state is not IndexState.NO_TABLE, using),
        backlog=found,
        per_second_1=tallies.per_second(label, 1, using=using),
        per_second_5=tallies.per_second(label, 5, using=using),
        last_error=backlog.last_error(embedding, using=using),
        index=index,
    )


def _encoder(embedding: type[Embedding], has_table: bool, using: str) -> EncoderState:
    problem = ""
    version = None
    try:
        version = EncoderVersion.objects.using(using).newest(embedding.encoder)
    except (CardiganError, ImproperlyConfigured) as error:
        problem = str(error)
    fingerprint = version.fingerprint if version else None
    rows = _rows(embedding, using) if has_table else {}
    return EncoderState(embedding.encoder, fingerprint, problem, rows)


def _rows(embedding: type[Embedding], using: str) -> dict[str, int] | None:
    counted = (
        embedding._base_manager.using(using).values_list("encoder_version").annotate(Count("pk"))
    )
    try:
        with database.hurried(using, COUNTING_SECONDS):
            rows = dict(counted)
    except OperationalError:
        return None
    versions = EncoderVersion.objects.using(using).in_bulk(list(rows))
    return {versions[pk].fingerprint: count for pk, count in rows.items() if pk in versions}
