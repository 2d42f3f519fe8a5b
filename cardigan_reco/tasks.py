"""The Celery task that encodes what waits, and the polling of the workers."""

from __future__ import annotations

from typing import Any

from django.db import router

from . import collection, conf, doorbell, encoding
from .encoders import encoders
from .exceptions import EncoderError, MissingExtra

try:
    from celery import shared_task
    from celery.signals import worker_init, worker_ready
except ImportError as error:
    raise MissingExtra("Encoding in Celery workers", "celery") from error


@shared_task(name="cardigan_reco.encode_pending", ignore_result=True)
def encode_pending(using: str = "default") -> int:
    """Encodes everything that waits in the database `using`; returns how many sources it took.

    While there is more than one batch, each task wakes one more, until all workers are busy.
    """
    taken = 0
    for embedding in collection.models():
        for summary in encoding.drain(embedding, using=using):
            if not taken and summary.total >= conf.current().batch_size:
                send_wake_up(using)
            taken += summary.total
    return taken


def send_wake_up(using: str) -> None:
    """Sends one message to the workers. It expires: a worker that was away polls anyway."""
    encode_pending.apply_async(
        args=[using], queue=conf.current().celery_queue, expires=60, retry=False
    )


@worker_init.connect
def _refuse_forks_of_cuda(sender: Any, **kwargs: object) -> None:
    if "prefork" not in sender.pool_cls.__module__ or not _encodes(sender.app):
        return
    aliases = {embedding.encoder for embedding in collection.models()}
    if on_cuda := sorted(alias for alias in aliases if encoders[alias].uses_cuda):
        raise EncoderError(
            f"Encoder {on_cuda[0]!r} runs on CUDA, which does not survive the forks of Celery's "
            "prefork pool. Start the worker with --pool=solo, one for each GPU."
        )


@worker_ready.connect
def _poll(sender: Any, **kwargs: object) -> None:
    if _encodes(sender.app):
        databases = {router.db_for_write(embedding) for embedding in collection.models()}
        for using in databases:
            doorbell.ring(using)
            sender.timer.call_repeatedly(conf.current().poll_seconds, doorbell.ring, (using,))


def _encodes(app: Any) -> bool:
    return conf.current().celery_queue in app.amqp.queues.consume_from
