"""From what pictures and words say to one probability, a kind and the reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cardigan_reco.copies import Comparison
from cardigan_reco.models import DuplicateKind

from . import calibration
from .reasons import Evidence, PictureEvidence, Reason
from .text import Facts

MAX_PICTURES = 8
"""Picture matches that are kept as evidence of a pair."""

__all__ = ["Evidence", "Judgement", "PictureMatch", "judge"]


@dataclass(frozen=True, slots=True)
class PictureMatch:
    """What is known of a picture of one listing beside a picture of another."""

    first: str
    """Primary key of the source, as text, that belongs to the first listing."""
    second: str
    first_digest: str
    second_digest: str
    similarity: float | None = None
    """Cosine of the two embeddings; None: they were not compared."""
    level: float | None = None
    """How similar pictures are around these two: of each, the mean similarity to its nearest
    pictures of other listings, and of the two the higher. None: not known.
    """
    comparison: Comparison | None = None
    """What their copy descriptors say; None: they were not compared."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """How likely two listings are one, and why."""

    kind: DuplicateKind
    probability: float
    """That a person would confirm the pair, 0 to 1."""
    evidence: Evidence
    """The best picture matches and the facts, for DuplicatePair.evidence."""


def judge(matches: Sequence[PictureMatch], facts: Facts | None = None) -> Judgement:
    """Returns how likely two listings are one thing, given their matching pictures.

    The pictures that say most decide, and the facts shift what they say. Without a match the
    probability is 0.
    """
    pictures = sorted(map(_look, matches), key=_most)[:MAX_PICTURES]
    said = facts or Facts()
    evidence: Evidence = {"pictures": pictures, "facts": list(_reasons(said))}
    if not pictures:
        return Judgement(DuplicateKind.SAME_ITEM, 0.0, evidence)
    best = pictures[0]
    kind = DuplicateKind(best["kind"])
    probability = _with_facts(kind, best["probability"], _weight(said))
    return Judgement(kind, round(probability, 4), evidence)


def _with_facts(kind: DuplicateKind, seen: float, weight: float) -> float:
    if kind == DuplicateKind.EXACT:
        return seen * calibration.sigmoid(calibration.ONE_FILE + weight)
    if kind == DuplicateKind.SAME_PHOTO:
        return seen * calibration.sigmoid(calibration.ONE_PHOTO + weight)
    return calibration.sigmoid(calibration.log_odds(seen) + weight)


def _most(picture: PictureEvidence) -> tuple[float, bool]:
    """Sorts by what pictures say without words; of two that say as much, the same file first."""
    kind = DuplicateKind(picture["kind"])
    return -_with_facts(kind, picture["probability"], 0.0), kind != DuplicateKind.EXACT


def _look(match: PictureMatch) -> PictureEvidence:
    kind, probability, reasons = _seen(match)
    return {
        "first": match.first,
        "second": match.second,
        "first_digest": match.first_digest,
        "second_digest": match.second_digest,
        "kind": kind.value,
        "probability": round(probability, 4),
        "reasons": reasons,
    }


def _seen(match: PictureMatch) -> tuple[DuplicateKind, float, list[Reason]]:
    if match.first_digest == match.second_digest:
        return DuplicateKind.EXACT, 1.0, [{"code": "same_file", "value": None}]
    compared = match.comparison or Comparison(0.0)
    one_thing = _one_thing(match)
    if compared.is_twin:
        one_thing = min(one_thing, calibration.MAX_TWIN)
    if compared.probability > 0 and compared.probability >= one_thing:
        reasons: list[Reason] = [
            {"code": change.code, "value": change.value} for change in compared.changes
        ]
        return DuplicateKind.SAME_PHOTO, compared.probability, reasons
    similar: list[Reason] = []
    if match.similarity is not None:
        similar = [{"code": "similar", "value": round(match.similarity, 3)}]
    return DuplicateKind.SAME_ITEM, one_thing, similar


def _one_thing(match: PictureMatch) -> float:
    """Returns how likely two pictures show one thing, each in a photo of its own.

    How similar the pictures around them are is subtracted, as SSCD normalises its scores (Pizzi et
    al., 2022): among hundreds of white mugs, to be alike says little.
    """
    if match.similarity is None or match.level is None:
        return 0.0
    above = match.similarity - match.level
    return calibration.sigmoid(
        calibration.ABOVE_LEVEL * above
        + calibration.SIMILARITY * match.similarity
        + calibration.ANOTHER_PHOTO
    )


def _weight(facts: Facts) -> float:
    """Returns what the facts say, in logarithms of odds."""
    if facts.variants:
        return calibration.VARIANTS
    weight = 0.0
    if facts.title is not None:
        one = calibration.TITLES_OF_ONE_BRAND if facts.is_same_brand else calibration.TITLES
        weight += calibration.step(one, facts.title)
    if facts.is_same_brand is not None:
        weight += calibration.SAME_BRAND if facts.is_same_brand else calibration.OTHER_BRAND
    if facts.price is not None:
        weight += calibration.step(calibration.PRICES, facts.price)
    if facts.sku is not None:
        weight += calibration.SAME_SKU if facts.sku else calibration.OTHER_SKU
    return weight


def _reasons(facts: Facts) -> Iterator[Reason]:
    """Yields the facts that there are, in the order in which a person reads them."""
    for code, value in (
        ("title", facts.title),
        ("brand", facts.brand),
        ("price", facts.price),
        ("sku", facts.sku),
    ):
        if value is not None:
            yield {"code": code, "value": round(value, 2)}
    if facts.variants:
        yield {"code": "variants", "value": facts.variants}
