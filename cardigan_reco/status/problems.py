"""What of a database needs a person, and what that person can do."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from cardigan_reco import __version__, conf
from cardigan_reco.broker import Broker
from cardigan_reco.database import IndexState
from cardigan_reco.heartbeats import Worker
from cardigan_reco.models import EncodingRequest

from .collections import CollectionStatus


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

    def as_dict(self) -> dict[str, str]:
        """Returns both in JSON's types."""
        return {"level": self.level.name.lower(), "text": self.text}


def found(
    collections: Sequence[CollectionStatus],
    workers: Sequence[Worker],
    broker: Broker | None,
    limits: Limits,
    using: str,
    strays: Collection[str] = (),
) -> list[Problem]:
    """Returns the problems of a database, the worst first.

    `broker`: None without Celery; `strays`: labels in the queue that no embedding model has.
    """
    problems = [
        *_of_workers(workers, broker, limits),
        *(problem for one in collections for problem in _of_collection(one, using, limits)),
        *(_of_stray(label) for label in strays),
    ]
    return sorted(problems, key=lambda problem: -problem.level)


def _of_collection(one: CollectionStatus, using: str, limits: Limits) -> Iterator[Problem]:
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
    elif waits.retrying and waits.oldest_seconds >= limits.overdue_critical_seconds:
        # None is overdue, so that the oldest is one of these: each try puts the next one off.
        yield Problem(
            Level.WARNING,
            f"{name}: {waits.retrying} pictures wait after a failure, the oldest for "
            f"{waits.oldest_seconds:.0f} s. Read their errors in the admin, and see to the "
            "storage; workers try again by themselves.",
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
    yield from _of_index(one)


def _of_index(one: CollectionStatus) -> Iterator[Problem]:
    if one.index.locking_build is not None:
        yield Problem(Level.WARNING, f"{one.collection}: {one.index.hints[0]}")
        return
    if one.index.building is not None or one.index.state is IndexState.VALID:
        return
    state = one.index.state.name.lower().replace("_", " ")
    # A hint that ends in a command has no full stop, so that one can copy its line.
    hints = " ".join(f"{hint.removesuffix('.')}." for hint in one.index.hints)
    yield Problem(
        Level.WARNING, f"{one.collection}: its index is {state}, searches read all rows. {hints}"
    )


def _of_stray(label: str) -> Problem:
    return Problem(
        Level.WARNING,
        f"The queue has requests of {label}, which is no embedding model. If it has another name "
        'now, see "Renaming models" in docs/operations.md; if it is gone, delete its '
        f"rows in {EncodingRequest._meta.db_table}.",
    )


def _of_workers(
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
            f"The broker {seen.url} doesn't answer: {seen.error.removesuffix('.')}. Nothing is "
            "lost, and nothing encoded until it does; encode_images needs no broker.",
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
