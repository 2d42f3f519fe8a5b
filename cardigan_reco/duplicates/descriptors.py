"""The copy descriptors of pictures, made from their files where they are missing."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from cardigan_reco import conf, copies, crew, files, images
from cardigan_reco.copies import Comparison, DamagedDescriptor, Descriptor
from cardigan_reco.crew import Hung, Job
from cardigan_reco.exceptions import ImageError
from cardigan_reco.models import CopyDescriptor, Embedding
from cardigan_reco.preparation import DECODING, READING

from . import pending
from .pending import Picture
from .pictures import Pictures

logger = logging.getLogger("cardigan_reco")


class Trouble(StrEnum):
    """Why a picture can't be compared now."""

    CHANGED = "changed"
    """Its file isn't the one that was encoded: it waits for its encoding."""
    MISSING = "missing"
    """Its file isn't there."""
    REFUSED = "refused"
    """Its file is not a usable picture."""
    UNREADABLE = "unreadable"
    """Its storage failed."""


def make(pictures: Pictures, compared: Sequence[Picture]) -> dict[Any, Trouble]:
    """Makes the descriptors that are missing; returns what is wrong with those sources whose can't
    be made.

    Files are read and decoded in CARDIGAN_RECO["DECODE_THREADS"] threads, one for each digest. What
    hangs is left behind. Raises EverythingHangs when too much has been.
    """
    by_digest: dict[str, list[Picture]] = defaultdict(list)
    for picture in compared:
        by_digest[picture.digest].append(picture)
    for digest in stored(by_digest, pictures.using):
        del by_digest[digest]
    if not by_digest:
        return {}
    embedding = pictures.shop.embedding
    wanted = [picture.source for group in by_digest.values() for picture in group]
    names = files.names(embedding, wanted, using=pictures.using)

    def describe(job: Job[str]) -> Descriptor | Trouble:
        carriers = [names.get(picture.source) for picture in by_digest[job.key]]
        return _first(embedding, carriers, job)

    done = crew.work_through(
        by_digest, describe, threads=conf.current().decode_threads, seconds=float("inf")
    )
    found = {
        digest: Trouble.UNREADABLE if isinstance(one, Hung) else one for digest, one in done.items()
    }
    # By their keys, so that two who store the same can't each have what the other waits for.
    made = [
        CopyDescriptor(digest=digest, bits=one.bits, mirrored_bits=one.mirrored_bits, data=one.data)
        for digest in sorted(found)
        if isinstance(one := found[digest], Descriptor)
    ]
    CopyDescriptor.objects.using(pictures.using).bulk_create(made, ignore_conflicts=True)
    return {
        picture.source: trouble
        for digest, trouble in found.items()
        if isinstance(trouble, Trouble)
        for picture in by_digest[digest]
    }


def stored(digests: Collection[str], using: str) -> set[str]:
    """Returns which of the digests have a descriptor."""
    rows = CopyDescriptor.objects.using(using).filter(pk__in=digests)
    return set(rows.values_list("pk", flat=True))


def load(digests: Collection[str], using: str) -> dict[str, Descriptor]:
    """Returns the descriptors that there are."""
    if not digests:
        return {}
    rows = CopyDescriptor.objects.using(using).filter(pk__in=digests)
    return {
        digest: Descriptor(bits, mirrored_bits, bytes(data))
        for digest, bits, mirrored_bits, data in rows.values_list(
            "digest", "bits", "mirrored_bits", "data"
        )
    }


def compare(
    loaded: Mapping[str, Descriptor], digests: tuple[str, str], using: str
) -> Comparison | None:
    """Compares two of the loaded descriptors; None: there is none of one of them.

    One that is damaged is deleted, and the pictures of both are to be compared again.
    """
    first, second = map(loaded.get, digests)
    if first is None or second is None:
        return None
    try:
        return copies.compare(first, second)
    except DamagedDescriptor as error:
        damaged = digests[0] if first.data == error.data else digests[1]
        if CopyDescriptor.objects.using(using).filter(pk=damaged).delete()[0]:
            logger.warning(
                "The descriptor of the picture file %s is deleted: %s",
                damaged,
                error,
                extra={"digest": damaged, "database": using},
            )
    pending.forget_files(digests, using)
    return None


def _first(
    embedding: type[Embedding], names: Iterable[str | None], job: Job[str]
) -> Descriptor | Trouble:
    """Returns the descriptor of the first file that can be read, of those with the job's digest."""
    found: Descriptor | Trouble = Trouble.MISSING
    for name in names:
        found = _describe(embedding, name, job)
        if isinstance(found, Descriptor):
            break
    return found


def _describe(embedding: type[Embedding], name: str | None, job: Job[str]) -> Descriptor | Trouble:
    if not name:
        return Trouble.CHANGED
    limits = conf.current()
    try:
        job.begin(READING, limits.read_seconds)
        with files.named(embedding, name).open() as opened:
            data = images.read(opened)
        if images.digest(data) != job.key:
            return Trouble.CHANGED
        job.begin(DECODING, limits.decode_seconds)
        image = images.load(data, min_side=copies.SIDE)
    except ImageError:
        return Trouble.REFUSED
    except FileNotFoundError:
        return Trouble.MISSING
    except Exception:  # Storages raise whatever their client libraries raise.
        return Trouble.UNREADABLE
    return copies.describe(image)
