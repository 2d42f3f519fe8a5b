"""Which pictures make a batch. A function of seed and step alone, so that a run can resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .examples import Example, ExamplesError

CLUSTERS = 4
"""Half of a batch comes from so many classes, so that it holds close negatives."""
MATES = 0.85
"""Share of the pictures with mates that are paired with one."""
ELSEWHERE = 0.5
"""Share of those that are paired with a mate from another source where there is one: a street photo
with the shop's own picture."""

Rows = NDArray[np.int64]


def codes(names: Sequence[str], known: Sequence[bool] | None = None) -> Rows:
    """Returns a number for each name, the same for equal ones; -1 for "".

    Where `known` is given, names that no known row has get -1 too.
    """
    numbers: dict[str, int] = {}
    for place, name in enumerate(names):
        if name and (known is None or known[place]):
            numbers.setdefault(name, len(numbers))
    return np.array([numbers.get(name, -1) for name in names], np.int64)


def classes(cells: Sequence[str], known: Sequence[bool]) -> Rows:
    """Returns numbers (cells, most classes of a cell) of the classes in cells such as "one|two".

    Rows are filled up with -1 at their ends. Classes that no known row has are left out.
    """
    apart = [cell.split("|") for cell in cells]
    flat = codes(
        [name for names in apart for name in names],
        np.repeat(known, list(map(len, apart))).tolist(),
    )
    result = np.full((len(cells), max(map(len, apart), default=1)), -1, np.int64)
    start = 0
    for row, names in zip(result, apart, strict=True):
        own = flat[start : start + len(names)]
        own = own[own >= 0]
        row[: len(own)] = own
        start += len(names)
    return result


def alone(numbers: Rows) -> Rows:
    """Returns the numbers with each -1 replaced by a number of its own."""
    result = numbers.copy()
    unknown = result < 0
    result[unknown] = result.max(initial=-1) + 1 + np.arange(unknown.sum())
    return result


class PairSampler:
    """Draws pairs of pictures: mates where there are any.

    The second half of a batch is the mates of the first. A picture without one is its own mate, or
    where classes are learned gives its place to any other: a new picture teaches more than the same
    one again. Every row is drawn in proportion to its weight, a mate among the mates; half of the
    first half anywhere, half within a few classes.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        column: str | None,
        weights: Mapping[str, float],
        seed: int,
    ) -> None:
        """`column`: the classes within which half a batch is drawn; `weights`: of the sources."""
        self._seed = seed
        self._learns_classes = column is not None
        self._rows = np.flatnonzero([example.split == "train" for example in examples])
        weight = np.array([weights.get(examples[row].source, 1.0) for row in self._rows.tolist()])
        if not weight.any():
            raise ExamplesError("No picture may be drawn: the weights of all sources are 0.")
        self._weights = weight / weight.sum()
        self._weight_of = np.zeros(len(examples))
        self._weight_of[self._rows] = self._weights
        groups = alone(codes([example.design for example in examples]))
        self._groups = groups
        drawn = self._rows[self._weights > 0]
        self._mates = together(groups[drawn], drawn)
        self._sources = codes([example.source for example in examples])
        names = [example.labels.get(column, "") if column else "" for example in examples]
        self._classes = codes(names)
        self._within = together(self._classes[self._rows], np.arange(len(self._rows)))

    def __len__(self) -> int:
        """Number of pictures that are drawn from."""
        return len(self._rows)

    def batch(self, step: int, size: int) -> Rows:
        """Returns `size` rows, the mate of row i, where it has one, at size / 2 + i."""
        random = np.random.default_rng([self._seed, step])
        half = size // 2
        queries = list(random.choice(self._rows, half - half // 2, p=self._weights))
        while len(queries) < half:
            place = random.choice(len(self._rows), p=self._weights)
            near = self._within[self._classes[self._rows[place]]]
            count = min(max(1, half // 2 // CLUSTERS), half - len(queries))
            share = self._weights[near] / self._weights[near].sum()
            queries += list(self._rows[random.choice(near, count, p=share)])
        return np.array([*queries, *(self._mate(row, random) for row in queries)], np.int64)

    def _mate(self, row: int, random: Generator) -> int:
        mates = self._mates[self._groups[row]]
        others = mates[mates != row]
        if not len(others) or random.random() >= MATES:
            if self._learns_classes:
                return int(random.choice(self._rows, p=self._weights))
            return row
        elsewhere = others[self._sources[others] != self._sources[row]]
        if len(elsewhere) and random.random() < ELSEWHERE:
            others = elsewhere
        share = self._weight_of[others] / self._weight_of[others].sum()
        return int(random.choice(others, p=share))


def together(numbers: Rows, rows: Rows) -> dict[int, Rows]:
    """Returns the rows by number; `numbers` are theirs, in their order."""
    order = np.argsort(numbers, kind="stable")
    values, starts = np.unique(numbers[order], return_index=True)
    parts = np.split(rows[order], starts[1:])
    return {int(value): part for value, part in zip(values, parts, strict=True)}
