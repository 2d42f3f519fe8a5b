"""Triplets worth learning from, chosen anew as the network learns.

VisNet (arXiv 1703.02344) draws negatives of the query's class and of others; Project Cardigan
recomputed the close ones with the network of the moment; semi-hard ones are FaceNet's
(arXiv 1503.03832).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .examples import Example, ExamplesError
from .sampling import Rows, alone, codes, together

IN_CLASS = 0.6
"""Share of the negatives that are of the query's class, where it has others."""
SAME_PICTURE = 0.02
"""Negatives nearer than this distance are taken for the same thing under another name."""
COLLAPSED = 0.1
"""Mean distance of random pairs under which the vectors have collapsed to a point."""
_POOL = 4096
_CHUNK = 512
_CLOSEST = 20

METHODS = ("random", "semi-hard", "hard")


@dataclass(frozen=True)
class Mined:
    """Triplets, and how they were found."""

    triplets: Rows
    """(count, 3): query, positive, negative, as rows of the examples."""
    method: str
    """The method that was used; `random` also where another one would have collapsed."""
    mean_distance: float | None
    """Of random pairs, from 0 to 2; None without vectors."""
    skipped: int
    """Negatives passed over because they seemed to show the query itself."""


class Miner:
    """Finds a positive and a negative for each picture that has a mate."""

    def __init__(
        self, examples: Sequence[Example], *, column: str | None, method: str, seed: int
    ) -> None:
        """`column`: the classes of in-class negatives; without it all negatives count alike.

        Pictures of one group or item are positives to each other, or, where no two pictures share
        one, pictures of one class. Raises ExamplesError when there is no positive or no negative.
        """
        self._method = method
        self._seed = seed
        self._rows = np.flatnonzero([example.split == "train" for example in examples])
        training = [examples[row] for row in self._rows.tolist()]
        classes = codes([example.labels.get(column, "") if column else "" for example in training])
        groups = codes([example.design for example in training])
        if np.bincount(groups[groups >= 0], minlength=1).max(initial=0) < 2:
            groups = classes
        self._groups, self._classes = alone(groups), classes
        self._by_class = together(classes, np.arange(len(classes)))
        order = np.argsort(self._groups, kind="stable")
        self._queries = order[np.isin(self._groups[order], _repeated(self._groups))]
        if not len(self._queries):
            raise ExamplesError(
                f"No two of the {len(training)} training pictures share a group, an item or a "
                "class, so no triplet can be made. Fill the column group."
            )
        if len(np.unique(self._groups)) == 1:
            raise ExamplesError(
                f"All {len(training)} training pictures are of one group, so no triplet has a "
                "negative. Add pictures of other products."
            )

    def __len__(self) -> int:
        """Number of pictures that have a mate, each the query of one triplet an epoch."""
        return len(self._queries)

    @property
    def needs_vectors(self) -> bool:
        """Whether it looks at where the pictures lie."""
        return self._method != "random"

    def mine(self, epoch: int, vectors: NDArray[np.float32] | None = None) -> Mined:
        """Returns one triplet for each picture with a mate.

        `vectors`: (training pictures, dimensions), of length 1, from the network of now; without
        them, and where random pairs lie nearer than COLLAPSED, negatives are random.
        """
        random = np.random.default_rng([self._seed, epoch])
        spread = None
        if vectors is not None:
            one, other = random.integers(len(vectors), size=(2, 10_000))
            spread = float(np.linalg.norm(vectors[one] - vectors[other], axis=1).mean())
        positives = self._positives(random)
        if vectors is None or spread is None or not self.needs_vectors or spread < COLLAPSED:
            negatives, skipped, method = self._random(random), 0, "random"
        else:
            negatives, skipped = self._close(vectors, positives, random)
            method = self._method
        found = negatives >= 0
        triplets = np.stack([self._queries, positives, negatives], 1)[found]
        return Mined(self._rows[triplets], method, spread, skipped)

    def _positives(self, random: np.random.Generator) -> Rows:
        # Queries lie sorted by group: a positive is another place within the group's stretch.
        groups = self._groups[self._queries]
        _, starts, counts = np.unique(groups, return_index=True, return_counts=True)
        start, count = np.repeat(starts, counts), np.repeat(counts, counts)
        step = random.integers(1, count)
        here = np.arange(len(groups)) - start
        return self._queries[start + (here + step) % count]

    def _random(self, random: np.random.Generator) -> Rows:
        negatives = np.full(len(self._queries), -1, np.int64)
        for _ in range(20):
            open_places = np.flatnonzero(negatives < 0)
            drawn = random.integers(len(self._groups), size=len(open_places))
            queries = self._queries[open_places]
            inside = random.random(len(open_places)) < IN_CLASS
            for place in np.flatnonzero(inside & (self._classes[queries] >= 0)):
                drawn[place] = random.choice(self._by_class[int(self._classes[queries[place]])])
            good = self._groups[drawn] != self._groups[queries]
            negatives[open_places[good]] = drawn[good]
        return negatives

    def _close(
        self, vectors: NDArray[np.float32], positives: Rows, random: np.random.Generator
    ) -> tuple[Rows, int]:
        """Returns a close negative for each query out of a pool drawn for this epoch."""
        pool = random.permutation(len(vectors))[:_POOL]
        negatives = np.full(len(self._queries), -1, np.int64)
        skipped = 0
        for start in range(0, len(self._queries), _CHUNK):
            part = slice(start, start + _CHUNK)
            queries = self._queries[part]
            distances = _distances(vectors[queries], vectors[pool])
            far = np.linalg.norm(vectors[queries] - vectors[positives[part]], axis=1)[:, None]
            others = self._groups[pool][None] != self._groups[queries][:, None]
            same = others & (distances < SAME_PICTURE)
            skipped += int(same.sum())
            allowed = others & ~same
            inside = self._classes[pool][None] == self._classes[queries][:, None]
            inside &= self._classes[queries][:, None] >= 0
            wanted = np.where((random.random(len(queries)) < IN_CLASS)[:, None], inside, ~inside)
            wanted[~(wanted & allowed).any(1)] = True
            allowed &= wanted
            if self._method == "semi-hard":
                beyond = allowed & (distances > far)
                allowed = np.where(beyond.any(1)[:, None], beyond, allowed)
            distances[~allowed] = np.inf
            closest = np.argpartition(distances, min(_CLOSEST, len(pool) - 1), axis=1)
            closest = closest[:, : min(_CLOSEST, len(pool))]
            chosen = closest[
                np.arange(len(queries)), random.integers(closest.shape[1], size=len(queries))
            ]
            # Among few candidates the drawn one may not be allowed: take the closest then.
            bad = ~np.isfinite(distances[np.arange(len(queries)), chosen])
            chosen[bad] = distances[bad].argmin(1)
            usable = np.isfinite(distances[np.arange(len(queries)), chosen])
            negatives[part][usable] = pool[chosen[usable]]
        return negatives, skipped


def _repeated(numbers: Rows) -> Rows:
    values, counts = np.unique(numbers, return_counts=True)
    return values[counts > 1]


def _distances(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the Euclidean distances between the rows of two arrays of unit vectors."""
    squared: NDArray[np.float32] = np.maximum(2 - 2 * (one @ other.T), 0)
    return np.sqrt(squared)
