"""Encoding: turns claimed sources into stored vectors, in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from . import batches, conf, queue, stopping, tallies, writing
from .batches import Batch
from .encoders import failures
from .encoders.base import Encoder
from .exceptions import DeviceLost, InvalidVectors
from .models import Embedding
from .preparation import Picture, Preparation, Refusal, Skipped, Trouble
from .quarantine import Quarantine
from .queue import Claim, Failure
from .summary import Summary

_at_once: dict[str, int] = {}
"""Encoder's alias -> pictures that fit into its memory, where it has run out of it."""


def drain(
    embedding: type[Embedding],
    *,
    using: str,
    batch_size: int | None = None,
    limit: int | None = None,
    ends_at: float = float("inf"),
) -> Iterator[Summary]:
    """Encodes what waits in the queue, and yields a summary after each batch.

    The next batch is claimed once the encoder is done with one, so that threads decode while that
    one is written and its summary is looked at; whoever closes the generator gives it back.
    Ends when nothing can be claimed, after `limit` sources, after the batches in hand at `ends_at`
    (of `time.monotonic()`), or when this process is asked to stop. Safe to run in any number of
    processes at once.
    """
    batch_size = batch_size or conf.current().batch_size
    remaining = limit
    batches.return_what_is_left(using)
    with Quarantine() as quarantine:

        def take() -> Batch | None:
            nonlocal remaining
            size = batch_size if remaining is None else min(batch_size, remaining)
            _bury(embedding, using)
            taken = batches.take(embedding, size, quarantine, using) if size else None
            if taken and remaining is not None:
                remaining -= len(taken.claims)
            return taken

        following: Batch | None = None
        try:
            while not stopping.is_asked():
                started = time.monotonic()
                batch, following = following or take(), None
                if batch is None:
                    return
                with batch.held():
                    prepared = batch.pictures.results()
                    summary = _give_back(prepared, using)
                    vectors = _vectors(batch.encoder, embedding.encoder, prepared)
                if _may_be_followed(batch, batch_size) and time.monotonic() < ends_at:
                    with batch.held(is_to_blame=False):
                        following = take()
                with batch.held():
                    summary += writing.write(embedding, prepared, vectors, batch.version, using)
                summary.seconds = time.monotonic() - started
                label = embedding._meta.label_lower
                tallies.add(label, summary.results, summary.seconds, using=using)
                yield summary
                if following is None and time.monotonic() >= ends_at:
                    return
        finally:
            if following is not None:
                following.release()


def _bury(embedding: type[Embedding], using: str) -> None:
    """Gives up what no worker may try again, and counts it as a batch of its own."""
    started = time.monotonic()
    if results := writing.bury(embedding, using).results:
        label, seconds = embedding._meta.label_lower, time.monotonic() - started
        tallies.add(label, results, seconds, using=using)


def _may_be_followed(batch: Batch, full_size: int) -> bool:
    """Whether to claim more before the batch is written."""
    # After a batch that isn't full nothing waits. And a picture that was in hand when a worker was
    # lost would be charged for a loss that another picture causes.
    return (
        len(batch.claims) == full_size
        and all(claim.attempts == 1 for claim in batch.claims)
        and not stopping.is_asked()
    )


def _give_back(prepared: dict[Claim, Preparation], using: str) -> Summary:
    """Gives back, and takes out of `prepared`, what nothing more can be done about here."""
    suspects = [claim for claim, done in prepared.items() if done is Skipped.SUSPECT]
    untouched = [claim for claim, done in prepared.items() if done is Skipped.UNTOUCHED]
    if suspects:
        seconds = conf.current().decode_seconds
        queue.abandon(suspects, f"Decoding didn't end in {seconds:g} s.", using=using)
    if untouched:
        queue.release(untouched, using=using)
    for claim in (*suspects, *untouched):
        del prepared[claim]
    return Summary(retried=len(suspects) + len(untouched))


def _vectors(
    encoder: Encoder, alias: str, prepared: dict[Claim, Preparation]
) -> dict[Claim, NDArray[np.float32]]:
    """Encodes the pictures. One that yields no usable vector becomes a refusal in `prepared`, one
    that doesn't fit into memory by itself a trouble.

    Where the memory runs out, groups are halved; they grow again, one picture a group.
    """
    pictures = {claim: done for claim, done in prepared.items() if isinstance(done, Picture)}
    vectors: dict[Claim, NDArray[np.float32]] = {}
    while pictures:
        size = min(_at_once.get(alias, len(pictures)), len(pictures))
        group = list(pictures)[:size]
        try:
            encoded: NDArray[np.float32] | None = encoder.encode(
                [pictures[claim].image for claim in group]
            )
        except InvalidVectors as error:
            for row in error.rows:
                prepared[group[row]] = Refusal(Failure.DEAD, str(error))
                del pictures[group[row]]
            continue
        except Exception as error:
            if failures.is_device_lost(error):
                raise DeviceLost(f"Encoder {alias!r} has lost its device: {error}") from error
            if not failures.is_out_of_memory(error):
                raise
            if size == 1:
                prepared[group[0]] = Trouble(f"The encoder's memory is full: {error}")
                del pictures[group[0]]
            encoded = None
        if encoded is None:
            failures.free_memory()
            _at_once[alias] = max(1, size // 2)
            continue
        vectors.update(zip(group, encoded, strict=True))
        for claim in group:
            del pictures[claim]
        if size == _at_once.get(alias):
            _at_once[alias] += 1
    return vectors
