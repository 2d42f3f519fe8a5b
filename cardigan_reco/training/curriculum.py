"""What a run learns at each step: pairs, triplets that were given, or triplets that it mines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .examples import Example
from .mining import Mined, Miner
from .processes import Processes
from .recipe import Recipe
from .sampling import PairSampler, Rows

Encode = Callable[[], NDArray[np.float32]]
"""Returns the vectors of the training pictures, from the network of now."""


class Curriculum(ABC):
    """Deals rows of the examples to steps; the same ones after a resume."""

    parts: int
    """The first of so many equal parts of a step's rows are the queries."""
    steps_per_epoch: int
    state: Rows | None = None
    """What was prepared, for a checkpoint; set after a resume."""

    def prepare(self, epoch: int, encode: Encode | None, processes: Processes) -> Mined | None:
        """Makes ready for an epoch; `encode` is None before the first step. Returns what it mined.

        Called in all processes at the start of an epoch, not after a resume within one.
        """
        return None

    @abstractmethod
    def rows(self, epoch: int, place: int, size: int) -> Rows:
        """Returns the rows of a step, `place` steps after the epoch's start."""


class Pairs(Curriculum):
    """Pictures and their mates, for losses over classes and groups."""

    parts = 2

    def __init__(self, sampler: PairSampler, *, batch_size: int) -> None:
        self._sampler = sampler
        self.steps_per_epoch = max(1, len(sampler) // batch_size)

    def rows(self, epoch: int, place: int, size: int) -> Rows:
        """Returns `size` rows, the mate of row i at size / 2 + i."""
        return self._sampler.batch(epoch * self.steps_per_epoch + place, size)


class GivenTriplets(Curriculum):
    """Each triplet once an epoch, in an order of its own."""

    parts = 3
    state: Rows

    def __init__(self, triplets: Rows, *, batch_size: int, seed: int) -> None:
        """`triplets`: (count, 3)."""
        self.state = triplets
        self._seed = seed
        self.steps_per_epoch = max(1, len(triplets) // (batch_size // 3))

    def rows(self, epoch: int, place: int, size: int) -> Rows:
        """Returns 3 * n rows: n queries, their positives, their negatives; n is `size` / 3.

        Where triplets run out, the epoch's first ones come again.
        """
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self.state))
        places = np.arange(place * (size // 3), (place + 1) * (size // 3))
        chosen: Rows = self.state[order[places % len(order)]]
        return chosen.T.reshape(-1)


class MinedTriplets(GivenTriplets):
    """Triplets chosen anew each epoch with the network of the moment."""

    def __init__(self, miner: Miner, *, batch_size: int, seed: int) -> None:
        super().__init__(np.empty((len(miner), 3), np.int64), batch_size=batch_size, seed=seed)
        self._miner = miner

    def prepare(self, epoch: int, encode: Encode | None, processes: Processes) -> Mined | None:
        vectors = encode() if encode is not None and self._miner.needs_vectors else None
        mined = processes.agree(lambda: self._miner.mine(epoch, vectors))
        self.state = mined.triplets
        return mined


def build(recipe: Recipe, examples: Sequence[Example], triplets: Rows | None) -> Curriculum:
    """Returns the curriculum of a recipe; `triplets`, where given, are learned as they are."""
    column = recipe.columns[0][0] if recipe.columns else None
    size, seed = recipe.batch_size, recipe.seed
    if triplets is not None:
        return GivenTriplets(triplets, batch_size=size, seed=seed)
    if recipe.uses_triplets:
        miner = Miner(examples, column=column, method=recipe.mining, seed=seed)
        return MinedTriplets(miner, batch_size=size, seed=seed)
    sampler = PairSampler(examples, column=column, weights=recipe.source_weights, seed=seed)
    return Pairs(sampler, batch_size=size)
