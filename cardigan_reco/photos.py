"""A shopper's photo becomes a vector: in this process, or in a Celery worker that has torch.

At most CARDIGAN_RECO["SEARCH"]["CONCURRENT"] photos are held at a time. None is stored or logged.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from threading import BoundedSemaphore, Event, Thread
from typing import TYPE_CHECKING
from uuid import uuid4

from . import conf, heartbeats, images, metrics, request_ids
from .encoders import encoders, failures
from .exceptions import Busy, DeviceLost, MissingExtra
from .images import Crop, Readable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

TASK = "cardigan_reco.encode_photo"
_LOOKS_EVERY_SECONDS = 0.01

SENT_SIDE = 512
"""Pixels that the short side of a photo for a worker is worth, where only torch could tell; a
square twice as wide, or twice as wide as an encoder wants, holds as many as are sent.
"""

_lost_device = Event()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photo:
    """What is known of a photo once it is encoded."""

    vector: NDArray[np.float32]
    """(dimensions,), of length 1."""
    fingerprint: str
    """Of the encoder that made it."""


def encode(picture: bytes | Readable, *, encoder: str, crop: Crop | None = None) -> Photo:
    """Returns the photo's vector; `encoder` is an alias, `crop` as in `images.load()`.

    Raises ImageError for a picture that can't be used, Busy when none of the places is free in
    time or no worker answers, EncoderError when the encoder can't run, ValueError for a bad crop.
    """
    setting = conf.current().photo_search
    with metrics.photo(setting.encode_in), _place(setting):
        data = picture if isinstance(picture, bytes) else images.read(picture)
        image = images.load(
            data, min_side=_min_side(encoder, setting), crop=crop, spare_memory=True
        )
        if setting.encode_in == "worker":
            return _ask_worker(encoder, image, setting)
        return _encode_here(encoder, image)


def warm_up(encoder: str) -> None:
    """Loads what the first photo would load, here or in a worker; raises as `encode()` does."""
    from PIL import Image

    blank = BytesIO()
    Image.new("RGB", (64, 64), "white").save(blank, "PNG")
    encode(blank.getvalue(), encoder=encoder)


def has_lost_device() -> bool:
    """Whether an encoder of photos has lost its accelerator here: only a new process can use it."""
    return _lost_device.is_set()


def answer(encoder: str, picture: str) -> dict[str, str]:
    """Encodes what `encode()` sent to a worker; both ways it is text, as JSON wants it."""
    from . import decoding  # It imports Pillow and numpy, for which web pages needn't wait.

    # These bytes are our own, and may be more than those that were uploaded.
    data = base64.b64decode(picture)
    pixels = conf.current().max_image_pixels
    image = decoding.decode(data, max_pixels=pixels, min_side=encoders[encoder].min_side)
    photo = _encode_here(encoder, image)
    vector = base64.b64encode(photo.vector.astype("<f4").tobytes()).decode()
    return {"vector": vector, "fingerprint": photo.fingerprint}


def _min_side(encoder: str, setting: conf.PhotoSearch) -> int | None:
    running = encoders[encoder]
    if setting.encode_in == "worker" and not running.describes_itself:
        return SENT_SIDE  # To ask the encoder would import torch.
    return running.min_side


def _encode_here(encoder: str, image: Image.Image) -> Photo:
    running = encoders[encoder]
    try:
        vector = running.encode([image])[0]
    except Exception as error:
        if failures.is_device_lost(error):
            _lost_device.set()
            raise DeviceLost(f"Encoder {encoder!r} has lost its device: {error}") from error
        raise
    return Photo(vector, running.fingerprint)


def _ask_worker(encoder: str, image: Image.Image, setting: conf.PhotoSearch) -> Photo:
    """Returns a worker's answer; a broker that hangs holds a thread, never the caller."""
    if not heartbeats.serve(setting.queue):
        # Redis would keep the photo until a worker comes and finds that it has expired.
        raise Busy(f"No worker of the queue {setting.queue!r} is there.")
    lines = _places("asking", setting.concurrent)
    if not lines.acquire(blocking=False):
        raise Busy("Earlier photos still wait for the workers' broker.")
    answered: Future[Photo] = Future()

    def ask() -> None:
        try:
            answered.set_result(_exchange(encoder, image, setting))
        except BaseException as error:
            answered.set_exception(error)
        finally:
            lines.release()

    carry = copy_context()
    Thread(target=carry.run, args=[ask], name="cardigan-photo", daemon=True).start()
    try:
        return answered.result(setting.deadline_seconds)
    except TimeoutError as error:
        raise Busy(
            f"No worker of the queue {setting.queue!r} answered in {setting.deadline_seconds} s."
        ) from error


def _exchange(encoder: str, image: Image.Image, setting: conf.PhotoSearch) -> Photo:
    try:
        from celery import current_app as app
        from celery.exceptions import TaskRevokedError
        from celery.result import AsyncResult
        from celery.states import READY_STATES
    except ModuleNotFoundError as error:
        raise MissingExtra("Encoding photos in workers", "celery") from error
    import numpy as np

    deadline = time.monotonic() + setting.deadline_seconds
    task_id = str(uuid4())
    # Only what is decoded, and so known to be harmless, travels.
    lossless = BytesIO()
    _sendable(encoder, image).save(lossless, "PNG", compress_level=1)
    message = app.amqp.create_task_message(
        task_id,
        TASK,
        [encoder, base64.b64encode(lossless.getvalue()).decode()],
        {},
        expires=setting.deadline_seconds,
        argsrepr=repr((encoder, "...")),  # Monitors of the workers see this.
    )
    message.headers[request_ids.TASK_HEADER] = request_ids.current()
    result = AsyncResult(task_id, app=app)
    if time.monotonic() >= deadline:
        raise TimeoutError  # Nobody waits any more.
    try:
        with app.connection_for_write() as connection:
            producer = app.amqp.Producer(connection, auto_declare=False)
            app.amqp.send_task_message(
                producer,
                TASK,
                message,
                queue=setting.queue,
                retry=False,
                # Redis keeps to neither of these, RabbitMQ to both.
                expiration=setting.deadline_seconds,
                delivery_mode="transient",
            )
        # Not result.get(): its listener tries for 20 s to find a Redis that went away, whatever the
        # timeout, and then says that Celery must be restarted (celery #5921).
        while not result.ready() and time.monotonic() < deadline:
            time.sleep(_LOOKS_EVERY_SECONDS)
        state, value = result.state, result.result
        result.forget()
    except Exception as error:  # Brokers and backends raise what their client libraries raise.
        logger.error(
            "Photos can't reach the workers: %s: %s",
            type(error).__name__,
            error,
            extra={"encoder": encoder, "queue": setting.queue},
        )
        raise Busy("The workers can't be reached.") from error
    if isinstance(value, TaskRevokedError) or state not in READY_STATES:
        raise TimeoutError
    if isinstance(value, Exception):
        raise value
    vector = np.frombuffer(base64.b64decode(value["vector"]), "<f4")
    return Photo(vector, value["fingerprint"])


def _sendable(encoder: str, image: Image.Image) -> Image.Image:
    """Returns what the vector needs of a picture; a long one may have a hundred times as much."""
    running = encoders[encoder]
    side = SENT_SIDE
    if running.describes_itself:  # Others may import torch for either.
        image = running.fit(image)
        side = max(side, running.min_side or 0)
    shrink = 2 * side / (image.width * image.height) ** 0.5
    if shrink < 1:
        image.thumbnail((image.width * shrink, image.height * shrink))
    return image


@contextmanager
def _place(setting: conf.PhotoSearch) -> Iterator[None]:
    places = _places("encoding", setting.concurrent)
    if not places.acquire(timeout=setting.wait_seconds):
        raise Busy(f"{setting.concurrent} photos are being encoded. Try again soon.")
    try:
        yield
    finally:
        places.release()


@cache
def _places(purpose: str, count: int) -> BoundedSemaphore:
    return BoundedSemaphore(count)
