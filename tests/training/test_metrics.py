"""The figures of an evaluation: cases worked by hand, and the definitions spelled out slowly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cardigan_reco.training import metrics

# Degrees on a circle: nearest is who has the nearest angle.
HAND = [0, 10, 25, 60, 100]


def at_angles(degrees: list[float]) -> metrics.Vectors:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32)


def random_case(seed: int) -> tuple[metrics.Vectors, metrics.Labels]:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(60, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, random.integers(-1, 12, 60)


def ranking(query: int, vectors: metrics.Vectors) -> list[int]:
    others = [row for row in range(len(vectors)) if row != query]
    return sorted(others, key=lambda row: -float(vectors[query] @ vectors[row]))


@pytest.fixture(params=[1 << 24, 128])
def chunks(request, monkeypatch):
    """Once with all queries in a chunk and once with two."""
    monkeypatch.setattr(metrics, "_CELLS", request.param)


def test_neighbours_come_nearest_first_and_never_the_query_itself():
    found = metrics.neighbours(at_angles(HAND), count=2)
    assert found.tolist() == [[1, 2], [0, 2], [1, 0], [2, 4], [3, 2]]


def test_there_are_no_more_neighbours_than_pictures():
    assert metrics.neighbours(at_angles([0, 10, 50]), count=9).shape == (3, 2)
    assert metrics.neighbours(at_angles([0]), count=9).shape == (1, 0)
    assert metrics.neighbours(at_angles([0]), at_angles([5, 9]), count=9).tolist() == [[0, 1]]


def test_equal_vectors_come_in_the_order_of_their_rows():
    found = metrics.neighbours(at_angles([30] * 6), count=3)
    assert found.tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2], [0, 1, 2]]


@pytest.mark.usefixtures("chunks")
def test_neighbours_are_those_of_a_full_sort():
    vectors, _labels = random_case(1)
    found = metrics.neighbours(vectors, count=7)
    assert found.tolist() == [ranking(query, vectors)[:7] for query in range(60)]


def test_recall_counts_queries_that_could_be_right():
    found = metrics.neighbours(at_angles(HAND), count=4)
    labels = np.array([1, 2, 1, 2, -1])
    # 0 finds 2 second, 1 finds 3 third, 2 finds 0 second, 3 finds 1 third.
    assert metrics.recall(found, labels, at=1) == 0
    assert metrics.recall(found, labels, at=2) == 0.5
    assert metrics.recall(found, labels, at=3) == 1
    assert math.isnan(metrics.recall(found, np.arange(5), at=1))


def test_recall_among_other_pictures_leaves_out_whom_nobody_there_matches():
    found = metrics.neighbours(at_angles([0, 40, 90]), at_angles([5, 50]), count=1)
    assert found.tolist() == [[0], [1], [1]]
    assert metrics.recall(found, np.array([7, 7, 3]), np.array([7, 8]), at=1) == 0.5


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("at", [1, 5])
def test_recall_against_its_definition(at):
    vectors, labels = random_case(2)
    right = []
    for query in range(60):
        mates = [row for row in range(60) if row != query and labels[row] == labels[query]]
        if labels[query] >= 0 and mates:
            right.append(any(row in mates for row in ranking(query, vectors)[:at]))
    found = metrics.neighbours(vectors, count=5)
    assert metrics.recall(found, labels, at=at) == pytest.approx(np.mean(right))


def test_agreement_is_a_share_of_the_attainable():
    labels = np.array([1, 1, 1, 2, 3])
    found = metrics.neighbours(at_angles(HAND), count=2)
    # The three of label 1 could fill all of their six slots, and do; 2 and 3 have no others.
    assert metrics.agreement(found, labels) == 1
    found = metrics.neighbours(at_angles(HAND), count=1)
    # 0, 1 and 3 are one kind: 0 and 1 find each other, 3 finds 2.
    assert metrics.agreement(found, np.array([1, 1, -1, 1, 2])) == pytest.approx(2 / 3)
    assert math.isnan(metrics.agreement(found, np.full(5, -1)))


def test_agreement_against_its_definition():
    vectors, labels = random_case(3)
    agreed = attainable = 0
    for query in np.flatnonzero(labels >= 0):
        agreed += sum(labels[row] == labels[query] for row in ranking(query, vectors)[:10])
        attainable += min(10, int((labels == labels[query]).sum()) - 1)
    found = metrics.neighbours(vectors, count=10)
    assert metrics.agreement(found, labels) == pytest.approx(agreed / attainable)


def test_average_precision_by_hand():
    labels = np.array([1, 2, 1, 1, 2])
    # 0 has its mates at 2 and 3, 1 at 4, 2 at 2 and 3, 3 at 1 and 4; 4 at 3.
    expected = np.mean([(1 / 2 + 2 / 3) / 2, 1 / 4, (1 / 2 + 2 / 3) / 2, (1 + 2 / 4) / 2, 1 / 3])
    found = metrics.mean_average_precision(at_angles(HAND), labels)
    assert found == pytest.approx(expected)


@pytest.mark.usefixtures("chunks")
def test_average_precision_against_its_definition():
    vectors, labels = random_case(4)
    scores = []
    for query in np.flatnonzero(labels >= 0):
        hits = [labels[row] == labels[query] for row in ranking(query, vectors)]
        if any(hits):
            precisions = [sum(hits[: rank + 1]) / (rank + 1) for rank in np.flatnonzero(hits)]
            scores.append(np.mean(precisions))
    assert metrics.mean_average_precision(vectors, labels) == pytest.approx(np.mean(scores))


def test_average_precision_among_other_pictures():
    found = metrics.mean_average_precision(
        at_angles([0, 90]), np.array([1, 9]), at_angles([10, 20, 30]), np.array([2, 1, 1])
    )
    assert found == pytest.approx((1 / 2 + 2 / 3) / 2)
    nobody = metrics.mean_average_precision(
        at_angles([0]), np.array([1]), at_angles([10]), np.array([0])
    )
    assert math.isnan(nobody)


def test_the_recall_at_a_precision_is_the_highest_at_which_so_many_are_right():
    right = np.array([True, True, False, True, False])
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    average, recall = metrics.precision_and_recall(right, scores, 4, precision=0.75)
    assert average == pytest.approx((1 + 1 + 3 / 4) / 4)  # Of the fourth there is no pair.
    assert recall == 0.75
    assert metrics.precision_and_recall(right, scores, 4, precision=0.76)[1] == 0.5
    assert metrics.precision_and_recall(~right, scores, 2, precision=0.9)[1] == 0


def test_pairs_of_one_score_are_ranked_as_one():
    right, scores = np.array([True, False]), np.array([0.5, 0.5])
    assert metrics.precision_and_recall(right, scores, 1, precision=0.6) == (0.5, 0)
    assert metrics.precision_and_recall(right[::-1], scores, 1, precision=0.5) == (0.5, 1)


def test_hinge_accuracy_wants_the_positive_strictly_nearer():
    vectors = at_angles([0, 10, 20, 10])
    cases = np.array([[0, 1, 2], [0, 2, 1], [0, 1, 3], [2, 1, 0]])
    assert metrics.hinge_accuracy(vectors, cases) == 0.5
    assert math.isnan(metrics.hinge_accuracy(vectors, cases[:0]))


def test_triplets_take_mates_and_strangers():
    groups, classes = np.array([0, 0, 1, 1, -1, 2]), np.array([0, 0, 0, 1, 0, 1])
    easy = metrics.triplets(groups, seed=3)
    assert set(easy[:, 0].tolist()) == {0, 1, 2, 3}  # The others have no mate.
    assert len(easy) == 4 * 5
    query, positive, negative = easy.T
    assert (groups[positive] == groups[query]).all()
    assert (positive != query).all()
    assert (groups[negative] != groups[query]).all()
    hard = metrics.triplets(groups, classes, seed=3)
    assert (classes[hard[:, 2]] == classes[hard[:, 0]]).all()
    assert set(hard[hard[:, 0] == 3][:, 2].tolist()) == {5}


def test_triplets_of_a_seed_repeat():
    groups = np.repeat(np.arange(10), 3)
    one, same, other = (metrics.triplets(groups, seed=seed) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()


def test_an_unknown_class_makes_no_hard_triplet():
    assert not len(metrics.triplets(np.array([0, 0, 1]), np.array([-1, -1, -1])))


def test_50_000_pictures_need_no_matrix_of_50_000_squared(monkeypatch):
    """A stand-in for it: no chunk has more cells than allowed, however many rows there are."""
    monkeypatch.setattr(metrics, "_CELLS", 1000)
    vectors = at_angles(list(np.linspace(0, 90, 300)))
    sizes = [chunk.size for _start, chunk in metrics._similarities(vectors, None)]
    assert max(sizes) <= 1000
    assert sum(sizes) == 300 * 300
