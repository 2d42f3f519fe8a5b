"""In what listings differ, so that a page can mark it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

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
    for differs, run in groupby(_marked(text, common), key=itemgetter(1)):
        joined = "".join(word for word, _ in run)
        shown = joined.lstrip() if differs else joined
        if space := joined[: len(joined) - len(shown)]:
            parts.append(Part(space, False))
        parts.append(Part(shown, differs))
    return parts


def _marked(text: str, common: Counter[str]) -> Iterator[tuple[str, bool]]:
    """Yields each word, with the space before it, and whether it differs."""
    # In a long space at the end, each character would be tried as the start of a word.
    for word in re.findall(r"\s*\S+", text.rstrip()):
        plain = _plain(word.lstrip())
        differs = common[plain] <= 0
        common[plain] -= not differs
        yield word, differs


def _plain(word: str) -> str:
    found = re.search(r"\w(.*\w)?", word)
    return found[0].casefold() if found else word
