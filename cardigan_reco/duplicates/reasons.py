"""Why two listings are taken for one, in words.

The codes that are kept with a pair, and their values:

same_file     the pictures are the same file
same_photo    they are one photo, with no change that is seen
mirrored      one is the mirror image of the other
cropped       the share of one picture's content that the other shows
padded        the share of the picture by which the margins of one are wider
rotated       degrees
resized       how many pixels wide one is, as a share of the other
brightness    by which share of the whole range one is lighter
covered       the share of the detail that something was laid over
similar       cosine of the two pictures' vectors
title         how alike the titles are, 0 to 1
brand         how alike the brands are, 0 to 1
price         the lower price as a share of the higher
sku           1: the same, 0: different
variants      the words by which the titles tell variants apart
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from django.utils.translation import gettext as _

from .text import SAME_BRAND

LIKELY = 0.5
"""Probability from which two pictures are said to match."""


class Reason(TypedDict):
    """One reason as it is kept with a pair; `value` says how much, where that is known."""

    code: str
    value: float | str | None


class PictureEvidence(TypedDict):
    """Two pictures that match: `first` is the source of the first listing."""

    first: str
    second: str
    first_digest: str
    second_digest: str
    kind: str
    probability: float
    reasons: list[Reason]


class Evidence(TypedDict):
    """What DuplicatePair.evidence holds."""

    pictures: list[PictureEvidence]
    facts: list[Reason]


def sentences(evidence: Mapping[str, Any]) -> list[str]:
    """Returns why two listings are taken for one, in the language that is active: a sentence for
    the pictures that match best, one for each fact.
    """
    pictures = evidence.get("pictures") or []
    said = [picture(pictures[0])] if pictures else []
    likely = sum(match.get("probability", 0) >= LIKELY for match in pictures)
    if likely > 1:
        said.append(_("%(count)d pictures match.") % {"count": likely})
    return said + [_sentence(phrase(reason)) for reason in evidence.get("facts") or []]


def picture(match: Mapping[str, Any]) -> str:
    """Returns what two pictures have in common, as a sentence."""
    kind, changes = match.get("kind"), phrases(match.get("reasons") or [])
    if kind == "exact":
        return _("The pictures are the same file.")
    if kind == "same_photo":
        if not changes:
            return _("The pictures are the same photo.")
        return _("The pictures are the same photo, %(changes)s.") % {"changes": _joined(changes)}
    if not changes:
        return _("The pictures look like two photos of one thing.")
    return _("The pictures look like two photos of one thing (%(why)s).") % {
        "why": ", ".join(changes)
    }


def phrases(reasons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns reasons of one picture match, each in a few words, such as "cropped to 82%"."""
    return [phrase(reason) for reason in reasons if reason["code"] not in ("same_file",)]


def phrase(reason: Mapping[str, Any]) -> str:
    """Returns a reason in a few words, without a full stop; an unknown one as its code."""
    code, value = str(reason.get("code")), reason.get("value")
    if isinstance(value, str):
        return _words(code, value)
    if value is None:
        return {
            "same_file": _("the same file"),
            "same_photo": _("unchanged"),
            "mirrored": _("mirrored"),
        }.get(code, code)
    return _amount(code, float(value))


def _words(code: str, value: str) -> str:
    if code == "variants":
        return _("the titles differ in “%(words)s”") % {"words": value}
    return f"{code}: {value}"


def _amount(code: str, value: float) -> str:
    percent = {"percent": round(100 * value)}
    if code == "sku":
        return _("the same SKU") if value else _("different SKUs")
    if code == "brand":
        return _("the same brand") if value >= SAME_BRAND else _("different brands")
    if code == "title" and value == 1:
        return _("the same title")
    if code == "price" and value == 1:
        return _("the same price")
    if code == "rotated":
        return _("rotated by %(degrees).0f°") % {"degrees": value}
    texts = {
        "cropped": _("cropped to %(percent)d%%"),
        "padded": _("with margins that take %(percent)d%% more"),
        "resized": _("resized to %(percent)d%%"),
        "brightness": _("with %(percent)d%% other brightness or contrast"),
        "covered": _("with something over %(percent)d%% of its detail"),
        "similar": _("%(percent)d%% similar"),
        "title": _("titles %(percent)d%% alike"),
        "price": _("the lower price is %(percent)d%% of the higher"),
    }
    return texts[code] % percent if code in texts else f"{code} {value:g}"


def _joined(parts: Sequence[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return _("%(these)s and %(last)s") % {"these": ", ".join(parts[:-1]), "last": parts[-1]}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
