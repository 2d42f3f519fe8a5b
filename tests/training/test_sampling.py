"""Classes of cells, and which pictures make a batch."""

from __future__ import annotations

import numpy as np

from cardigan_reco.training.sampling import classes


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
