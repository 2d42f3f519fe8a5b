"""How good a network is while it trains, on the pictures of the validation split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import metrics
from .examples import Example
from .sampling import codes

NEIGHBOURS = 10


@dataclass(frozen=True)
class Figures:
    """Shares from 0 to 1 by name, the larger the better."""

    values: Mapping[str, float]

    @property
    def headline(self) -> float:
        """The mean of all: what decides which epoch is kept. 0 without any."""
        return sum(self.values.values()) / max(1, len(self.values))


def figures(
    vectors: NDArray[np.float32],
    examples: Sequence[Example],
    columns: Sequence[str],
    triplets: NDArray[np.int64] | None = None,
) -> Figures:
    """Returns what can be measured: recall of mates, hinge accuracy, agreement of each column.

    `vectors`: (examples, dimensions), of length 1. `triplets`: (count, 3) rows of them, in place
    of those that are drawn.
    """
    groups = codes([example.group or example.item for example in examples])
    found = metrics.neighbours(vectors, count=NEIGHBOURS)
    values = {
        f"{column} agreement@{NEIGHBOURS}": metrics.agreement(
            found, codes([example.labels.get(column, "") for example in examples])
        )
        for column in columns
    }
    for at in (1, NEIGHBOURS):
        values[f"group recall@{at}"] = metrics.recall(found, groups, at=at)
    if triplets is None:
        triplets = metrics.triplets(groups)
        if columns:
            classes = codes([example.labels.get(columns[0], "") for example in examples])
            hard = metrics.triplets(groups, classes)
            values["hinge accuracy, hard"] = metrics.hinge_accuracy(vectors, hard)
    values["hinge accuracy"] = metrics.hinge_accuracy(vectors, triplets)
    return Figures({name: value for name, value in values.items() if not math.isnan(value)})
