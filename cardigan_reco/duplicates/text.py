"""What the words and numbers of two listings say of their being one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from cardigan_reco.exceptions import MissingExtra

SAME_BRAND = 0.9
"""Likeness from which two brands are one."""
SPELLING = 0.8
"""Likeness from which two words are one, spelt differently."""
SIZES = frozenset(
    re.findall(
        r"\w+",
        """xxs xs s m l xl xxl xxxl small medium large big mini midi maxi little short long wide
        narrow single double twin queen king kids baby junior adult""",
    )
)
COLOURS = frozenset(
    re.findall(
        r"\w+",
        """amber apricot aqua azure beige black blue blush bronze brown burgundy camel charcoal
        cherry cobalt cognac copper coral cream crimson cyan forest fuchsia gold golden gray green
        grey indigo ivory khaki lavender lemon lilac lime magenta maroon mauve mint mustard natural
        navy oat ocean ochre olive orange peach petrol pink plum purple red rose rust sage salmon
        sand scarlet silver slate tan taupe teal terracotta turquoise violet white wine yellow""",
    )
)
MATERIALS = frozenset(
    re.findall(
        r"\w+",
        """ash bamboo beech birch brass chrome cork cotton glass granite leather linen maple marble
        oak pine rattan rubber satin silk steel suede teak velvet walnut wicker wood wool""",
    )
)
"""Sizes, colours and materials in English; a shop with others tells its variants apart by
`Listings.parent_field` or `may_compare()`."""

_WORD = re.compile(r"\w+")
# "Men's" would leave an "s", which is a size.
_APOSTROPHE = re.compile(r"(?<=[^\W\d])['’ʼ](?=[^\W\d])")


@dataclass(frozen=True, slots=True)
class Facts:
    """What two listings have in common; None: at least one of them doesn't say."""

    title: float | None = None
    """How alike the titles are, 0 to 1, whatever the order of their words."""
    brand: float | None = None
    """How alike the brands are, 0 to 1."""
    price: float | None = None
    """The lower price as a share of the higher."""
    sku: float | None = None
    """1 where the SKUs are the same, 0 where they differ."""
    variants: str = ""
    """The words by which the titles tell variants apart, such as "large" or "blue / green"."""

    @property
    def is_same_brand(self) -> bool | None:
        """Whether the brands are one; None: at least one listing doesn't say."""
        return None if self.brand is None else self.brand >= SAME_BRAND


def facts(first: Mapping[str, Any], second: Mapping[str, Any]) -> Facts:
    """Returns what two listings have in common; raises MissingExtra.

    Each is a mapping with any of the keys "title", "brand", "price" and "sku".
    """
    titles, brands, skus = (
        (_words(first.get(key)), _words(second.get(key))) for key in ("title", "brand", "sku")
    )
    sku = float(skus[0] == skus[1]) if all(skus) else None
    brand = _likeness(*brands)
    return Facts(
        title=_likeness(*titles),
        brand=brand,
        price=_share(first.get("price"), second.get("price")),
        sku=sku,
        variants="" if sku else _variants(*titles, one_brand=brand is None or brand >= SAME_BRAND),
    )


def _words(value: object) -> list[str]:
    if value is None:
        return []
    text = unicodedata.normalize("NFKC", str(value)).casefold()
    return _WORD.findall(_APOSTROPHE.sub("", text))


def _likeness(first: list[str], second: list[str]) -> float | None:
    if not first or not second:
        return None
    return _ratio(" ".join(sorted(first)), " ".join(sorted(second)))


def _ratio(first: str, second: str) -> float:
    try:
        from rapidfuzz import fuzz
    except ModuleNotFoundError as error:
        raise MissingExtra("Comparing the words of listings", "duplicates") from error
    return fuzz.ratio(first, second) / 100


def _share(first: object, second: object) -> float | None:
    prices = [_number(price) for price in (first, second)]
    low, high = min(prices), max(prices)
    return float(low / high) if low > 0 else None


def _number(price: object) -> Decimal:
    """Returns a price, or 0 where it is none."""
    try:
        number = Decimal(str(getattr(price, "amount", price)))
    except InvalidOperation:
        return Decimal(0)
    return number if number.is_finite() else Decimal(0)


def _variants(first: list[str], second: list[str], *, one_brand: bool) -> str:
    """Returns the sizes, colours, materials and numbers in which the titles differ.

    Of two brands both must name one: each seller words a title as it likes.
    """
    if not first or not second:
        return ""
    own, other = _only(first, second), _only(second, first)
    for names in (SIZES.__contains__, COLOURS.__contains__, MATERIALS.__contains__, _is_number):
        ones, others = (" ".join(filter(names, words)) for words in (own, other))
        if (ones and others) or (one_brand and (ones or others)):
            return " / ".join(filter(None, (ones, others)))
    return ""


def _only(words: list[str], others: list[str]) -> list[str]:
    """Returns the words that the other title doesn't have, in any spelling."""
    return [
        word
        for word in words
        if word not in others
        and not (len(word) > 3 and any(_ratio(word, other) >= SPELLING for other in others))
    ]


def _is_number(word: str) -> bool:
    return any(letter.isdigit() for letter in word)
