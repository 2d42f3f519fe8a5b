"""The Celery tasks: what waits is encoded, what is searched by too, doubles are found, and what no
hook has seen is looked for; and the workers' polling.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import InterfaceError, OperationalError

from . import (
    collection,
    conf,
    doorbell,
    duplicates,
    encoding,
    heartbeats,
    photos,
    request_ids,
    stopping,
    sweep,
)
from .crew import EverythingHangs
from .duplicates import listings
from .encoders import encoders
from .exceptions import CardiganError, DeviceLost, MissingExtra
from .models import Embedding
from .summary import Summary

try:
    from celery import concurrency, current_task, shared_task
    from celery.signals import worker_init, worker_ready, worker_shutdown, worker_shutting_down
except ImportError as error:
    raise MissingExtra("Encoding in Celery workers", "celery") from error

EXPIRES_SECONDS = 60
"""After which a wake-up that nobody took is worth nothing: the workers have polled."""
UNUSABLE = (OperationalError, InterfaceError)
"""What a database raises that is away, restarting or full: no traceback says more of it."""
EX_SOFTWARE = 70
"""The exit code of a worker that can't go on; sysexits.h names it."""

_worker_limits: list[float | None] = []
"""This worker's time limits, in seconds; the processes of its pool are forked with them."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def _carried(run: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Puts into a task's log the id of the request that waits for it, or else its own."""

    @wraps(run)
    def carried(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        message = current_task.request
        request_id = message.get(request_ids.TASK_HEADER) or message.id or ""
        with request_ids.carrying(request_id):
            return run(*args, **kwargs)

    return carried


@shared_task(name="cardigan_reco.encode_pending", ignore_result=True, throws=UNUSABLE)
@_carried
def encode_pending(using: str = "default") -> int:
    """Encodes everything that waits in the database `using`; returns how many sources it took.

    While there is more than one batch, each task wakes one more, until all workers are busy. What
    takes longer than a lease, or than half of Celery's time limit, is left to the next task. A
    collection that fails doesn't keep the others waiting: its error is raised at the end. With
    nothing to do, the networks are loaded, so that the first picture needn't wait for them.
    """
    taken = 0
    failure: Exception | None = None
    embeddings = collection.models()
    for embedding in embeddings:
        try:
            taken += _drain(embedding, using, _patience_seconds() / len(embeddings))
            encoders[embedding.encoder].warm_up()
        except Exception as error:
            failure = failure or error
            if isinstance(error, (DeviceLost, EverythingHangs)):
                _end_worker(error)
    if isinstance(failure, UNUSABLE):
        logger.error(
            "Database %r can't be used, so its pictures wait. It is asked again every %g s: %s",
            using,
            conf.current().poll_seconds,
            str(failure).partition("\n")[0],
            extra={"database": using},
        )
    if failure is not None:
        raise failure
    return taken


@shared_task(name=photos.TASK, ignore_result=False)
@_carried
def encode_photo(encoder: str, picture: str) -> dict[str, str]:
    """Encodes a shopper's photo, for a process that waits for it; see `photos.answer()`."""
    started = time.monotonic()
    try:
        answer = photos.answer(encoder, picture)
        seconds = time.monotonic() - started
        extra = {"encoder": encoder, "seconds": round(seconds, 3)}
        logger.info("A photo was encoded in %.3f s", seconds, extra=extra)
        return answer
    except DeviceLost as error:
        _end_worker(error)
        raise


@shared_task(name="cardigan_reco.find_duplicates", ignore_result=True)
@_carried
def find_duplicates(
    full: bool = False,
    within: list[str] | None = None,
    min_probability: float | None = None,
    using: str = "default",
) -> dict[str, int]:
    """Finds listings that were entered twice, as `duplicates.find()` does; `within` are primary
    keys of items. Returns how many pictures it compared, and how many pairs it found.

    It may take long: a queue of its own keeps it out of the way of the encoding.
    """
    shop = listings.current()
    chosen = None
    if within is not None and shop is not None:
        chosen = shop.embedding.item_model()._base_manager.using(using).filter(pk__in=within)
    *_, progress = duplicates.find(
        full=full, within=chosen, min_probability=min_probability, using=using
    )
    return {"compared": progress.compared, "found": progress.found, "gone": progress.gone}


@shared_task(name="cardigan_reco.sweep", ignore_result=True)
@_carried
def sweep_up(
    using: str = "default", labels: list[str] | None = None, after: str | None = None
) -> dict[str, int]:
    """Looks for what the queue should know of, as `sweep.run()` does; for Celery's beat.

    What takes longer than an encoding task may is left to another message, with the labels of the
    collections that are left and the key to go on after. Returns what was found, by its kind.
    """
    found: Counter[str] = Counter()
    failure: Exception | None = None
    ends_at = time.monotonic() + _patience_seconds()
    left = labels or [embedding._meta.label for embedding in collection.models_in(using)]
    while left:
        try:
            for step in _steps(left[0], using, after):
                found.update(step.found)
                if step.marked:
                    doorbell.ring(using)
                if step.last is not None and (time.monotonic() >= ends_at or stopping.is_asked()):
                    _sweep_on(using, left, str(step.last))
                    return dict(found)
        except (CardiganError, ImproperlyConfigured) as error:
            failure = failure or error
        left, after = left[1:], None
    if failure is not None:
        raise failure
    return dict(found)


def _steps(label: str, using: str, after: str | None) -> Iterator[sweep.Swept]:
    embedding = collection.labelled(label)
    key = None if after is None else embedding.source_model()._meta.pk.to_python(after)
    return sweep.run(embedding, using=using, after=key)


def _sweep_on(using: str, labels: list[str], after: str) -> None:
    with sweep_up.app.connection_for_write() as connection:  # As send_wake_up() does.
        sweep_up.apply_async(
            args=[using, labels, after],
            queue=conf.current().celery_queue,
            retry=False,
            connection=connection,
        )


def _drain(embedding: type[Embedding], using: str, patience_seconds: float) -> int:
    taken = 0
    ends_at = time.monotonic() + patience_seconds
    for summary in encoding.drain(embedding, using=using, ends_at=ends_at):
        if not taken and summary.total >= conf.current().batch_size:
            doorbell.ring(using)
        taken += summary.total
        _log(embedding, summary, using)
        duplicates.check_encoded(embedding, summary.sources, using=using)
    if time.monotonic() >= ends_at:
        doorbell.ring(using)
    return taken


def _log(embedding: type[Embedding], summary: Summary, using: str) -> None:
    results = summary.results
    logger.info(
        "%s: %s in %.2f s",
        embedding._meta.label_lower,
        ", ".join(f"{count} {result}" for result, count in results.items()),
        summary.seconds,
        extra={
            "collection": embedding._meta.label_lower,
            "database": using,
            "seconds": round(summary.seconds, 3),
            **results,
        },
    )


def _patience_seconds() -> float:
    """Returns how long one task goes on: a worker has other queues, and ends between tasks."""
    limits = list(_worker_limits)
    if current_task:
        limits += [current_task.time_limit, current_task.soft_time_limit]
        limits += current_task.request.timelimit or []
    return min([conf.current().lease_seconds, *(limit / 2 for limit in limits if limit)])


def _end_worker(error: Exception) -> None:
    """Ends this process, which can't go on, so that its supervisor or its pool starts another."""
    from billiard import current_process
    from celery.worker import state  # Only here, since the web imports this module to ring.

    logger.critical(
        "The worker ends, since it can't go on: %s", error, extra={"error": type(error).__name__}
    )
    if current_process().name == "MainProcess":
        state.should_stop = EX_SOFTWARE  # After this task.
    else:
        os._exit(EX_SOFTWARE)


def send_wake_up(using: str) -> None:
    """Sends one message to the workers. It expires: a worker that was away polls anyway."""
    # Celery's pooled connections are shared with the process that this one was forked from.
    with encode_pending.app.connection_for_write() as connection:
        encode_pending.apply_async(
            args=[using],
            queue=conf.current().celery_queue,
            expires=EXPIRES_SECONDS,
            retry=False,
            connection=connection,
        )


@worker_init.connect
def _refuse_forks_of_cuda(sender: Any, **kwargs: object) -> None:
    pool = concurrency.get_implementation(sender.pool_cls)
    if "prefork" not in pool.__module__ or not _encodes(sender.app):
        return
    aliases = {embedding.encoder for embedding in collection.models()}
    if on_cuda := sorted(alias for alias in aliases if encoders[alias].uses_cuda):
        # Celery logs any other exception of a receiver, and carries on.
        raise SystemExit(
            f"Encoder {on_cuda[0]!r} runs on CUDA, which does not survive the forks of Celery's "
            "prefork pool. Start the worker with --pool=solo, one for each GPU."
        )


@worker_init.connect
def _note_limits(sender: Any, **kwargs: object) -> None:
    # They may come from the command line, of which the settings know nothing.
    _worker_limits[:] = [sender.time_limit, sender.soft_time_limit]


@worker_shutting_down.connect
def _stop_between_batches(sender: Any, **kwargs: object) -> None:
    stopping.ask()


@worker_ready.connect
def _poll(sender: Any, **kwargs: object) -> None:
    if _encodes(sender.app):
        # Not Celery's timer: it may forget its entries when the broker was away.
        threading.Thread(
            target=_ring_forever, args=[collection.databases()], name="cardigan-poll", daemon=True
        ).start()


@worker_ready.connect
def _beat(sender: Any, **kwargs: object) -> None:
    ours = {conf.current().celery_queue, conf.current().photo_search.queue}
    if queues := ours & set(sender.app.amqp.queues.consume_from):
        heart = heartbeats.Heart(sender.hostname, queues, collection.databases())
        heart.start()
        worker_shutdown.connect(lambda **kwargs: heart.stop(), weak=False)


def _ring_forever(databases: Collection[str]) -> None:
    while True:
        for using in databases:
            doorbell.ring(using)
        time.sleep(conf.current().poll_seconds)


def _encodes(app: Any) -> bool:
    return conf.current().celery_queue in app.amqp.queues.consume_from
