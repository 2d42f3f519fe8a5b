"""Comparing two encoders by the shelves that they would fill, and by what people say of them."""

from .blinding import new_is_left
from .queries import following, queries, shown, unvoted
from .shelves import Comparison, Shelf, compare, versions
from .tables import Tables, chosen, default, tables_of
from .tally import Tally, tallies, tally
from .votes import Answer, answer_of, cast, in_order, short

__all__ = [
    "Answer",
    "Comparison",
    "Shelf",
    "Tables",
    "Tally",
    "answer_of",
    "cast",
    "chosen",
    "compare",
    "default",
    "following",
    "in_order",
    "new_is_left",
    "queries",
    "short",
    "shown",
    "tables_of",
    "tallies",
    "tally",
    "unvoted",
    "versions",
]
