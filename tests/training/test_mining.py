"""Which triplets are mined: close negatives, never of the query's group or of one picture."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cardigan_reco.training.curriculum import MinedTriplets
from cardigan_reco.training.examples import Example
from cardigan_reco.training.mining import IN_CLASS, SAME_PICTURE, Miner
from cardigan_reco.training.processes import Processes

COUNT = 60
"""Pictures, of which each two that follow one another are mates."""
EXAMPLES = [
    Example(bytes, f"{number}.png", {"kind": f"{number // 2 % 3}"}, group=f"{number // 2}")
    for number in range(COUNT)
]


def around_a_circle(*, mates_apart: float = 0.5) -> NDArray[np.float32]:
    """Returns unit vectors, those of two groups a step apart, those of mates so many steps."""
    steps = np.arange(COUNT) // 2 + mates_apart * (np.arange(COUNT) % 2)
    angles = steps * 2 * np.pi / (COUNT // 2)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def mine(
    method: str, vectors: NDArray[np.float32] | None, *, column: str | None = None
) -> NDArray[np.int64]:
    """Returns the triplets of many epochs."""
    miner = Miner(EXAMPLES, column=column, method=method, seed=0)
    return np.concatenate([miner.mine(epoch, vectors).triplets for epoch in range(20)])


def distances(
    vectors: NDArray[np.float32], triplets: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    query, positive, negative = (vectors[triplets[:, place]] for place in range(3))
    return np.linalg.norm(query - positive, axis=1), np.linalg.norm(query - negative, axis=1)


@pytest.mark.parametrize("method", ["random", "semi-hard", "hard"])
def test_a_positive_is_a_mate_and_a_negative_is_none(method: str) -> None:
    triplets = mine(method, around_a_circle())
    query, positive, negative = (triplets // 2).T
    assert (query == positive).all()
    assert (triplets[:, 0] != triplets[:, 1]).all()
    assert (query != negative).all()
    assert set(triplets[:, 0].tolist()) == set(range(COUNT))


def test_close_negatives_are_nearer_than_random_ones() -> None:
    vectors = around_a_circle()
    close, random = (
        distances(vectors, mine(method, vectors))[1].mean() for method in ("hard", "random")
    )
    assert close < 0.7 * random


def test_semi_hard_negatives_lie_beyond_the_positive_and_hard_ones_anywhere() -> None:
    # A mate is further away than pictures of other groups.
    vectors = around_a_circle(mates_apart=2.3)
    near, far = distances(vectors, mine("semi-hard", vectors))
    assert (far > near).all()
    near, far = distances(vectors, mine("hard", vectors))
    assert (far < near).any()


@pytest.mark.parametrize("method", ["random", "semi-hard", "hard"])
def test_most_negatives_are_of_the_query_s_class(method: str) -> None:
    triplets = mine(method, around_a_circle(), column="kind")
    kinds = triplets // 2 % 3
    share = (kinds[:, 0] == kinds[:, 2]).mean()
    expected = IN_CLASS if method != "random" else IN_CLASS + (1 - IN_CLASS) * 9 / 29
    assert share == pytest.approx(expected, abs=0.05)


def test_collapsed_vectors_mine_at_random() -> None:
    miner = Miner(EXAMPLES, column=None, method="hard", seed=0)
    point = np.tile(np.array([[1, 0]], np.float32), (COUNT, 1))
    mined = miner.mine(0, point)
    assert mined.method == "random"
    assert mined.mean_distance == pytest.approx(0, abs=1e-3)
    assert miner.mine(0, around_a_circle()).method == "hard"
    assert miner.mine(0).mean_distance is None


def test_what_seems_to_be_the_query_itself_is_no_negative() -> None:
    vectors = around_a_circle()
    vectors[2:4] = vectors[0:2]  # Two listings of one thing.
    assert np.linalg.norm(vectors[4] - vectors[0]) > SAME_PICTURE
    miner = Miner(EXAMPLES, column=None, method="hard", seed=0)
    mined = [miner.mine(epoch, vectors) for epoch in range(20)]
    for one in mined:
        pairs = {(query, negative) for query, _, negative in one.triplets.tolist()}
        assert not pairs & {(0, 2), (2, 0), (1, 3), (3, 1)}
        assert one.skipped == 4


def test_triplets_are_mined_anew_from_the_vectors_of_the_moment() -> None:
    miner = Miner(EXAMPLES, column=None, method="hard", seed=0)
    lesson = MinedTriplets(miner, batch_size=6, seed=0)
    vectors = around_a_circle()
    lesson.prepare(1, lambda: vectors, Processes())
    before = lesson.state
    # Every other group moves to the other side, and so all that was near is far.
    moved = np.where((np.arange(COUNT) // 2 % 2 == 0)[:, None], -vectors, vectors)
    lesson.prepare(1, lambda: moved, Processes())
    near, far = (distances(moved, triplets)[1].mean() for triplets in (lesson.state, before))
    assert near < 0.7 * far


def test_random_ones_need_no_vectors() -> None:
    miner = Miner(EXAMPLES, column=None, method="random", seed=0)
    lesson = MinedTriplets(miner, batch_size=6, seed=0)

    def never() -> NDArray[np.float32]:
        raise AssertionError

    assert lesson.prepare(1, never, Processes()) is not None
