"""How well vectors keep alike things together. All take vectors of length 1 and need numpy alone.

Neighbours are those of largest inner product; a picture is never its own neighbour.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]
"""One number for each vector; -1 where nothing is known."""

_CHUNK = 512


def neighbours(
    queries: Vectors, candidates: Vectors | None = None, *, count: int
) -> NDArray[np.int64]:
    """Returns the rows of each query's nearest candidates, nearest first: (queries, count).

    Without candidates each vector looks among the others; fewer come back where there are fewer.
    """
    among = queries if candidates is None else candidates
    count = min(count, len(among) - (candidates is None))
    found = np.empty((len(queries), count), np.int64)
    for start in range(0, len(queries), _CHUNK):
        similarity = queries[start : start + _CHUNK] @ among.T
        if candidates is None:
            here = np.arange(len(similarity))
            similarity[here, start + here] = -np.inf
        # Stable, so that equal vectors come in the order of their rows.
        order = np.argsort(-similarity, axis=1, kind="stable")
        found[start : start + _CHUNK] = order[:, :count]
    return found


def recall(
    found: NDArray[np.int64], labels: Labels, candidate_labels: Labels | None = None, *, at: int
) -> float:
    """Returns the share of queries with a candidate of their label among the first `at`.

    `found`: of `neighbours()`. Queries without a label, or without any candidate of it, don't
    count. NaN where none does.
    """
    among = labels if candidate_labels is None else candidate_labels
    values, counts = np.unique(among, return_counts=True)
    there = dict(zip(values.tolist(), counts.tolist(), strict=True))
    own = 1 if candidate_labels is None else 0
    counts_for = np.array([label >= 0 and there.get(label, 0) > own for label in labels.tolist()])
    right = (among[found[:, :at]] == labels[:, None]).any(1)
    return float(right[counts_for].mean()) if counts_for.any() else float("nan")


def agreement(found: NDArray[np.int64], labels: Labels) -> float:
    """Returns how many neighbours have their query's label, as a share of the attainable.

    Summed over all queries with a label, divided by the sum of min(neighbours, others with it).
    NaN where none is attainable.
    """
    known = labels >= 0
    sizes = np.bincount(labels[known]) if known.any() else np.zeros(0, np.int64)
    attainable = np.minimum(found.shape[1], sizes[labels[known]] - 1).sum()
    agreed = (labels[found[known]] == labels[known][:, None]).sum()
    return float(agreed / attainable) if attainable else float("nan")


def mean_average_precision(vectors: Vectors, labels: Labels) -> float:
    """Returns the mean over labelled queries of the precision at each of their mates' ranks."""
    scores = []
    for start in range(0, len(vectors), _CHUNK):
        similarity = vectors[start : start + _CHUNK] @ vectors.T
        here = np.arange(len(similarity))
        similarity[here, start + here] = -np.inf
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :-1]
        for row, ranked in enumerate(order):
            label = labels[start + row]
            places = np.flatnonzero(labels[ranked] == label)
            if label >= 0 and len(places):
                scores.append(((np.arange(len(places)) + 1) / (places + 1)).mean())
    return float(np.mean(scores)) if scores else float("nan")


def hinge_accuracy(vectors: Vectors, triplets: NDArray[np.int64]) -> float:
    """Returns the share of triplets (query, positive, negative) with D(q, p) < D(q, n)."""
    query, positive, negative = (vectors[triplets[:, place]] for place in range(3))
    near, far = (query * positive).sum(1), (query * negative).sum(1)
    return float((near > far).mean()) if len(triplets) else float("nan")


def triplets(
    groups: Labels, classes: Labels | None = None, *, per_query: int = 5, seed: int = 0
) -> NDArray[np.int64]:
    """Returns triplets (count, 3) for the hinge accuracy, `per_query` for each row with a mate.

    Positives are drawn among the mates of its group, negatives uniformly among all of other groups
    (easy) or, with `classes`, among those of its class (hard); queries without any are left out.
    """
    random = np.random.default_rng(seed)
    chosen = []
    for query in np.flatnonzero(groups >= 0):
        mates = np.flatnonzero(groups == groups[query])
        mates = mates[mates != query]
        others = groups != groups[query]
        if classes is not None:
            others &= classes == classes[query]
        negatives = np.flatnonzero(others)
        if len(mates) and len(negatives):
            positive = random.choice(mates, per_query)
            negative = random.choice(negatives, per_query)
            chosen.append(np.stack([np.full(per_query, query), positive, negative], 1))
    return np.concatenate(chosen) if chosen else np.empty((0, 3), np.int64)
