"""Classes of cells, and which pictures make a batch."""

from __future__ import annotations

import numpy as np
import pytest

from cardigan_reco.training.examples import Example
from cardigan_reco.training.sampling import MATES, PairSampler, Rows, classes


def test_a_cell_may_hold_several_classes():
    cells = ["red|round", "", "round", "tall|red|round"]
    assert classes(cells, [True] * 4).tolist() == [
        [0, 1, -1],
        [-1, -1, -1],
        [1, -1, -1],
        [2, 0, 1],
    ]


def test_classes_that_no_training_picture_has_are_left_out():
    found = classes(["red", "blue", "blue|red"], np.array([True, False, False]))
    assert found.tolist() == [[0, -1], [-1, -1], [0, -1]]


def example(number: int, **known: str) -> Example:
    return Example(bytes, f"{number}.png", {"shape": f"{number % 3}"}, **known)


def pairs(examples: list[Example], *, column: str | None = None, **weights: float) -> Rows:
    """Returns the rows (pairs, 2) of many batches."""
    sampler = PairSampler(examples, column=column, weights=weights, seed=1)
    return np.concatenate([sampler.batch(step, 20).reshape(2, 10).T for step in range(200)])


def test_a_picture_without_a_mate_is_its_own() -> None:
    query, mate = pairs([example(number) for number in range(50)]).T
    assert (query == mate).all()
    assert len(np.unique(query)) == 50


def test_where_classes_are_learned_another_picture_takes_the_place_of_a_mate() -> None:
    examples = [
        *(example(number, source="shop") for number in range(40)),
        *(example(number, source="street") for number in range(40, 50)),
        *(example(number, split="val") for number in range(50, 60)),
    ]
    query, mate = pairs(examples, column="shape", street=0).T
    assert 0 < (query == mate).mean() < 0.1  # By chance, 1 in 40.
    # What is drawn is drawn as any picture is: of the training split, by the sources' weights.
    assert set(mate.tolist()) == set(query.tolist()) == set(range(40))


def test_mates_are_drawn_by_the_weights_of_their_sources() -> None:
    examples = [
        example(3 * group + place, group=f"{group}", source=source)
        for group in range(20)
        for place, source in enumerate(("shop", "home", "street"))
    ]
    query, mate = pairs(examples, home=3, street=0).T
    sources = np.array([one.source for one in examples])
    assert not set(sources[query]) & {"street"}
    assert not set(sources[mate]) & {"street"}
    # Half of the pairs look elsewhere, where only the other source is left.
    of_home = sources[mate[(query != mate) & (sources[query] == "home")]]
    assert (of_home == "shop").all()


@pytest.mark.parametrize("column", [None, "shape"])
def test_mates_are_of_the_query_s_group(column: str | None) -> None:
    examples = [example(number, group=f"{number // 2}") for number in range(40)]
    query, mate = pairs(examples, column=column).T
    others = mate == query ^ 1
    assert others.mean() == pytest.approx(MATES, abs=0.04)
    assert bool((mate == query)[~others].all()) is (column is None)


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    examples = [example(number) for number in range(50)]
    one, same, other = (
        PairSampler(examples, column="shape", weights={}, seed=seed).batch(3, 20)
        for seed in (1, 1, 2)
    )
    assert one.tolist() == same.tolist() != other.tolist()
