"""How one picture lies on another, if both show one photo."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from cv2.typing import MatLike

from . import agreement
from .description import Frame, View

SURE = 0.95
"""Agreement at which no other way of laying the pictures is tried."""
POOR = 0.4
"""Agreement below which the pictures have nothing to do with each other."""
MAX_STRETCH = 1.12
"""Width to height of one photo, by that of the other: what is more isn't taken for one."""
MAX_REFINED_STRETCH = 1.25
SCALES = (0.58, 0.69, 0.83, 1.0)
"""At which one picture is searched in the other, as shares of the largest that fits."""
MAX_BITS = 64
"""Bits in which the descriptors of one local feature differ at most."""
MIN_FOUND = 0.6
"""Correlation from which one picture is taken to be found in the other."""
RATIO = 0.85
"""A feature's nearest match must be so much nearer than the next (Lowe, 2004)."""
MIN_MATCHES = 5
STEPS = 12
"""Of the refinement at most."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """The first picture laid on the second."""

    first: View
    """The first picture, or its mirror image."""
    second: View
    matrix: MatLike
    """Affine, 2 x 3: from shares of the sides of the first's content to shares of the second's."""
    is_mirrored: bool
    quality: float
    """How far the pictures then agree, roughly, 0 to 1."""


def align(first: View, second: View) -> Alignment | None:
    """Returns the way in which the pictures agree most; None: there is none worth a look."""
    best: Alignment | None = None
    for ways in (_frames, _by_features, _searched):
        for is_mirrored, own in ((False, first), (True, first.mirror)):
            for matrix in ways(own, second):
                quality = _quality(own, second, matrix)
                if best is None or quality > best.quality:
                    best = Alignment(own, second, matrix, is_mirrored, quality)
        if best is not None and best.quality >= SURE:
            break
    if best is None or best.quality < POOR:
        return None
    refined = _refined(best)
    return refined if refined.quality > best.quality else best


def between(matrix: MatLike, first: MatLike, second: MatLike) -> MatLike:
    """Returns a matrix for two pictures, of whatever size, from one for shares of their sides.

    What it takes and gives are places of pixels' centres, as OpenCV counts them.
    """
    (height, width), (other_height, other_width) = first.shape[:2], second.shape[:2]
    (a, b, across), (c, d, down) = matrix.tolist()
    a, b = a * other_width / width, b * other_width / height
    c, d = c * other_height / width, d * other_height / height
    across, down = across * other_width, down * other_height
    return np.array([[a, b, across + (a + b - 1) / 2], [c, d, down + (c + d - 1) / 2]])


def shares(matrix: MatLike, first: MatLike, second: MatLike) -> MatLike:
    """Returns the matrix for shares of the sides from one for two pictures; undoes between()."""
    (height, width), (other_height, other_width) = first.shape[:2], second.shape[:2]
    (a, b, across), (c, d, down) = matrix.tolist()
    across, down = across - (a + b - 1) / 2, down - (c + d - 1) / 2
    return np.array(
        [
            [a * width / other_width, b * height / other_width, across / other_width],
            [c * width / other_height, d * height / other_height, down / other_height],
        ]
    )


def stretch(matrix: MatLike, first: View, second: View) -> float:
    """Returns how much more a matrix for shares scales one direction than the other."""
    return _stretch(between(matrix, first.pixels, second.pixels))


def scale(matrix: MatLike, first: View, second: View) -> float:
    """Returns by how much a matrix for shares scales areas, in pixels of the contents."""
    return _scale(between(matrix, first.pixels, second.pixels))


def _stretch(matrix: MatLike) -> float:
    """Returns the larger singular value of the linear part by the smaller."""
    squares, area = float(np.square(matrix[:, :2]).sum()), _scale(matrix)
    if area < 1e-9:
        return math.inf
    return (squares + math.sqrt(max(squares**2 - 4 * area**2, 0))) / (2 * area)


def _scale(matrix: MatLike) -> float:
    (a, b, _across), (c, d, _down) = matrix.tolist()
    return float(abs(a * d - b * c))


def _quality(first: View, second: View, matrix: MatLike) -> float:
    laid = between(matrix, first.rough, second.rough)
    if _scale(laid) <= 1:
        return agreement.quality(first.rough, second.rough, laid)
    # The one that is seen larger is made smaller, never the other way.
    return agreement.quality(second.rough, first.rough, cv2.invertAffineTransform(laid))


def _frames(first: View, second: View) -> Iterator[MatLike]:
    """Yields the contents on one another, and the whole pictures."""
    matrices: list[MatLike] = [np.eye(3)]
    if first.frame != second.frame:
        matrices.append(np.linalg.inv(_placed(second.frame)) @ _placed(first.frame))
    for matrix in matrices:
        if stretch(matrix[:2], first, second) < MAX_STRETCH:
            yield matrix[:2]


def _placed(frame: Frame) -> MatLike:
    """Returns the matrix from shares of a content to shares of the whole picture."""
    across = [(frame.right - frame.left) / frame.width, 0, frame.left / frame.width]
    down = [0, (frame.bottom - frame.top) / frame.height, frame.top / frame.height]
    return np.array([across, down, [0, 0, 1]])


def _by_features(first: View, second: View) -> Iterator[MatLike]:
    """Yields the similarity that most of the matching local features follow."""
    (places, own), (other_places, other) = first.features, second.features
    if min(len(own), len(other)) < MIN_MATCHES:
        return
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(own, other, k=2)
    good = [
        (best.queryIdx, best.trainIdx)
        for best, next_best in pairs
        if best.distance < min(MAX_BITS, RATIO * next_best.distance)
    ]
    if len(good) < MIN_MATCHES:
        return
    chosen = np.array(good)
    matrix, _inliers = cv2.estimateAffinePartial2D(
        places[chosen[:, 0]],
        other_places[chosen[:, 1]],
        method=cv2.RANSAC,
        ransacReprojThreshold=3,
        maxIters=300,
        confidence=0.98,
        refineIters=5,
    )
    # None where the matches follow nothing; the stubs don't say so.
    if isinstance(matrix, np.ndarray) and 1 / 16 < _scale(matrix) < 16:
        yield shares(matrix, first.pixels, second.pixels)


def _searched(first: View, second: View) -> Iterator[MatLike]:
    """Yields where one picture is found in the other, as one that was cut out of it would be."""
    inside = _found(first, second)
    if inside is not None:
        yield inside
    around = _found(second, first)
    if around is not None:
        yield cv2.invertAffineTransform(around)


def _found(part: View, whole: View) -> MatLike | None:
    height, width = whole.tiny.shape[:2]
    most = min(width / part.width, height / part.height)
    best, matrix = MIN_FOUND, None
    for share in SCALES:
        size = round(part.width * most * share), round(part.height * most * share)
        if min(size) < 4:
            continue
        template = cv2.resize(part.tiny, size, interpolation=cv2.INTER_AREA)
        near = cv2.matchTemplate(whole.tiny, template, cv2.TM_CCOEFF_NORMED)
        _least, value, _where, (left, top) = cv2.minMaxLoc(near)
        if best < value <= 1.001:  # A template of one colour gives infinities.
            best = value
            across, down = [size[0] / width, 0, left / width], [0, size[1] / height, top / height]
            matrix = np.array([across, down])
    return matrix


def _refined(given: Alignment) -> Alignment:
    """Returns the alignment that correlates most nearby (ECC: Evangelidis and Psarakis, 2008)."""
    own, other = given.first.rough, given.second.rough
    laid = between(given.matrix, own, other)
    back: MatLike = cv2.invertAffineTransform(laid).astype(np.float32)
    everywhere = np.full(own.shape[:2], 255, np.uint8)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, STEPS, 1e-3)
    try:
        _value, back = cv2.findTransformECC(
            other, own, back, cv2.MOTION_AFFINE, criteria, everywhere, 3
        )
    except cv2.error:  # It doesn't converge.
        return given
    laid = cv2.invertAffineTransform(back)
    if not np.isfinite(laid).all() or _stretch(laid) > MAX_REFINED_STRETCH:
        return given
    matrix = shares(laid, own, other)
    return replace(given, matrix=matrix, quality=_quality(given.first, given.second, matrix))
