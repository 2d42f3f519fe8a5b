"""In what listings differ, so that a page can mark it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

LONG = 10
"""Words from which a text is marked only where it has half of them in common with the others: to
mark nearly all of a description helps nobody.
"""


@dataclass(frozen=True)
class Part:
    """A piece of a text; `differs` where others don't have it."""

    text: str
    differs: bool


def words(texts: Sequence[str]) -> list[list[Part]]:
    """Returns each text in parts, of which those differ whose words aren't in all of the texts.

    Case and punctuation at the ends of words don't count.
    """
    counts = [Counter(_plain(word) for word in text.split()) for text in texts]
    common = counts[0].copy() if counts else Counter[str]()
    for count in counts[1:]:
        common &= count
    found = []
    for text, count in zip(texts, counts, strict=True):
        is_other = count.total() >= LONG and 2 * common.total() < count.total()
        found.append([Part(text, False)] if is_other else _parts(text, common.copy()))
    return found


def wholes(texts: Sequence[str]) -> list[list[Part]]:
    """Returns each text as one part, which differs where the texts aren't all the same."""
    differ = len(set(texts)) > 1
    return [[Part(text, differ)] for text in texts]


def _parts(text: str, common: Counter[str]) -> list[Part]:
    """Joins neighbouring words of one sort, with the space between them."""
    parts: list[Part] = []
    for space, word in re.findall(r"(\s*)(\S+)", text):
        plain = _plain(word)
        differs = common[plain] <= 0
        common[plain] -= not differs
        if parts and parts[-1].differs is differs:
            parts[-1] = Part(f"{parts[-1].text}{space}{word}", differs)
        elif not space:
            parts.append(Part(word, differs))
        elif differs:
            parts += [Part(space, False), Part(word, True)]
        else:
            parts.append(Part(f"{space}{word}", False))
    return parts


def _plain(word: str) -> str:
    return re.sub(r"^\W+|\W+$", "", word).casefold() or word
