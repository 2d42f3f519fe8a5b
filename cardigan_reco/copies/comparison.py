"""From two descriptors to how likely their pictures are one photo, and what was changed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np

from . import Change, Comparison, Descriptor, agreement, alignment, calibration
from .agreement import Agreement
from .alignment import Alignment
from .description import View, view

NOTHING = Comparison(0.0)
LIKELY = 0.3
"""Probability from which changes are looked for."""
TWIN_QUALITY, TWIN_CORRELATION = 0.75, 0.85
MIN_DEGREES = 1.0
MAX_CROPPED = 0.93
"""Share of a content that the other shows, above which nothing is called cropped."""
MIN_MARGIN = 0.15
"""Share of a picture by which its margins are wider."""
MAX_RESIZED = 0.8
MIN_LIGHTER, MAX_GAIN = 8.0, 1.08
MIDDLE = 128
MIN_COVERED = 0.06
"""Share of the detail that is missing or new from which something was laid over the photo."""


def compare(first: Descriptor, second: Descriptor) -> Comparison:
    """Returns how likely two pictures are one photo, whichever comes first."""
    swapped = second.data < first.data
    one, other = (second, first) if swapped else (first, second)
    found = examine(view(one.data), view(other.data))
    if found is None:
        return NOTHING
    aligned, agreed = found
    probability = calibration.probability(calibration.measures(aligned, agreed))
    if probability < LIKELY:
        twins = aligned.quality > TWIN_QUALITY and agreed.correlation > TWIN_CORRELATION
        return Comparison(probability, is_twin=twins)
    return Comparison(probability, tuple(_changes(aligned, agreed)))


def examine(first: View, second: View) -> tuple[Alignment, Agreement] | None:
    """Returns how two pictures lie on one another and how far they agree, the larger of the two
    laid on the smaller; None: not at all.
    """
    aligned = alignment.align(first, second)
    if aligned is None:
        return None
    if alignment.scale(aligned.matrix, aligned.first, aligned.second) > 1:
        back = cv2.invertAffineTransform(aligned.matrix)
        aligned = Alignment(
            aligned.second, aligned.first, back, aligned.is_mirrored, aligned.quality
        )
    first, second = aligned.first, aligned.second
    matrix = alignment.between(aligned.matrix, first.fine_grey, second.fine_grey)
    agreed = agreement.examine(
        (first.fine, first.fine_grey), (second.fine, second.fine_grey), matrix
    )
    return None if agreed is None else (aligned, agreed)


def _changes(aligned: Alignment, agreed: Agreement) -> Iterator[Change]:
    """Yields what tells the two apart, by the codes of `duplicates.reasons`."""
    if aligned.is_mirrored:
        yield Change("mirrored")
    first, second = aligned.first, aligned.second
    matrix = alignment.between(aligned.matrix, first.pixels, second.pixels)
    degrees = abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    if degrees > MIN_DEGREES:
        yield Change("rotated", round(float(degrees), 1))
    share = min(agreed.first_share, agreed.second_share)
    if share < MAX_CROPPED:
        yield Change("cropped", round(share, 2))
    margins = sorted(_margins(one) for one in (first, second))
    if margins[1] - margins[0] > MIN_MARGIN:
        yield Change("padded", round(margins[1] - margins[0], 2))
    scale = alignment.scale(aligned.matrix, first, second)
    zoom = math.sqrt(scale) * _pixels(second) / _pixels(first)
    smaller = min(zoom, 1 / zoom)
    if smaller < MAX_RESIZED:
        yield Change("resized", round(smaller, 2))
    lighter = agreed.gain * MIDDLE + agreed.offset - MIDDLE
    if abs(lighter) > MIN_LIGHTER or not 1 / MAX_GAIN < agreed.gain < MAX_GAIN:
        yield Change("brightness", round(abs(lighter) / 255, 2))
    covered = max(1 - min(agreed.first_detail, agreed.second_detail), agreed.flat_difference)
    if covered > MIN_COVERED:
        yield Change("covered", round(covered, 2))


def _margins(one: View) -> float:
    frame = one.frame
    content = (frame.right - frame.left) * (frame.bottom - frame.top)
    return 1 - content / (frame.width * frame.height)


def _pixels(one: View) -> float:
    """Returns how many pixels of the file one pixel of the content stands for."""
    frame = one.frame
    share = (frame.right - frame.left) / frame.width
    return float(one.pixels_wide * share / one.width)
