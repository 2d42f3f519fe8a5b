"""Preparation: reads and decodes the pictures of claimed sources, whatever they are like."""

from __future__ import annotations

import time
from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from PIL.Image import Image

from . import conf, crew, files, images, queue, stopping
from .crew import Hung, Job, Shift
from .encoders.base import Encoder
from .exceptions import ImageError
from .models import Embedding, EncoderVersion
from .quarantine import DecoderCrashed, DecoderKilled, Quarantine
from .queue import Claim, Failure


@dataclass(frozen=True)
class Picture:
    """A decoded picture and the digest of its bytes."""

    image: Image
    digest: str


@dataclass(frozen=True)
class Refusal:
    """Why a picture can't be encoded."""

    failure: Failure
    reason: str
    may_pass: bool = False
    """Whether it is tried again, up to MAX_ATTEMPTS."""


@dataclass(frozen=True)
class Trouble:
    """Why a picture couldn't be read, through no fault of its own."""

    reason: str


class Skipped(Enum):
    """Why there is nothing to encode of a source."""

    UNCHANGED = auto()
    NO_PICTURE = auto()
    GONE = auto()
    """The source was deleted."""
    SUSPECT = auto()
    """Its decoding doesn't end: it is tried alone, where it can be killed."""
    UNTOUCHED = auto()
    """The batch's time was over before its turn."""


Preparation = Picture | Refusal | Trouble | Skipped

READING, DECODING, QUARANTINED = "reading", "decoding", "quarantined"


@dataclass(frozen=True)
class Underway:
    """Pictures that threads read and decode, while their batch waits for its turn."""

    claims: dict[Any, Claim]
    """By the source's primary key."""
    shift: Shift[Any, Preparation]
    present: Container[Any]
    """Keys of the sources that are there."""
    ends_at: float
    """When half of the lease is over, by `time.monotonic()`."""

    def results(self) -> dict[Claim, Preparation]:
        """Waits for the threads; returns what came of each claim.

        What takes too long is left behind, and what had no turn in half a lease, or before this
        process is asked to stop, is untouched. So is all that is asked for later than that: the
        other half may be too short for the encoder. Raises EverythingHangs when too much was left
        behind.
        """
        if time.monotonic() >= self.ends_at:
            self.end()
            return dict.fromkeys(self.claims.values(), Skipped.UNTOUCHED)
        done = self.shift.results(stopping.is_asked)
        return {
            claim: _prepared(done.get(pk)) if pk in self.present else Skipped.GONE
            for pk, claim in self.claims.items()
        }

    def end(self) -> None:
        """Reads nothing more."""
        self.shift.end()


def begin(
    embedding: type[Embedding],
    claims: Sequence[Claim],
    version: EncoderVersion,
    encoder: Encoder,
    quarantine: Quarantine,
    using: str,
) -> Underway:
    """Lets threads read the pictures of the claims, decode them and fit them to the encoder."""
    by_pk = queue.source_pks(embedding, claims)
    names = files.names(embedding, by_pk, using=using)
    known = dict(
        embedding._base_manager.using(using)
        .filter(pk__in=list(by_pk), encoder_version=version)
        .values_list("pk", "digest")
    )
    # A process in which a decoder hangs already decodes nothing more by itself.
    is_tainted = crew.hanging(DECODING) > 0
    min_side = encoder.min_side

    def open_one(job: Job[Any]) -> Preparation:
        opener = _Opener(embedding, job, min_side, quarantine)
        opened = opener.open(
            names[job.key],
            known.get(job.key),
            alone=is_tainted or by_pk[job.key].attempts > 1,
        )
        if isinstance(opened, Picture):
            return Picture(encoder.fit(opened.image), opened.digest)
        return opened

    settings = conf.current()
    seconds = settings.preparation_seconds
    shift = crew.start(names, open_one, threads=settings.decode_threads, seconds=seconds)
    return Underway(by_pk, shift, names, time.monotonic() + seconds)


def _prepared(outcome: Preparation | Hung | None) -> Preparation:
    match outcome:
        case None:
            return Skipped.UNTOUCHED
        case Hung(stage, _) if stage == DECODING:
            return Skipped.SUSPECT
        case Hung(_, seconds):
            return Trouble(f"The storage didn't answer in {seconds:g} s.")
        case _:
            return outcome


@dataclass(frozen=True)
class _Opener:
    """Reads and decodes one picture, and says how far it is."""

    embedding: type[Embedding]
    job: Job[Any]
    min_side: int | None
    quarantine: Quarantine

    def open(self, name: str | None, known_digest: str | None, *, alone: bool) -> Preparation:
        if not name:
            return Skipped.NO_PICTURE
        settings = conf.current()
        try:
            self.job.begin(READING, min(settings.read_seconds, settings.preparation_seconds))
            with files.named(self.embedding, name).open() as opened:
                data = images.read(opened)
            digest = images.digest(data)
            if digest == known_digest:
                return Skipped.UNCHANGED
            return Picture(self._decode(data, alone), digest)
        except ImageError as error:
            return Refusal(Failure.BAD_IMAGE, str(error))
        except DecoderCrashed as error:
            return Refusal(Failure.DEAD, str(error))
        except DecoderKilled as error:
            return Refusal(Failure.DEAD, str(error), may_pass=True)
        except FileNotFoundError:
            reason = f"The storage has no file {name!r}."
            return Refusal(Failure.MISSING, reason, may_pass=True)
        except Exception as error:  # Storages raise whatever their client libraries raise.
            return Trouble(f"{name!r} can't be read: {type(error).__name__}: {error}")

    def _decode(self, data: bytes, alone: bool) -> Image:
        settings = conf.current()
        seconds = min(settings.decode_seconds, settings.preparation_seconds)
        if alone:
            self.job.begin(QUARANTINED, float("inf"))  # It ends by itself.
            return self.quarantine.load(data, min_side=self.min_side, seconds=seconds)
        self.job.begin(DECODING, seconds)
        return images.load(data, min_side=self.min_side)
