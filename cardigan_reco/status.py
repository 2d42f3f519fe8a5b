"""The status of a database: how each collection goes, who works, and what needs a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.db.models import Count
from django.utils import timezone

from . import (
    __version__,
    backlog,
    broker,
    collection,
    conf,
    database,
    doorbell,
    heartbeats,
    indexes,
    tallies,
)
from .backlog import Backlog, LastError
from .broker import Broker
from .database import IndexState
from .exceptions import CardiganError
from .heartbeats import Worker
from .models import Embedding, EncoderVersion

COUNTING_SECONDS = 30.0
"""How long the vectors may take to be counted; that is the one thing here that grows with them."""


class Level(IntEnum):
    """How bad it is; the number is the exit code that monitoring systems expect."""

    OK = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True)
class Limits:
    """From where on something is a problem."""

    overdue_warning_seconds: float
    overdue_critical_seconds: float
    dead: int = 1
    """Pictures that were given up since they crashed, or since the encoder failed on them."""
    unusable: int = 100
    """Pictures whose file is missing or no picture: mostly the shop's own affair."""
    workers: int = 1

    @classmethod
    def default(cls) -> Limits:
        """Returns those of CARDIGAN_RECO["HEALTH"]; six times as overdue is critical."""
        healthy = conf.current().healthy
        overdue = healthy.overdue_seconds
        return cls(overdue, 6 * overdue, workers=healthy.workers)


@dataclass(frozen=True)
class Problem:
    """What needs a person, and what that person can do."""

    level: Level
    text: str


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
            "problems": [
                {"level": problem.level.name.lower(), "text": problem.text}
                for problem in self.problems
            ],
            "collections": [_as_dict(one) for one in self.collections],
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
    """Returns how the database `using` is, without loading a network."""
    limits = limits or Limits.default()
    backlogs = backlog.of_all(using=using)
    collections = [
        _collection(embedding, backlogs.get(embedding._meta.label_lower, Backlog()), using)
        for embedding in collection.models()
    ]
    workers = heartbeats.seen(using=using)
    seen = (
        broker.look(conf.current().healthy.timeout_seconds)
        if doorbell.celery_is_installed()
        else None
    )
    problems = [
        *_problems_of_workers(workers, seen, limits),
        *(problem for one in collections for problem in _problems(one, using, limits)),
    ]
    problems.sort(key=lambda problem: -problem.level)
    return Status(using, timezone.now(), collections, workers, seen, problems)


def _collection(embedding: type[Embedding], found: Backlog, using: str) -> CollectionStatus:
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


def _problems(one: CollectionStatus, using: str, limits: Limits) -> Iterator[Problem]:
    name = one.collection
    waits = one.backlog
    if one.index.state is IndexState.NO_TABLE:
        yield Problem(
            Level.CRITICAL, f"{name} has no table. Run manage.py migrate --database {using}."
        )
        return
    if waits.overdue_seconds >= limits.overdue_warning_seconds:
        is_critical = waits.overdue_seconds >= limits.overdue_critical_seconds
        yield Problem(
            Level.CRITICAL if is_critical else Level.WARNING,
            f"{name}: a picture is overdue by {waits.overdue_seconds:.0f} s, {waits.waiting} wait. "
            "See whether workers are there and what they log; or start more of them.",
        )
    if waits.dead >= limits.dead:
        yield Problem(
            Level.WARNING,
            f"{name}: {waits.dead} pictures were given up as dead. Read their errors in the admin, "
            "then run encode_images --retry.",
        )
    if waits.missing + waits.bad_image >= limits.unusable:
        yield Problem(
            Level.WARNING,
            f"{name}: {waits.missing} files are missing, {waits.bad_image} are no usable pictures. "
            "Look them through in the admin.",
        )
    if one.encoder.problem:
        yield Problem(Level.WARNING, f"{name}: {one.encoder.problem}")
    elif one.encoder.stale and not waits.waiting + waits.leased:
        yield Problem(
            Level.WARNING,
            f"{name}: {one.encoder.stale} vectors are of another state of the encoder, and nothing "
            f"of it waits. Run encode_images {name} --stale.",
        )
    yield from _problems_of_index(one)


def _problems_of_index(one: CollectionStatus) -> Iterator[Problem]:
    if one.index.building is not None or one.index.state is IndexState.VALID:
        return
    state = one.index.state.name.lower().replace("_", " ")
    hint = " ".join(one.index.hints)
    yield Problem(
        Level.WARNING, f"{one.collection}: its index is {state}, searches read all rows. {hint}"
    )


def _problems_of_workers(
    workers: Sequence[Worker], seen: Broker | None, limits: Limits
) -> Iterator[Problem]:
    there = [worker for worker in workers if worker.is_there]
    yield from _missing_workers(there, limits)
    for worker in there:
        if worker.release != __version__:
            yield Problem(
                Level.WARNING,
                f"Worker {worker.name} runs release {worker.release}, this is {__version__}. "
                "Restart it after the upgrade.",
            )
    if seen is not None and not seen.answers:
        yield Problem(
            Level.WARNING,
            f"The broker {seen.url} doesn't answer: {seen.error} Workers poll every "
            f"{conf.current().poll_seconds} s until it does.",
        )


def _missing_workers(there: Sequence[Worker], limits: Limits) -> Iterator[Problem]:
    settings = conf.current()
    encoding = [worker for worker in there if settings.celery_queue in worker.queues]
    if len(encoding) < limits.workers:
        yield Problem(
            Level.WARNING if encoding else Level.CRITICAL,
            f"{len(encoding)} of {limits.workers} workers are there. Start one: celery -A ... "
            f"worker -Q {settings.celery_queue}",
        )
    photos = settings.photo_search
    if photos.encode_in == "worker" and not any(photos.queue in one.queues for one in there):
        yield Problem(
            Level.CRITICAL,
            f"No worker searches by photo. Start one: celery -A ... worker -Q {photos.queue}",
        )


def _as_dict(one: CollectionStatus) -> dict[str, Any]:
    error = one.last_error
    return {
        "collection": one.collection,
        "encoder": {**asdict(one.encoder), "stale": one.encoder.stale},
        "backlog": {
            **asdict(one.backlog),
            "oldest_seconds": round(one.backlog.oldest_seconds, 1),
            "overdue_seconds": round(one.backlog.overdue_seconds, 1),
        },
        "per_second_1": round(one.per_second_1, 3),
        "per_second_5": round(one.per_second_5, 3),
        "last_error": error and {**asdict(error), "at": _text(error.at)},
        "index": one.index.as_dict(),
    }


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
