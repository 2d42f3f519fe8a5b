"""Encoding: turns claimed sources into stored vectors, in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import numpy as np
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.db.models.fields.files import FieldFile
from django.utils import timezone
from numpy.typing import NDArray
from PIL.Image import Image

from . import conf, images, queue
from .encoders import encoders
from .encoders.base import Encoder
from .exceptions import CardiganError, ImageError, InvalidVectors
from .models import Embedding, EncoderVersion
from .queue import Claim, Failure


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

    @property
    def total(self) -> int:
        done = self.encoded + self.skipped + self.removed
        return done + self.retried + self.outdated + self.failed.total()

    def __add__(self, other: Summary) -> Summary:
        return Summary(
            self.encoded + other.encoded,
            self.skipped + other.skipped,
            self.removed + other.removed,
            self.retried + other.retried,
            self.outdated + other.outdated,
            self.failed + other.failed,
        )


@dataclass(frozen=True)
class Picture:
    """A decoded picture and the digest of its bytes."""

    image: Image
    digest: str


@dataclass(frozen=True)
class Refusal:
    """Why a picture can't be encoded, for good or after MAX_ATTEMPTS."""

    failure: Failure
    reason: str


@dataclass(frozen=True)
class Trouble:
    """Why a picture couldn't be read, through no fault of its own."""

    reason: str


KEY = ["source"]
WRITTEN = ["vector", "digest", "encoder_version", "encoded_at"]


class Verdict(Enum):
    UNCHANGED = auto()
    NO_PICTURE = auto()


Preparation = Picture | Refusal | Trouble | Verdict


def drain(
    embedding: type[Embedding],
    *,
    using: str,
    batch_size: int | None = None,
    limit: int | None = None,
) -> Iterator[Summary]:
    """Encodes what waits in the queue, and yields a summary after each batch.

    Ends when nothing can be claimed, or after `limit` sources. Safe to run in any number of
    processes at once.
    """
    batch_size = batch_size or conf.current().batch_size
    remaining = limit
    while remaining is None or remaining > 0:
        size = batch_size if remaining is None else min(batch_size, remaining)
        claims = queue.claim(embedding, limit=size, using=using)
        if not claims:
            return
        summary = _encode(embedding, claims, using)
        if remaining is not None:
            remaining -= len(claims)
        yield summary


def _encode(embedding: type[Embedding], claims: Sequence[Claim], using: str) -> Summary:
    try:
        encoder = encoders[embedding.encoder]
        version = EncoderVersion.objects.using(using).current(embedding.encoder)
        prepared = _prepare(embedding, claims, version, encoder.min_side, using)
        vectors = _vectors(encoder, prepared)
    except (CardiganError, ImproperlyConfigured, KeyboardInterrupt, SystemExit):
        # An encoder that can't be built, or an orderly end: no picture is to blame.
        queue.release(claims, using=using)
        raise
    except Exception as error:
        # One picture may be to blame, so each is tried alone, and none waits for the lease to end.
        queue.abandon(claims, f"{type(error).__name__}: {error}", using=using)
        raise
    return _write(embedding, claims, prepared, vectors, version, using)


def _prepare(
    embedding: type[Embedding],
    claims: Sequence[Claim],
    version: EncoderVersion,
    min_side: int | None,
    using: str,
) -> dict[Claim, Preparation]:
    """Reads and decodes the pictures in threads. A source that is gone has no entry."""
    by_pk = queue.source_pks(embedding, claims)
    sources = embedding.source_model()._base_manager.using(using).in_bulk(list(by_pk))
    known = dict(
        embedding._base_manager.using(using)
        .filter(pk__in=list(by_pk), encoder_version=version)
        .values_list("pk", "digest")
    )

    def prepare(pk: Any) -> Preparation:
        return _open(getattr(sources[pk], embedding.image_field), known.get(pk), min_side)

    with ThreadPoolExecutor(conf.current().decode_threads, "cardigan-decode") as threads:
        return {
            by_pk[pk]: done for pk, done in zip(sources, threads.map(prepare, sources), strict=True)
        }


def _open(file: FieldFile, known_digest: str | None, min_side: int | None) -> Preparation:
    if not file:
        return Verdict.NO_PICTURE
    try:
        with file.open() as opened:
            data = images.read(opened)
        digest = images.digest(data)
        if digest == known_digest:
            return Verdict.UNCHANGED
        return Picture(images.load(data, min_side=min_side), digest)
    except ImageError as error:
        return Refusal(Failure.BAD_IMAGE, str(error))
    except FileNotFoundError:
        return Refusal(Failure.MISSING, f"The storage has no file {file.name!r}.")
    except Exception as error:  # Storages raise whatever their client libraries raise.
        return Trouble(f"{file.name!r} can't be read: {type(error).__name__}: {error}")


def _vectors(
    encoder: Encoder, prepared: dict[Claim, Preparation]
) -> dict[Claim, NDArray[np.float32]]:
    """Encodes the pictures; one that yields no usable vector becomes a refusal in `prepared`."""
    pictures = {claim: done for claim, done in prepared.items() if isinstance(done, Picture)}
    while True:
        claims = list(pictures)
        try:
            vectors = encoder.encode([pictures[claim].image for claim in claims])
        except InvalidVectors as error:
            for row in error.rows:
                prepared[claims[row]] = Refusal(Failure.DEAD, str(error))
                del pictures[claims[row]]
        else:
            return dict(zip(claims, vectors, strict=True))


def _write(
    embedding: type[Embedding],
    claims: Sequence[Claim],
    prepared: Mapping[Claim, Preparation],
    vectors: Mapping[Claim, NDArray[np.float32]],
    version: EncoderVersion,
    using: str,
) -> Summary:
    """Stores the results of the claims that still hold, in one short transaction."""
    keys = {claim: pk for pk, claim in queue.source_pks(embedding, claims).items()}
    max_attempts = conf.current().max_attempts
    now = timezone.now()
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
            match prepared.get(claim):
                case Picture() if keys[claim] not in present:
                    # Deleted, or locked by the shop: the next look tells.
                    summary.retried += 1
                    queue.postpone(claim, "", charged=False, using=using)
                    continue
                case Picture(digest=digest):
                    summary.encoded += 1
                    values = {"pk": keys[claim], "vector": vectors[claim], "digest": digest}
                    rows.append(embedding(**values, encoder_version=version, encoded_at=now))
                case Verdict.UNCHANGED:
                    summary.skipped += 1
                case Verdict.NO_PICTURE:
                    summary.removed += 1
                    without_vector.append(keys[claim])
                case Trouble(reason):
                    summary.retried += 1
                    queue.postpone(claim, reason, charged=False, using=using)
                    continue
                case Refusal(Failure.MISSING, reason) if claim.attempts < max_attempts:
                    summary.retried += 1
                    queue.postpone(claim, reason, charged=True, using=using)
                    continue
                case Refusal(failure, reason):
                    summary.failed[failure] += 1
                    without_vector.append(keys[claim])
                    queue.fail(claim, failure, reason, using=using)
                    continue
                case None:  # The source was deleted.
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
