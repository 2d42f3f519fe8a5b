"""Variants of one thing, which their titles tell apart: nothing can be a double of two of them.

Photos of a small and a large bowl may be alike to the pixel, so that a copy of one is found beside
both. The likelier one keeps it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import combinations

from cardigan_reco.models import DuplicateState

from . import families, text
from .pairs import Finding, Key, touching
from .pictures import Pictures, values


def ruled_out(
    pictures: Pictures, findings: Mapping[Key, Finding], item_pks: set[str], floor: float
) -> set[Key]:
    """Returns the pairs, found or stored, of a listing and the less likely of two variants.

    `findings` replace what is stored of the listings `item_pks`. Pairs below the probability
    `floor` count for nothing; what a person confirmed is certain. Of two that are as likely as one
    another both stay: a person has to look.
    """
    likely = {key: one.probability for key, one in findings.items() if one.probability >= floor}
    for pair in touching(pictures.collection, {pk for key in likely for pk in key}, pictures.using):
        key = pair.first_pk, pair.second_pk
        if pair.state in families.SETTLED:
            likely[key] = 1.0
        elif pair.state == DuplicateState.OPEN and item_pks.isdisjoint(key):
            likely[key] = pair.probability
    rivals = list(_rivals(likely))
    said = values(pictures.shop, {pk for *_, pair in rivals for pk in pair}, pictures.using)
    lost = set()
    for one, other, (first, second) in rivals:
        if likely[one] == likely[other] or first not in said or second not in said:
            continue
        if text.facts(said[first], said[second]).variants:
            lost.add(min(one, other, key=likely.__getitem__))
    return lost


def _rivals(pairs: Collection[Key]) -> Iterator[tuple[Key, Key, Key]]:
    """Yields each two pairs of one listing whose other listings are no pair, and these."""
    beside: dict[str, list[Key]] = defaultdict(list)
    for key in pairs:
        for pk in key:
            beside[pk].append(key)
    for pk, of in beside.items():
        for one, other in combinations(of, 2):
            ends = _end(one, pk), _end(other, pk)
            if ends not in pairs and ends[::-1] not in pairs:
                yield one, other, ends


def _end(key: Key, pk: str) -> str:
    return key[1] if key[0] == pk else key[0]
