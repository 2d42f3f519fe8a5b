"""The chart of precision at thresholds: where its lines and words stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cardigan_reco.duplicates.thresholds import Row

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 68, 32, 16, 60
"""Margins, which the words of the axes stand in."""
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Tick:
    at: float
    percent: int


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    row: Row


@dataclass(frozen=True)
class Chart:
    """All in the units of an SVG that is `width` by `height`."""

    dots: list[Dot]
    line: str
    """Points of the precision."""
    band: str
    """Points around its interval."""
    across: list[Tick]
    up: list[Tick]
    chosen: float
    """Where the threshold in force stands."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def draw(rows: Sequence[Row], threshold: float) -> Chart | None:
    """Returns the chart of the thresholds that something is known of; None: there are none."""
    dots, low, high = [], [], []
    for row in rows:
        if row.precision is None or row.low is None or row.high is None:
            continue
        dots.append(Dot(_x(row.threshold), _y(row.precision), row))
        low.append(f"{_x(row.threshold)},{_y(row.low)}")
        high.append(f"{_x(row.threshold)},{_y(row.high)}")
    if not dots:
        return None
    return Chart(
        dots=dots,
        line=" ".join(f"{dot.x},{dot.y}" for dot in dots),
        band=" ".join([*high, *low[::-1]]),
        across=[Tick(_x(share), round(100 * share)) for share in TICKS],
        up=[Tick(_y(share), round(100 * share)) for share in TICKS],
        chosen=_x(threshold),
    )


def _x(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)
