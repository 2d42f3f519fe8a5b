"""Finding listings that were entered twice: over the whole catalogue, or for pictures just encoded.

Only one process compares at a time; a second one waits for its turn and takes the next pictures, so
that both may run at once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import router
from django.db.models import QuerySet

from cardigan_reco import conf, database
from cardigan_reco.models import (
    CopyDescriptor,
    DuplicateCheck,
    DuplicateGroup,
    DuplicatePair,
    Embedding,
)

from . import descriptors, listings, pending
from .descriptors import Trouble
from .pairs import Stored
from .pending import Picture
from .pictures import Pictures, comparable
from .run import Run

CHUNK = 200
"""Pictures that are compared in one transaction."""
AHEAD = 50 * CHUNK
"""Pictures that are looked up together: the more, the less often the table is gone through."""
MANY = 1_000
"""Pictures after which the planner's statistics are refreshed, and again each time that there are
GROWTH times as many.
"""
GROWTH = 4
ROUNDS = 3
"""How often pictures are looked for that what was found makes worth comparing again."""

logger = logging.getLogger("cardigan_reco")


@dataclass
class Progress:
    """How far a run has come."""

    total: int = 0
    """Pictures that were to be compared when it started."""
    compared: int = 0
    found: int = 0
    """Pairs that are new, or open again."""
    gone: int = 0
    """Open pairs that nothing speaks for any more."""
    troubles: Counter[Trouble] = field(default_factory=Counter)
    """Pictures that couldn't be compared, by what is wrong. The next run tries them again."""


def find(
    *,
    full: bool = False,
    within: QuerySet[Any] | None = None,
    min_probability: float | None = None,
    using: str | None = None,
) -> Iterator[Progress]:
    """Compares the pictures that are new or have changed with all the others, and stores the pairs
    of listings that are likely one thing. Yields how far it has come. Words and prices are read
    along with the pictures: what changes there alone counts from the next `full` run on.

    With `full`, all pictures are compared again; verdicts are kept. `within`: items whose pictures
    are compared, with those of all others. `min_probability`: pairs that are less probable are not
    stored; by default CARDIGAN_RECO["DUPLICATES"]["MIN_PROBABILITY"]. A run that was broken off is
    taken up by the next, also one with `full` if that comes without.

    Does nothing until it is iterated. Raises LookupError where CARDIGAN_RECO["DUPLICATES"] is not
    set or names an unknown collection, TypeError for a `within` of other objects, ValueError for a
    min_probability outside 0 to 1, and MissingExtra without the extra [duplicates].
    """
    shop, settings = _configured()
    model = shop.embedding.item_model()
    if within is not None and not issubclass(within.model, model):
        raise TypeError(
            f"within must be a queryset of {model._meta.label}, got {within.model._meta.label}."
        )
    floor = settings.min_probability if min_probability is None else min_probability
    if not 0 <= floor <= 1:
        raise ValueError(f"min_probability must be from 0 to 1, got {floor!r}.")
    using = using or (within.db if within is not None else router.db_for_write(shop.embedding))
    wanted = comparable(shop, within=within, using=using)
    everything = comparable(shop, using=using)
    progress = Progress()
    if wanted is None or everything is None:
        yield progress
        return
    run = Run(everything, floor, settings.max_listings_per_picture)
    progress.gone += run.remove_orphans().gone
    if full:
        pending.forget_all(wanted)
    progress.total = pending.count(wanted)
    yield progress
    failed: set[Any] = set()
    analyzed = MANY // GROWTH
    for _ in range(ROUNDS):
        for chunk in _chunks(wanted):
            done, stored = run.compare(_describe(everything, chunk, failed, progress))
            progress.compared += len(done)
            progress.found += stored.found
            progress.gone += stored.gone
            if progress.compared >= analyzed * GROWTH:
                _analyze(using)
                analyzed = progress.compared
            yield progress
        if not run.recount() and not run.again:
            break
        run.again.clear()


def check(source_pks: Collection[Any], *, using: str) -> Stored:
    """Compares the pictures of these sources with all the others, as far as that is to be done.

    What couldn't be compared waits for `find()`. Raises as `find()` does.
    """
    shop, settings = _configured()
    everything = comparable(shop, using=using)
    stored = Stored()
    if everything is None:
        return stored
    run = Run(everything, settings.min_probability, settings.max_listings_per_picture)
    waiting = set(source_pks)
    for _ in range(ROUNDS):
        if not waiting:
            break
        chosen = pending.among(everything, waiting)
        for start in range(0, len(chosen), CHUNK):
            ready = _describe(everything, chosen[start : start + CHUNK], set(), Progress())
            stored += run.compare(ready)[1]
        waiting = set(run.again)
        run.again.clear()
    return stored


def are_checked(embedding: type[Embedding]) -> bool:
    """Whether the shop wants pictures of this collection compared as soon as they are encoded.

    Raises as `find()` does for wrong settings.
    """
    settings = conf.current().duplicate_listings
    if settings is None or not settings.check_on_encode:
        return False
    shop = listings.current()
    return shop is not None and shop.embedding is embedding


def check_encoded(embedding: type[Embedding], source_pks: Collection[Any], *, using: str) -> None:
    """Compares pictures that were just encoded, if the shop wants that of this collection.

    Never raises: what fails is logged, and waits for `find()`.
    """
    try:
        if source_pks and are_checked(embedding):
            check(source_pks, using=using)
    except Exception:  # The encoding is stored already, and must not seem to have failed.
        logger.exception(
            "%d pictures of %s were encoded, but not compared with others: find_duplicates will.",
            len(source_pks),
            embedding._meta.label,
            extra={"collection": embedding._meta.label_lower, "database": using},
        )


def _configured() -> tuple[listings.Listings, conf.Duplicates]:
    shop, settings = listings.current(), conf.current().duplicate_listings
    if shop is None or settings is None:
        raise LookupError(
            f"{conf.SETTING}['DUPLICATES'] is not set, so no listings are compared. Set it to {{}} "
            "or to what differs from its defaults."
        )
    return shop, settings


def _chunks(wanted: Pictures) -> Iterator[list[Picture]]:
    """Yields the pictures that are to be compared, by key."""
    last = None
    while ahead := pending.after(wanted, last, limit=AHEAD):
        last = ahead[-1].source
        for start in range(0, len(ahead), CHUNK):
            yield ahead[start : start + CHUNK]


def _analyze(using: str) -> None:
    """Refreshes the planner's statistics of the tables that a run fills."""
    for model in (DuplicateCheck, CopyDescriptor, DuplicatePair, DuplicateGroup):
        database.analyze(model._meta.db_table, using)


def _describe(
    pictures: Pictures, chunk: Sequence[Picture], failed: set[Any], progress: Progress
) -> list[Picture]:
    """Returns the pictures that can be compared, with their descriptors made."""
    troubles = descriptors.make(pictures, [one for one in chunk if one.source not in failed])
    progress.troubles.update(troubles.values())
    failed |= troubles.keys()
    return [picture for picture in chunk if picture.source not in failed]
