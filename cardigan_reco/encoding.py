"""Encoding: turns claimed sources into stored vectors, in this process."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from numpy.typing import NDArray

from . import conf, preparation, queue, stopping, tallies
from .encoders import encoders, failures
from .encoders.base import Encoder
from .exceptions import CardiganError, DeviceLost, InvalidVectors
from .models import Embedding, EncoderVersion
from .preparation import Picture, Preparation, Refusal, Skipped, Trouble
from .quarantine import Quarantine
from .queue import Claim, Failure

logger = logging.getLogger(__name__)


@dataclass
class Summary:
    """What became of the sources that were taken from the queue."""

    encoded: int = 0
    skipped: int = 0
    """Same picture, same encoder: nothing to do."""
    removed: int = 0
    """No picture any more, so the vector went as well."""
    retried: int = 0
    """Put back to be tried again later."""
    outdated: int = 0
    """Changed or deleted meanwhile; the newer request counts."""
    failed: Counter[str] = field(default_factory=Counter)
    """By state: missing, bad_image, dead."""
    sources: list[Any] = field(default_factory=list)
    """Primary keys of what was encoded."""
    seconds: float = 0.0

    @property
    def total(self) -> int:
        done = self.encoded + self.skipped + self.removed
        return done + self.retried + self.outdated + self.failed.total()

    @property
    def results(self) -> dict[str, int]:
        """How many there are of each result that occurred."""
        counts = {
            "encoded": self.encoded,
            "skipped": self.skipped,
            "removed": self.removed,
            "retried": self.retried,
            "outdated": self.outdated,
            **self.failed,
        }
        return {result: count for result, count in counts.items() if count}

    def __add__(self, other: Summary) -> Summary:
        return Summary(
            self.encoded + other.encoded,
            self.skipped + other.skipped,
            self.removed + other.removed,
            self.retried + other.retried,
            self.outdated + other.outdated,
            self.failed + other.failed,
            self.sources + other.sources,
            self.seconds + other.seconds,
        )


KEY = ["source"]
WRITTEN = ["vector", "digest", "encoder_version", "encoded_at"]


_at_once: dict[str, int] = {}
"""Encoder's alias -> pictures that fit into its memory, where it has run out of it."""
_unreturned: list[tuple[str, Sequence[Claim]]] = []
"""Claims, with their database, that couldn't be given back since it was away."""


def drain(
    embedding: type[Embedding],
    *,
    using: str,
    batch_size: int | None = None,
    limit: int | None = None,
    ends_at: float = float("inf"),
) -> Iterator[Summary]:
    """Encodes what waits in the queue, and yields a summary after each batch.

    Ends when nothing can be claimed, after `limit` sources, after the batch in hand at `ends_at`
    (of `time.monotonic()`), or when this process is asked to stop. Safe to run in any number of
    processes at once.
    """
    batch_size = batch_size or conf.current().batch_size
    remaining = limit
    _return_what_is_left(using)
    with Quarantine() as quarantine:
        while (remaining is None or remaining > 0) and not stopping.is_asked():
            size = batch_size if remaining is None else min(batch_size, remaining)
            started = time.monotonic()
            claims = queue.claim(embedding, limit=size, using=using)
            if not claims:
                return
            summary = _encode(embedding, claims, quarantine, using)
            summary.seconds = time.monotonic() - started
            tallies.add(embedding._meta.label_lower, summary.results, summary.seconds, using=using)
            if remaining is not None:
                remaining -= len(claims)
            yield summary
            if time.monotonic() >= ends_at:
                return


def _encode(
    embedding: type[Embedding], claims: Sequence[Claim], quarantine: Quarantine, using: str
) -> Summary:
    try:
        encoder = encoders[embedding.encoder]
        version = EncoderVersion.objects.using(using).current(embedding.encoder)
        prepared = preparation.prepare(
            embedding, claims, version, encoder.min_side, quarantine, using
        )
        summary = _give_back(prepared, using)
        vectors = _vectors(encoder, embedding.encoder, prepared)
        return summary + _write(embedding, prepared, vectors, version, using)
    except (CardiganError, ImproperlyConfigured, KeyboardInterrupt, SystemExit):
        # An encoder that can't be built, or an orderly end: no picture is to blame.
        queue.release(claims, using=using)
        raise
    except (OperationalError, InterfaceError):  # Restarting, full, or gone.
        _unreturned.append((using, claims))
        if not connections[using].in_atomic_block:
            connections[using].close()
            with suppress(DatabaseError, InterfaceError):
                _return_what_is_left(using)
        raise
    except Exception as error:
        # One picture may be to blame, so each is tried alone, and none waits for the lease to end.
        queue.abandon(claims, f"{type(error).__name__}: {error}", using=using)
        raise


def _return_what_is_left(using: str) -> None:
    """Releases the claims of batches that a database broke off, without charging an attempt."""
    for entry in [entry for entry in _unreturned if entry[0] == using]:
        queue.release(entry[1], using=using)
        with suppress(ValueError):  # Another thread has returned it as well.
            _unreturned.remove(entry)


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


def _write(
    embedding: type[Embedding],
    prepared: Mapping[Claim, Preparation],
    vectors: Mapping[Claim, NDArray[np.float32]],
    version: EncoderVersion,
    using: str,
) -> Summary:
    """Stores the results of the claims that still hold, in one short transaction."""
    claims = list(prepared)
    keys = {claim: pk for pk, claim in queue.source_pks(embedding, claims).items()}
    max_attempts = conf.current().max_attempts
    summary = Summary()
    rows: list[Embedding] = []
    without_vector: list[Any] = []
    settled: list[int] = []
    with transaction.atomic(using=using):
        held = queue.lock(claims, using=using)
        present = _lock_sources(embedding, [keys[c] for c in claims if c.id in held], using)
        for claim in claims:
            if claim.id not in held:
                summary.outdated += 1
                continue
            match prepared[claim]:
                case Picture() if keys[claim] not in present:
                    # Deleted, or locked by the shop: the next look tells.
                    summary.retried += 1
                    queue.yield_to_shop(claim, using=using)
                    continue
                case Picture(digest=digest):
                    summary.encoded += 1
                    summary.sources.append(keys[claim])
                    values = {"pk": keys[claim], "vector": vectors[claim], "digest": digest}
                    rows.append(embedding(**values, encoder_version=version))
                case Skipped.UNCHANGED:
                    summary.skipped += 1
                case Skipped.NO_PICTURE:
                    summary.removed += 1
                    without_vector.append(keys[claim])
                case Trouble(reason):
                    summary.retried += 1
                    queue.postpone(claim, reason, charged=False, using=using)
                    continue
                case Refusal(_, reason, may_pass=True) if claim.attempts < max_attempts:
                    summary.retried += 1
                    queue.postpone(claim, reason, charged=True, using=using)
                    continue
                case Refusal(failure, reason):
                    summary.failed[failure] += 1
                    without_vector.append(keys[claim])
                    queue.fail(claim, failure, reason, using=using)
                    _log_failure(embedding, claim, failure, reason, using)
                    continue
                case Skipped.GONE:
                    summary.outdated += 1
            settled.append(claim.id)
        embedding._base_manager.using(using).bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=KEY,
            update_fields=WRITTEN,
        )
        embedding._base_manager.using(using).filter(pk__in=without_vector).delete()
        queue.settle(settled, using=using)
    return summary


def _log_failure(
    embedding: type[Embedding], claim: Claim, failure: Failure, reason: str, using: str
) -> None:
    logger.warning(
        "%s %s is given up as %s: %s",
        embedding._meta.label_lower,
        claim.source_pk,
        failure,
        reason,
        extra={
            "collection": embedding._meta.label_lower,
            "database": using,
            "source_pk": claim.source_pk,
            "state": str(failure),
            "attempts": claim.attempts,
        },
    )


def _lock_sources(embedding: type[Embedding], pks: Sequence[Any], using: str) -> set[Any]:
    """Keeps sources from being deleted until the transaction ends; returns those that are there.

    FOR KEY SHARE lets the shop's saves pass, and SKIP LOCKED never waits for its deletions.
    """
    if not pks:
        return set()
    source = embedding.source_model()
    rows = source._base_manager.using(using).filter(pk__in=pks).values_list("pk")
    sql, parameters = rows.query.sql_with_params()
    with connections[using].cursor() as cursor:
        cursor.execute(f"{sql} FOR KEY SHARE SKIP LOCKED", parameters)
        key = source._meta.pk
        return {key.to_python(row[0]) for row in cursor.fetchall()}
