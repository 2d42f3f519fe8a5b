"""How good a network is while it trains, on the pictures of the validation split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import nn

from . import metrics
from .examples import Example
from .forward import Forward
from .processes import Processes
from .sampling import Rows, codes

NEIGHBOURS = 10


@dataclass(frozen=True)
class Figures:
    """Shares from 0 to 1 by name, the larger the better."""

    values: Mapping[str, float]

    @property
    def headline(self) -> float:
        """The mean of all: what decides which epoch is kept."""
        return sum(self.values.values()) / len(self.values)


class Validation:
    """Measures networks on the pictures that are kept from training."""

    def __init__(
        self,
        examples: Sequence[Example],
        columns: Sequence[str],
        forward: Forward,
        *,
        side: int,
        triplets: Rows | None,
        processes: Processes,
    ) -> None:
        """`triplets`: (count, 3) rows of examples, measured in place of the validation split."""
        self._rows = np.flatnonzero([example.split != "train" for example in examples])
        if triplets is not None:
            self._rows = np.unique(triplets)
            triplets = np.searchsorted(self._rows, triplets)
        self._triplets = triplets
        self._shown = [examples[row] for row in self._rows.tolist()]
        self._columns = columns
        self._forward = forward
        self._side = side
        self._processes = processes

    def measure(self, network: nn.Module) -> Figures | None:
        """Returns the network's figures to all processes; None where nothing can be measured."""
        if not self._shown:
            return None
        vectors = self._forward.encode_together(network, self._rows, side=self._side)
        measured = partial(figures, vectors, self._shown, self._columns, self._triplets)
        found = self._processes.agree(measured)
        return found if found.values else None


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
    groups = codes([example.design for example in examples])
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
