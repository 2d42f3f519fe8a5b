"""Photographs that are covered in part by others: CutMix (arXiv 1905.04899)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .sampling import Rows

SHARE = 0.4
"""Of the photographs that may be covered."""


class Cover(NamedTuple):
    """A square of a picture that shows another one of the batch."""

    place: int
    other: int
    top: float
    left: float
    side: float
    """These three as shares of the picture's side."""
    prevails: bool
    """Whether the picture is learned as the other one."""


def draw(may: NDArray[np.bool_], *, seed: int, processes: int) -> list[Cover]:
    """Returns covers for some of the pictures of a batch that `may` be covered, by others of them.

    A picture is learned as the other one as often as is its share of the area: on the average over
    the steps that is CutMix's mixed label. Both are pictures of one process.
    """
    random = np.random.default_rng(seed)
    places = np.flatnonzero(may)
    covers = []
    for place in places[random.random(len(places)) < SHARE].tolist():
        others = places[(places % processes == place % processes) & (places != place)]
        if len(others):
            area = random.random()
            side = area**0.5
            top, left = random.random(2) * (1 - side)
            other = int(random.choice(others))
            covers.append(Cover(place, other, top, left, side, bool(random.random() < area)))
    return covers


def learned_as(rows: Rows, covers: Sequence[Cover]) -> Rows:
    """Returns the rows of a batch with those of the pictures that prevail."""
    result = rows.copy()
    for cover in covers:
        if cover.prevails:
            result[cover.place] = rows[cover.other]
    return result


def apply(pictures: Tensor, covers: Sequence[Cover], *, rank: int, processes: int) -> Tensor:
    """Returns the pictures (n, 3, side, side) that were dealt to a process, covered."""
    result = pictures.clone()
    whole = pictures.shape[-1]
    for cover in covers:
        if cover.place % processes == rank:
            side, top, left = (round(whole * part) for part in (cover.side, cover.top, cover.left))
            part = (..., slice(top, top + side), slice(left, left + side))
            result[cover.place // processes][part] = pictures[cover.other // processes][part]
    return result
