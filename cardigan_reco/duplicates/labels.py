"""What people said of pairs, as labels to train an encoder on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from cardigan_reco.models import DuplicatePair, DuplicateState

from .listings import Listings
from .thresholds import CONFIRMED

AT_ONCE = 500
"""Pairs whose pictures are looked up together."""
JUDGED = (*CONFIRMED, DuplicateState.DISMISSED)


@dataclass(frozen=True)
class Label:
    """Two pictures, and whether a person found that their listings are one thing."""

    pictures: tuple[str, str]
    """Names of the files, as the storage has them."""
    listings: tuple[str, str]
    """Keys of the listings as text."""
    same: bool
    kind: str
    probability: float
    """Of their pair, when the verdict was given."""


@dataclass(frozen=True)
class Triplet:
    """What the triplet losses of `train_encoder` learn from: names of files."""

    query: str
    positive: str
    negative: str


def judged(shop: Listings, *, using: str) -> Iterator[Label]:
    """Yields a label for each two pictures that a verdict was given on, by pair.

    Pictures that have changed since then, or are gone, are left out.
    """
    collection = shop.collection
    pairs = DuplicatePair.objects.using(using).filter(collection=collection, state__in=JUDGED)
    rows = pairs.order_by("pk").iterator(AT_ONCE)
    while batch := list(islice(rows, AT_ONCE)):
        names = _names(shop, batch, using)
        for pair in batch:
            for one in pair.evidence.get("pictures", ()):
                digests = one["first_digest"], one["second_digest"]
                first = names.get((one["first"], digests[0]))
                second = names.get((one["second"], digests[1]))
                if first and second and ":".join(digests) in pair.judged:
                    yield Label(
                        (first, second),
                        (pair.first_pk, pair.second_pk),
                        pair.state in CONFIRMED,
                        pair.kind,
                        pair.probability,
                    )


def triplets(labels: Iterable[Label]) -> list[Triplet]:
    """Returns the confirmed pictures, each two with every picture that was dismissed for their
    thing: the hard negatives.

    Where none was, one that was dismissed for something else takes the place, which is less hard.
    Without any dismissed pictures there are no triplets.
    """
    labels = list(labels)
    thing = _things(label.listings for label in labels if label.same)
    negatives: dict[str, dict[str, str]] = defaultdict(dict)
    for label in labels:
        if not label.same:
            first, second = (thing.get(pk, pk) for pk in label.listings)
            if first != second:  # Else they were confirmed through others.
                negatives[first][label.pictures[1]] = second
                negatives[second][label.pictures[0]] = first
    elsewhere = [(picture, of) for found in negatives.values() for picture, of in found.items()]
    made = []
    for place, label in enumerate(label for label in labels if label.same):
        own = thing[label.listings[0]]
        chosen = (
            list(negatives.get(own, ()))
            or [picture for picture, of in _rotated(elsewhere, place) if of != own][:1]
        )
        made += [Triplet(*label.pictures, negative) for negative in chosen]
    return made


def _things(confirmed: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Returns for each listing one that stands for all that it is the same thing as."""
    members: dict[str, set[str]] = {}
    for first, second in confirmed:
        joined = members.get(first, {first}) | members.get(second, {second})
        for pk in joined:
            members[pk] = joined
    return {pk: min(joined) for pk, joined in members.items()}


def _rotated(pictures: Sequence[tuple[str, str]], place: int) -> Sequence[tuple[str, str]]:
    start = place % len(pictures) if pictures else 0
    return [*pictures[start:], *pictures[:start]]


def _names(
    shop: Listings, pairs: Sequence[DuplicatePair], using: str
) -> Mapping[tuple[str, str], str]:
    """Returns the files of the pairs' pictures, by the source's key and the digest it has now."""
    embedding = shop.embedding
    to_key = embedding.source_model()._meta.pk.to_python
    sources = {
        to_key(one[side])
        for pair in pairs
        for one in pair.evidence.get("pictures", ())
        for side in ("first", "second")
    }
    rows: Any = embedding._base_manager.using(using).filter(pk__in=sources)
    return {
        (str(pk), digest): name
        for pk, digest, name in rows.values_list("pk", "digest", f"source__{embedding.image_field}")
    }
