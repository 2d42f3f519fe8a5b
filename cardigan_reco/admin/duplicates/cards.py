"""What the report shows of a group: its listings side by side, and why they are one thing."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter

from cardigan_reco.models import DuplicateGroup, DuplicatePair, DuplicateState

from .differences import Part

MAX_LISTINGS = 12
"""Listings that are shown of a group among others; a page of its own has all."""
MAX_PAIRS = 20
"""Pairs that are shown of a group among others, the surest."""


@dataclass(frozen=True)
class Picture:
    """A picture of a listing; without `url` it can't be shown, and `trouble` says why."""

    url: str | None
    name: str
    trouble: str = ""


@dataclass(frozen=True)
class Fact:
    """What a field of a listing holds."""

    label: str
    parts: list[Part]
    differs: bool
    """Whether others hold something else, marked or not."""


@dataclass
class Listing:
    """One of the listings of a group, as a card shows it."""

    number: int
    """From 1 in each group: the key that chooses it as survivor."""
    pk: str
    name: str
    name_parts: list[Part] = field(default_factory=list)
    admin_url: str | None = None
    shop_url: str | None = None
    pictures: list[Picture] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    is_gone: bool = False
    is_survivor: bool = False


@dataclass(frozen=True)
class Match:
    """Two pictures to be compared by eye."""

    first: Picture
    second: Picture
    words: str
    """What was done to one of them, such as "cropped to 82%"."""
    is_mirrored: bool


@dataclass(frozen=True)
class PairOfListings:
    """Two listings of a group, and why they are likely one."""

    pair: DuplicatePair
    first: Listing
    second: Listing
    reasons: list[str]
    matches: list[Match]

    @property
    def percent(self) -> int:
        return percent(self.pair.probability)

    @property
    def is_open(self) -> bool:
        return self.pair.state == DuplicateState.OPEN


@dataclass(frozen=True)
class Card:
    """A group with all that the report shows of it."""

    group: DuplicateGroup
    url: str
    listings: list[Listing]
    pairs: list[PairOfListings]

    @property
    def percent(self) -> int:
        return percent(self.group.probability)

    @property
    def more_listings(self) -> int:
        """Listings beyond those that a page of groups has room for."""
        return max(0, len(self.listings) - MAX_LISTINGS)

    @property
    def more_pairs(self) -> int:
        """Pairs beyond those that a page of groups has room for."""
        return max(0, len(self.pairs) - MAX_PAIRS)

    @property
    def is_judged(self) -> bool:
        """Whether something of it can be reopened."""
        states = {one.pair.state for one in self.pairs}
        return bool(states & {DuplicateState.CONFIRMED, DuplicateState.DISMISSED})

    @property
    def is_open(self) -> bool:
        return any(one.is_open for one in self.pairs)

    @property
    def note(self) -> str:
        return next((one.pair.note for one in self.pairs if one.pair.note), "")

    @property
    def last_judged(self) -> DuplicatePair | None:
        """The pair that was judged last; None: none was."""
        judged = [one.pair for one in self.pairs if one.pair.reviewed_at]
        return max(judged, key=attrgetter("reviewed_at"), default=None)


def percent(probability: float) -> int:
    """Returns a probability as it is shown: only what is certain is 100, or 0."""
    return (
        min(99, max(1, round(100 * probability))) if 0 < probability < 1 else int(100 * probability)
    )
