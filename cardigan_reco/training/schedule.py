"""What changes in the course of a run: learning rate and picture size."""

from __future__ import annotations

import math

WARM_UP_STEPS = 300
LAST = 0.004
"""The learning rate ends at this share of its peak."""


def learning_rate(peak: float, step: int, steps: int) -> float:
    """Returns the rate of a step: a linear rise, then a cosine down to almost nothing."""
    rise = min(1.0, (step + 1) / min(WARM_UP_STEPS, max(1, steps // 10)))
    return peak * rise * (LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def size(sizes: tuple[int, ...], step: int, steps: int) -> int:
    """Returns the side in pixels of a step's pictures."""
    return sizes[min(len(sizes) - 1, step * len(sizes) // steps)]
