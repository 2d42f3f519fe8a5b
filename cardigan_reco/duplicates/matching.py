"""From pictures that may be of one thing to what is thought of their listings."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Model

from cardigan_reco.copies import Comparison
from cardigan_reco.models import DuplicatePair

from . import descriptors, evidence, shared, text
from .candidates import Candidate, Neighbours, Sources
from .evidence import PictureMatch
from .listings import Listings
from .pairs import MAX_OTHERS, Finding, Key, matched
from .pending import Picture
from .pictures import Pictures, values
from .shared import Crowd

CONSIDERED = 4
"""Pictures that are compared with a picture closely: so many by their vectors, as many by hash."""
TELLING = 0.1
"""Probability from which two pictures are shown as evidence, beside the best two in any case."""
LIKELY = 0.5
"""Probability from which two pictures are followed to what else matches them."""


@dataclass(frozen=True, slots=True)
class Match:
    """Two pictures that were compared closely."""

    candidate: Candidate
    comparison: Comparison | None
    """None: they are the same file."""
    one_photo: bool
    """Whether they are one photo beyond doubt, with hardly a change."""

    @property
    def is_likely(self) -> bool:
        """Whether they are one photo rather than not."""
        return self.comparison is None or self.comparison.probability >= LIKELY


def sources(around: Mapping[Any, Neighbours], others: Iterable[Sources]) -> set[Sources]:
    """Returns the pairs of sources that are worth a closer look, each once, the lower key first."""
    near = [(source, of) for source, found in around.items() for of in found.nearest[:CONSIDERED]]
    return {(one, other) if one < other else (other, one) for one, other in [*near, *others]}


def next_to(
    compared: Collection[Any], matches: Iterable[Match], known: Iterable[Sources]
) -> set[Sources]:
    """Returns what may be of one thing with the compared sources because it matches what they
    match. `known`: what matched before.
    """
    own = set(compared)
    beside: dict[Any, set[Any]] = defaultdict(set)
    for one, other in [*(match.candidate.sources for match in matches if match.is_likely), *known]:
        beside[one].add(other)
        beside[other].add(one)
    return {
        (one, other)
        for match in matches
        if match.is_likely
        for source, third in (match.candidate.sources, match.candidate.sources[::-1])
        if source in own
        for near in beside[third]
        if near != source
        for one, other in [(source, near) if source < near else (near, source)]
    }


def compare(pictures: Pictures, found: Sequence[Candidate]) -> list[Match]:
    """Compares pictures closely, those alone whose listings the shop lets be compared."""
    allowed = _allowed(pictures, found)
    different = [one for one in allowed if one.digests[0] != one.digests[1]]
    loaded = descriptors.load(
        {digest for one in different for digest in one.digests}, pictures.using
    )
    matches = []
    for one in allowed:
        first, second = one.digests
        if first == second:
            matches.append(Match(one, None, one_photo=True))
        elif comparison := descriptors.compare(loaded, one.digests, pictures.using):
            is_one = shared.are_one(loaded[first], loaded[second], comparison)
            matches.append(Match(one, comparison, one_photo=is_one))
    return matches


def crowds(
    matches: Iterable[Match], compared: Iterable[Picture], *, max_listings: int
) -> list[Crowd]:
    """Returns the compared pictures that are shown, in files of their own, by more listings than
    `max_listings`.
    """
    around: dict[Any, dict[Any, Match]] = defaultdict(dict)
    for match in matches:
        if match.one_photo:
            for own, other in (match.candidate.sources, match.candidate.sources[::-1]):
                around[own][other] = match
    taken: set[Any] = set()
    found = []
    for picture in compared:
        source = picture.source
        if source in taken or source not in around:
            continue
        families = {
            family for match in around[source].values() for family in match.candidate.families
        }
        if len(families) > max_listings:
            members = around[source].keys() - taken
            found.append(Crowd(*picture.owned_file, source, members, len(families)))
            taken |= {source, *members}
    return found


def beside(matches: Iterable[Match], sources: Collection[Any]) -> set[Any]:
    """Returns what is one photo with any of the sources, these included."""
    chosen = set(sources)
    return {
        source
        for match in matches
        if match.one_photo and not chosen.isdisjoint(match.candidate.sources)
        for source in match.candidate.sources
    }


def judge(pictures: Pictures, matches: Sequence[Match]) -> dict[Key, Finding]:
    """Returns what is thought of each two listings with pictures that were compared."""
    by_items: dict[tuple[Any, Any], list[PictureMatch]] = defaultdict(list)
    for match in matches:
        one = match.candidate
        if one.items[1] < one.items[0]:
            one = one.swapped()
        by_items[one.items].append(
            PictureMatch(
                str(one.sources[0]),
                str(one.sources[1]),
                one.digests[0],
                one.digests[1],
                similarity=one.similarity,
                level=one.level,
                comparison=match.comparison,
            )
        )
    said = values(pictures.shop, {str(pk) for items in by_items for pk in items}, pictures.using)
    found = {}
    for items, of in by_items.items():
        first, second = map(str, items)
        facts = text.facts(said[first], said[second]) if first in said and second in said else None
        found[first, second] = _finding(of, evidence.judge(of, facts))
    return found


def _finding(matches: Sequence[PictureMatch], judged: evidence.Judgement) -> Finding:
    # What was measured may be NumPy's numbers, which a JSONField doesn't take.
    whole: dict[str, Any] = json.loads(json.dumps(judged.evidence, default=float))
    telling = [one for one in whole["pictures"] if one["probability"] >= TELLING]
    whole["pictures"] = telling or whole["pictures"][:1]
    kept = {(one["first"], one["second"]) for one in whole["pictures"]}
    others = [
        [match.first, match.second, match.first_digest, match.second_digest]
        for match in matches
        if (match.first, match.second) not in kept
    ]
    if others:
        whole["others"] = others[:MAX_OTHERS]
    return Finding(judged.kind, judged.probability, whole)


def _allowed(pictures: Pictures, found: Sequence[Candidate]) -> Sequence[Candidate]:
    shop = pictures.shop
    if type(shop).may_compare is Listings.may_compare:
        return found
    items = _items(pictures, {pk for one in found for pk in one.items})
    verdicts: dict[tuple[Any, Any], bool] = {}
    for one in found:
        if one.items not in verdicts:
            first, second = (items.get(pk) for pk in sorted(one.items))
            verdicts[one.items] = bool(first and second and shop.may_compare(first, second))
    return [one for one in found if verdicts[one.items]]


def _items(pictures: Pictures, pks: Collection[Any]) -> dict[Any, Model]:
    items = pictures.shop.queryset().using(pictures.using)
    if items.query.is_sliced or items.query.combinator:
        items = items.model._base_manager.using(pictures.using)
    return items.in_bulk(list(pks))


def remembered(pictures: Pictures, pairs: Iterable[DuplicatePair]) -> dict[Sources, str]:
    """Returns the pictures that matched before: their sources, and the "digest:digest" they had."""
    found = {}
    for pair in pairs:
        shown = [(one["first"], one["second"]) for one in pair.evidence.get("pictures", ())]
        others = [(first, second) for first, second, *_ in pair.evidence.get("others", ())]
        for texts, had in zip([*shown, *others], matched(pair.evidence), strict=True):
            first, second = map(pictures.key, texts)
            if first < second:
                found[first, second] = had
            else:
                found[second, first] = ":".join(reversed(had.split(":")))
    return found
