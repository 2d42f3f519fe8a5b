"""The status of a database at one time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from cardigan_reco import (
    __version__,
    backlog,
    broker,
    collection,
    conf,
    doorbell,
    heartbeats,
    locks,
)
from cardigan_reco.backlog import Backlog
from cardigan_reco.broker import Broker
from cardigan_reco.heartbeats import Worker
from cardigan_reco.models import EncodingRequest, WorkerHeartbeat

from . import collections, problems
from .collections import CollectionStatus
from .problems import Level, Limits, Problem


@dataclass(frozen=True)
class Status:
    """All of a database, at one time."""

    database: str
    taken_at: datetime
    collections: Sequence[CollectionStatus]
    workers: Sequence[Worker]
    broker: Broker | None
    """None without Celery."""
    problems: Sequence[Problem]
    """The worst first."""

    @property
    def level(self) -> Level:
        return max((problem.level for problem in self.problems), default=Level.OK)

    def as_dict(self) -> dict[str, Any]:
        """Returns all of it in JSON's types."""
        return {
            "level": self.level.name.lower(),
            "database": self.database,
            "taken_at": _text(self.taken_at),
            "release": __version__,
            "problems": [problem.as_dict() for problem in self.problems],
            "collections": [one.as_dict() for one in self.collections],
            "workers": [
                {
                    **asdict(worker),
                    "started_at": _text(worker.started_at),
                    "seen_at": _text(worker.seen_at),
                    "silent_seconds": round(worker.silent_seconds, 1),
                    "is_there": worker.is_there,
                }
                for worker in self.workers
            ],
            "broker": asdict(self.broker) if self.broker else None,
        }


def of(using: str, limits: Limits | None = None) -> Status:
    """Returns how the database `using` is, without loading a network.

    Raises Locked when another session has a table for itself.
    """
    limits = limits or Limits.default()
    counting = collections.COUNTING_SECONDS
    ours = [model._meta.db_table for model in (EncodingRequest, WorkerHeartbeat)]
    with locks.looking(ours, using=using, seconds=counting):
        backlogs = backlog.of_all(using=using)
        workers = heartbeats.seen(using=using)
    deadline = time.monotonic() + counting
    found = [
        collections.look(
            embedding,
            backlogs.get(embedding._meta.label_lower, Backlog()),
            using,
            deadline - time.monotonic(),
        )
        for embedding in collection.models_in(using)
    ]
    answer = None
    if doorbell.celery_is_installed():
        answer = broker.look(conf.current().healthy.timeout_seconds)
    strays = sorted(set(backlogs) - {model._meta.label_lower for model in collection.models()})
    needing = problems.found(found, workers, answer, limits, using, strays)
    return Status(using, timezone.now(), found, workers, answer, needing)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
