"""How well vectors keep alike things together. All take vectors of length 1 and need numpy alone.

Neighbours are those of largest inner product; a picture is never its own neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]
"""One number for each vector; -1 where nothing is known."""

_CELLS = 1 << 24
"""Similarities that are held at once: 64 MiB, whatever the number of vectors."""


def neighbours(
    queries: Vectors, candidates: Vectors | None = None, *, count: int
) -> NDArray[np.int64]:
    """Returns the rows of each query's nearest candidates, nearest first: (queries, count).

    Without candidates each vector looks among the others; fewer come back where there are fewer.
    Equal vectors come in the order of their rows.
    """
    among = len(queries if candidates is None else candidates)
    count = min(count, among - (candidates is None))
    found = np.empty((len(queries), max(count, 0)), np.int64)
    if count <= 0:
        return found
    for start, similarity in _similarities(queries, candidates):
        least = np.partition(similarity, among - count, axis=1)[:, among - count]
        for row, near in enumerate(similarity):
            places = np.flatnonzero(near >= least[row])
            order = np.argsort(-near[places], kind="stable")[:count]
            found[start + row] = places[order]
    return found


def _similarities(
    queries: Vectors, candidates: Vectors | None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yields the first row of a chunk of queries, and their inner products with all candidates."""
    among = queries if candidates is None else candidates
    step = max(1, _CELLS // max(1, len(among)))
    for start in range(0, len(queries), step):
        similarity = queries[start : start + step] @ among.T
        if candidates is None:
            here = np.arange(len(similarity))
            similarity[here, start + here] = -np.inf
        yield start, similarity


def recall(
    found: NDArray[np.int64], labels: Labels, candidate_labels: Labels | None = None, *, at: int
) -> float:
    """Returns the share of queries with a candidate of their label among the first `at`.

    `found`: of `neighbours()`. Queries without a label, or without any candidate of it, don't
    count. NaN where none does.
    """
    among = labels if candidate_labels is None else candidate_labels
    counts_for = (labels >= 0) & (_mates(labels, candidate_labels) > 0)
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


def mean_average_precision(
    vectors: Vectors,
    labels: Labels,
    candidates: Vectors | None = None,
    candidate_labels: Labels | None = None,
) -> float:
    """Returns the mean over labelled queries of the precision at each of their mates' ranks.

    Mates are the candidates of a query's label, without candidates the others. Queries without a
    mate don't count; NaN where none does.
    """
    among = labels if candidates is None or candidate_labels is None else candidate_labels
    asking = np.flatnonzero((labels >= 0) & (_mates(labels, candidate_labels) > 0))
    precisions = np.zeros(len(labels))
    for start, similarity in _similarities(vectors, candidates):
        for query in asking[(asking >= start) & (asking < start + len(similarity))]:
            # Last comes a picture itself, which is no neighbour of its own.
            order = np.argsort(-similarity[query - start], kind="stable")
            ranked = order if candidates is not None else order[:-1]
            places = np.flatnonzero(among[ranked] == labels[query])
            precisions[query] = ((np.arange(len(places)) + 1) / (places + 1)).mean()
    return float(precisions[asking].mean()) if len(asking) else float("nan")


def _mates(labels: Labels, candidate_labels: Labels | None) -> NDArray[np.int64]:
    """Returns how many candidates have each label, the query itself not counted."""
    among = labels if candidate_labels is None else candidate_labels
    sizes = np.bincount(among[among >= 0], minlength=int(labels.max(initial=0)) + 1)
    return np.asarray(sizes[labels] - (candidate_labels is None), np.int64)


def precision_and_recall(
    right: NDArray[np.bool_], scores: NDArray[np.floating[Any]], total: int, *, precision: float
) -> tuple[float, float]:
    """Returns the average precision of scored pairs, and their recall at a precision.

    `right`: (pairs,), whether each belongs together; `total`: how many do, those not scored
    included. Pairs of equal score are ranked as one. The recall is the highest one at which so many
    of the pairs above are right; 0 where none is.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    hits = np.cumsum(right[order])[ends]
    precisions, recalls = hits / (ends + 1), hits / total
    average = float((np.diff(recalls, prepend=0) * precisions).sum())
    return average, float(recalls[precisions >= precision].max(initial=0))


def hinge_accuracy(vectors: Vectors, triplets: NDArray[np.int64]) -> float:
    """Returns the share of triplets (query, positive, negative) with D(q, p) < D(q, n).

    NaN where there are none.
    """
    right = 0
    step = max(1, _CELLS // max(1, vectors.shape[1]))
    for start in range(0, len(triplets), step):
        part = triplets[start : start + step]
        query, positive, negative = (vectors[part[:, place]] for place in range(3))
        right += int(((query * positive).sum(1) > (query * negative).sum(1)).sum())
    return right / len(triplets) if len(triplets) else float("nan")


def triplets(
    groups: Labels,
    classes: Labels | None = None,
    *,
    per_query: int = 5,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Returns triplets (count, 3) for the hinge accuracy, `per_query` for each row with a mate.

    Positives are drawn among the mates of its group, negatives uniformly among all of other groups
    (easy) or, with `classes`, among those of its class (hard); queries without any are left out,
    as are those of class -1.
    """
    random = np.random.default_rng(seed)
    chosen = []
    for query in np.flatnonzero(groups >= 0):
        same = groups == groups[query]
        others = ~same
        if classes is not None:
            others &= (classes == classes[query]) & (classes >= 0)
        mates, negatives = np.flatnonzero(same), np.flatnonzero(others)
        mates = mates[mates != query]
        if len(mates) and len(negatives):
            positive = random.choice(mates, per_query)
            negative = random.choice(negatives, per_query)
            chosen.append(np.stack([np.full(per_query, query), positive, negative], 1))
    return np.concatenate(chosen) if chosen else np.empty((0, 3), np.int64)
