"""The Celery tasks, which encode what waits and what is searched by, and the workers' polling."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from typing import Any

from django.db import router

from . import collection, conf, doorbell, encoding, photos
from .encoders import encoders
from .exceptions import MissingExtra
from .models import Embedding

try:
    from celery import concurrency, shared_task
    from celery.signals import worker_init, worker_ready
except ImportError as error:
    raise MissingExtra("Encoding in Celery workers", "celery") from error


@shared_task(name="cardigan_reco.encode_pending", ignore_result=True)
def encode_pending(using: str = "default") -> int:
    """Encodes everything that waits in the database `using`; returns how many sources it took.

    While there is more than one batch, each task wakes one more, until all workers are busy. A
    collection that fails doesn't keep the others waiting: its error is raised at the end. With
    nothing to do, the networks are loaded, so that the first picture needn't wait for them.
    """
    taken = 0
    failure: Exception | None = None
    for embedding in collection.models():
        try:
            taken += _drain(embedding, using)
            encoders[embedding.encoder].warm_up()
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return taken


@shared_task(name=photos.TASK, ignore_result=False)
def encode_photo(encoder: str, picture: str) -> dict[str, str]:
    """Encodes a shopper's photo, for a process that waits for it; see `photos.answer()`."""
    return photos.answer(encoder, picture)


def _drain(embedding: type[Embedding], using: str) -> int:
    taken = 0
    for summary in encoding.drain(embedding, using=using):
        if not taken and summary.total >= conf.current().batch_size:
            doorbell.ring(using)
        taken += summary.total
    return taken


def send_wake_up(using: str) -> None:
    """Sends one message to the workers. It expires: a worker that was away polls anyway."""
    # Celery's pooled connections are shared with the process that this one was forked from.
    with encode_pending.app.connection_for_write() as connection:
        encode_pending.apply_async(
            args=[using],
            queue=conf.current().celery_queue,
            expires=60,
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


@worker_ready.connect
def _poll(sender: Any, **kwargs: object) -> None:
    if _encodes(sender.app):
        databases = {router.db_for_write(embedding) for embedding in collection.models()}
        # Not Celery's timer: it may forget its entries when the broker was away.
        threading.Thread(
            target=_ring_forever, args=[databases], name="cardigan-poll", daemon=True
        ).start()


def _ring_forever(databases: Collection[str]) -> None:
    while True:
        for using in databases:
            doorbell.ring(using)
        time.sleep(conf.current().poll_seconds)


def _encodes(app: Any) -> bool:
    return conf.current().celery_queue in app.amqp.queues.consume_from
