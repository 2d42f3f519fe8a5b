"""How far two pictures agree that lie on one another: in detail, block by block, and in colour."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from cv2.typing import MatLike

ROUGH_BLOCK, BLOCK = 6, 8
"""Pixels of the side of a block, for a rough look and a close one."""
DETAIL = 12.0
"""Variance of the levels in a block from which it shows detail; below, it is flat."""
NOISE = 6.0
"""Variance of the levels that says nothing."""
SAME = 0.7
"""Correlation from which the detail in a block is the same."""
MIN_SHARE, MIN_OTHER_SHARE = 0.55, 0.15
"""Of either content, and of both: what overlaps at least."""
MIN_BLOCKS = 6
COLOURED = 20.0
"""Distance from grey, in levels, of what has a colour."""
OTHER_COLOUR = 14.0
"""Distance, in levels, between colours that differ."""
SATURATED = 247
"""Level from which a brighter picture tells nothing any more."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the blocks say in which both pictures are seen."""

    first_detail: float
    """Share of the first's detail that the second has too."""
    second_detail: float
    detailed: int
    """Blocks in which both have detail."""
    correlation: float
    """Mean correlation of the levels where both have detail."""
    first_share: float
    """Share of the first's content that lies on the second's."""
    second_share: float
    detail_hue: float
    """Of the blocks with the same detail, the distance in hue that 80% don't exceed, in levels."""
    most_detail_hue: float
    """The same, that 95% don't exceed: a small part in another colour."""
    hue: float
    """Median distance in hue of the blocks that match, flat ones included."""
    brightness: float
    """Of the blocks that match, the distance in brightness that 80% don't exceed."""
    recoloured: float
    """Share of the blocks that match, but for their hue."""
    flat_difference: float
    """Share of the blocks that are flat in both and have another colour or brightness."""
    relative_hue: float
    """Median distance in hue of what is coloured, as a share of the distance from grey."""
    coloured: int
    """Blocks that have a colour."""
    gain: float
    """What the levels of the first are multiplied with."""
    offset: float
    """What is then added to them."""


def quality(first: MatLike, second: MatLike, matrix: MatLike) -> float:
    """Returns how far two grey pictures agree, roughly, 0 to 1; the matrix lays the first on the
    second.
    """
    blocks = _Blocks(first, second, matrix, ROUGH_BLOCK)
    if not blocks.overlap or blocks.count < 4:
        return 0.0
    first_detail, second_detail, correlation, detailed = blocks.detail()
    agreed = max(first_detail, second_detail) * max(correlation, 0.0)
    whole = min(1.0, 0.6 + 0.4 * max(blocks.first_share, blocks.second_share))
    return float(agreed * whole * min(1.0, detailed / 6))


def examine(
    first: tuple[MatLike, MatLike], second: tuple[MatLike, MatLike], matrix: MatLike
) -> Agreement | None:
    """Returns how far two pictures agree, each given in colour and in grey; None: they overlap too
    little.
    """
    blocks = _Blocks(first[1], second[1], matrix, BLOCK)
    if blocks.count < MIN_BLOCKS:
        return None
    first_detail, second_detail, correlation, detailed = blocks.detail()
    own, other = blocks.colours(first[0], second[0])
    flat = np.maximum(blocks.first_variance, blocks.second_variance) < DETAIL
    match = (blocks.correlation > 0.5) | flat
    if match.sum() < 4:
        match = np.ones_like(match)
    gain, offset = _light(own, other, match)
    difference = other - np.clip(gain * own + offset, 0, 255)
    brightness = np.abs(difference.mean(axis=1))
    hue = np.sqrt(np.square(difference - difference.mean(axis=1, keepdims=True)).sum(axis=1))
    saturation = np.maximum(gain * _saturation(own), _saturation(other))
    same = (blocks.correlation > SAME) & (
        np.minimum(blocks.first_variance, blocks.second_variance) > DETAIL
    )
    coloured = match & (saturation > COLOURED)
    return Agreement(
        first_detail=first_detail,
        second_detail=second_detail,
        detailed=detailed,
        correlation=correlation,
        first_share=blocks.first_share,
        second_share=blocks.second_share,
        detail_hue=_quantile(hue[same], 0.8, 16.0),
        most_detail_hue=_quantile(hue[same], 0.95, 20.0),
        hue=_quantile(hue[match], 0.5, 12.0),
        brightness=_quantile(brightness[match], 0.8, 20.0),
        recoloured=_share(hue[match] > OTHER_COLOUR),
        flat_difference=_share(np.abs(difference[flat]).max(axis=1) > OTHER_COLOUR),
        relative_hue=_quantile((hue / np.maximum(saturation, COLOURED))[coloured], 0.5, 0.0),
        coloured=int(coloured.sum()),
        gain=gain,
        offset=offset,
    )


class _Blocks:
    """The second picture, in blocks, and what of the first lies on each."""

    def __init__(self, first: MatLike, second: MatLike, matrix: MatLike, side: int) -> None:
        height, width = second.shape[:2]
        self.matrix = matrix
        self.size = (width, height)
        self.blocks = (max(1, width // side), max(1, height // side))
        laid = cv2.warpAffine(first, matrix, self.size, borderValue=-1e4)
        seen = (laid >= -0.5).astype(np.float32)
        laid = laid * seen
        means = self._means(cv2.merge([seen, laid, laid * laid]))
        others = self._means(cv2.merge([second, second * second, laid * second]))
        self.whole = means[..., 0] > 0.95
        """Blocks that the first picture covers."""
        self.count = int(self.whole.sum())
        area = float(seen.sum())
        scale = abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])
        self.second_share = area / second.size
        self.first_share = min(1.0, area / max(1e-6, scale * first.size))
        _seen, own, own_squared = means[self.whole].T
        other, other_squared, product = others[self.whole].T
        self.first_variance = np.maximum(own_squared - own * own, 0)
        self.second_variance = np.maximum(other_squared - other * other, 0)
        self.correlation = (product - own * other) / np.sqrt(
            (self.first_variance + NOISE) * (self.second_variance + NOISE)
        )

    @property
    def overlap(self) -> bool:
        """Whether enough of the pictures lies on one another."""
        shares = self.first_share, self.second_share
        return bool(max(shares) >= MIN_SHARE and min(shares) >= MIN_OTHER_SHARE)

    def detail(self) -> tuple[float, float, float, int]:
        """Returns the shares of detail that the pictures have in common, the mean correlation, and
        the number of blocks in which both have detail.
        """
        own, other = (
            np.sqrt(variance) * (variance > DETAIL)
            for variance in (self.first_variance, self.second_variance)
        )
        both = np.minimum(own, other)
        same = self.correlation > SAME
        return (
            float((own * same).sum() / (own.sum() + 1e-6)),
            float((other * same).sum() / (other.sum() + 1e-6)),
            float((both * self.correlation).sum() / (both.sum() + 1e-6)),
            int(np.count_nonzero(both)),
        )

    def colours(self, first: MatLike, second: MatLike) -> tuple[MatLike, MatLike]:
        """Returns the mean colours of the blocks that the first picture covers."""
        laid = cv2.warpAffine(first, self.matrix, self.size, borderMode=cv2.BORDER_REPLICATE)
        return self._means(laid)[self.whole], self._means(second)[self.whole]

    def _means(self, values: MatLike) -> MatLike:
        means = cv2.resize(values, self.blocks, interpolation=cv2.INTER_AREA)
        return means if means.ndim == values.ndim else means[..., np.newaxis]


def _light(first: MatLike, second: MatLike, match: MatLike) -> tuple[float, float]:
    """Returns the gain and offset, the same for all three colours, that brings the first's colours
    nearest to the second's. What is covered or clipped in one of the two doesn't count.
    """
    clipped = (first.mean(axis=1) >= SATURATED) | (second.mean(axis=1) >= SATURATED)
    found: list[tuple[float, float, float]] = []
    for used in (match, match & ~clipped):
        if used.sum() < 4:
            continue
        gain, offset = _line(first[used], second[used])
        for _round in range(2):
            away = np.abs(second - np.clip(gain * first + offset, 0, 255)).max(axis=1)
            near = used & (away <= max(8.0, _quantile(away[used], 0.75, 0.0)))
            if near.sum() >= 4:
                gain, offset = _line(first[near], second[near])
        away = np.abs(second - np.clip(gain * first + offset, 0, 255)).mean(axis=1)[match]
        found.append((float(np.minimum(away, 30).mean()), gain, offset))
    _away, gain, offset = min(found, default=(0.0, 1.0, 0.0))
    return gain, offset


def _line(first: MatLike, second: MatLike) -> tuple[float, float]:
    own, other = first.ravel(), second.ravel()
    mean, other_mean = float(own.mean()), float(other.mean())
    away = own - mean
    variance = float(away @ away) / own.size
    if variance < 30:
        return 1.0, other_mean - mean
    gain = min(2.5, max(0.4, float(away @ (other - other_mean)) / own.size / variance))
    return gain, other_mean - gain * mean


def _saturation(colours: MatLike) -> MatLike:
    away: MatLike = np.sqrt(np.square(colours - colours.mean(axis=1, keepdims=True)).sum(axis=1))
    return away


def _share(found: MatLike) -> float:
    """Returns the share of the blocks that are found; of very few, less."""
    return float(np.count_nonzero(found)) / (found.size + 2)


def _quantile(values: MatLike, share: float, default: float) -> float:
    """Returns a quantile; much faster than numpy's for few values."""
    if values.size < 3:
        return default
    place = int(share * (values.size - 1) + 0.5)
    return float(np.partition(values, place)[place])
