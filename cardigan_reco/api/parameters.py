"""What a client asks for beside the picture and the filters: how many, which, how near."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.http import QueryDict

from cardigan_reco import images
from cardigan_reco.exceptions import InvalidRequest
from cardigan_reco.images import Crop
from cardigan_reco.search import MAX_LIMIT

NAMES = frozenset({"limit", "page", "min_similarity"})
DEFAULT_LIMIT = 8

_WHOLE = re.compile(r"[0-9]{1,4}")
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Asked:
    """The page of results that is wanted."""

    limit: int
    page: int
    """From 1."""
    min_similarity: float

    @property
    def offset(self) -> int:
        return (self.page - 1) * self.limit

    @property
    def limit_and_one(self) -> int:
        """One more than is shown, as far as there can be one, tells whether a page follows."""
        return min(self.limit + 1, MAX_LIMIT - self.offset)

    def next_page(self, found: int) -> int | None:
        """Returns the number of the page after this one, on which `found` items fit or not."""
        is_possible = (self.page + 1) * self.limit <= MAX_LIMIT
        return self.page + 1 if found > self.limit and is_possible else None


def read(given: QueryDict) -> Asked:
    """Returns what the parameters say; raises InvalidRequest."""
    limit = _whole(given, "limit", DEFAULT_LIMIT)
    page = _whole(given, "page", 1)
    if page * limit > MAX_LIMIT:
        raise InvalidRequest(
            f"page {page} with a limit of {limit} is beyond the first {MAX_LIMIT} results, which "
            "are all that can be asked for."
        )
    return Asked(limit, page, _share(given))


def read_crop(given: QueryDict) -> Crop | None:
    """Returns the part of the picture that counts; raises InvalidRequest."""
    text = _only(given, "crop")
    try:
        return None if text is None else images.parse_crop(text)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _whole(given: QueryDict, name: str, default: int) -> int:
    text = _only(given, name)
    if text is None:
        return default
    if not (_WHOLE.fullmatch(text) and 1 <= int(text) <= MAX_LIMIT):
        raise InvalidRequest(
            f"{name} must be a whole number from 1 to {MAX_LIMIT}, got {_short(text)}."
        )
    return int(text)


def _share(given: QueryDict) -> float:
    text = _only(given, "min_similarity")
    if text is None:
        return 0.0
    if not (_NUMBER.fullmatch(text) and float(text) <= 1):
        raise InvalidRequest(f"min_similarity must be a number from 0 to 1, got {_short(text)}.")
    return float(text)


def _only(given: QueryDict, name: str) -> str | None:
    texts = given.getlist(name)
    if len(texts) > 1:
        raise InvalidRequest(f"{name} is given {len(texts)} times.")
    return texts[0] if texts else None


def _short(text: str) -> str:
    return repr(text if len(text) <= 50 else f"{text[:50]}...")
