"""From a picture to its descriptor, and back to what a comparison looks at."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from cv2.typing import MatLike
from PIL import Image

from . import SIDE, DamagedDescriptor, Descriptor

MAX_BYTES = 4096
QUALITIES = (80, 65, 50, 35, 20, 10, 1)
"""Of the JPEG in a descriptor: the first that leaves it small enough."""
MARGIN_LEVELS = 20
"""By which the pixels of a margin differ from its colour at most."""
MARGIN_SHARE = 0.02
"""Of a margin's row or column that may differ by more."""
MIN_CONTENT = 1 / 8
"""Of each side: what is less is no content, but specks."""
KEYPOINTS = 120
"""Local features that are kept of a picture."""
CONTRAST, MAX_CONTRAST = 40.0, 5.0
"""Standard deviation of the levels that is aimed at, and by how much they are spread at most."""
FINE, ROUGH, TINY = 96, 48, 32
"""Pixels of the long side at which two pictures are laid over one another: to judge how far they
agree, to try out how they lie, and to search one in the other."""

_HEADER = struct.Struct("<8H")
_MAX_PIXELS = 2**16 - 1


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the content lies in the whole picture, in pixels of some size."""

    left: int
    top: int
    right: int
    bottom: int
    width: int
    height: int

    @property
    def is_possible(self) -> bool:
        return self.left < self.right <= self.width and self.top < self.bottom <= self.height

    @property
    def mirrored(self) -> Frame:
        left, right = self.width - self.right, self.width - self.left
        return Frame(left, self.top, right, self.bottom, self.width, self.height)


class View:
    """The content of a picture, as a descriptor keeps it, with what is computed of it once."""

    def __init__(self, pixels: MatLike, frame: Frame, pixels_wide: int) -> None:
        self.pixels = pixels
        """Blue, green, red."""
        self.frame = frame
        self.pixels_wide = pixels_wide
        """Of the file's picture."""
        self.height, self.width = pixels.shape[:2]

    @cached_property
    def mirror(self) -> View:
        return View(
            np.ascontiguousarray(self.pixels[:, ::-1]), self.frame.mirrored, self.pixels_wide
        )

    @cached_property
    def grey(self) -> MatLike:
        return cv2.cvtColor(self.pixels, cv2.COLOR_BGR2GRAY)

    @cached_property
    def features(self) -> tuple[MatLike, MatLike]:
        """The places of its local features (ORB), and their binary descriptors."""
        orb = cv2.ORB.create(
            KEYPOINTS, scaleFactor=1.3, nlevels=4, edgeThreshold=15, patchSize=15, fastThreshold=8
        )
        points, descriptors = orb.detectAndCompute(self.grey, None)
        if not points:
            return np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8)
        return np.array([point.pt for point in points], np.float32), descriptors

    @cached_property
    def fine(self) -> MatLike:
        """Colours from 0 to 255 with the noise of the JPEG smoothed away."""
        return cv2.blur(_fitted(self.pixels, FINE), (3, 3)).astype(np.float32)

    @cached_property
    def fine_grey(self) -> MatLike:
        return _contrasted(cv2.transform(self.fine, np.full((1, 3), 1 / 3, np.float32)))

    @cached_property
    def rough(self) -> MatLike:
        return _contrasted(_fitted(self.grey, ROUGH).astype(np.float32))

    @cached_property
    def tiny(self) -> MatLike:
        return _fitted(self.grey, TINY)


def describe(image: Image.Image) -> Descriptor:
    """Returns the descriptor of an RGB picture."""
    pixels: MatLike = np.asarray(image)
    if max(image.size) > 2 * SIDE:
        pixels = _fitted(pixels, 2 * SIDE)
    frame = _frame(pixels)
    content = _fitted(pixels[frame.top : frame.bottom, frame.left : frame.right], SIDE)
    grey = cv2.cvtColor(content, cv2.COLOR_RGB2GRAY)
    return Descriptor(
        _hash(grey),
        _hash(cv2.flip(grey, 1)),
        _packed(content, frame, min(image.width, _MAX_PIXELS)),
    )


@lru_cache(maxsize=256)
def view(data: bytes) -> View:
    """Returns what the data of a descriptor shows; raises DamagedDescriptor, a ValueError."""
    if len(data) <= _HEADER.size:
        raise DamagedDescriptor(f"it has {len(data)} bytes", data)
    *sides, pixels_wide, _reserved = _HEADER.unpack_from(data)
    frame = Frame(*sides)
    if not (pixels_wide and frame.is_possible):
        raise DamagedDescriptor(f"it has {frame}, {pixels_wide} pixels wide", data)
    try:
        file = np.frombuffer(data, np.uint8, offset=_HEADER.size)
        pixels = cv2.imdecode(file, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DamagedDescriptor(str(error), data) from error
    if pixels is None or max(pixels.shape[:2]) != SIDE:
        raise DamagedDescriptor(f"it holds no picture of {SIDE} pixels", data)
    return View(pixels, frame, pixels_wide)


def _packed(content: MatLike, frame: Frame, pixels_wide: int) -> bytes:
    header = _HEADER.pack(
        frame.left, frame.top, frame.right, frame.bottom, frame.width, frame.height, pixels_wide, 0
    )
    bgr = cv2.cvtColor(content, cv2.COLOR_RGB2BGR)
    for quality in QUALITIES:
        _done, file = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if len(header) + len(file) <= MAX_BYTES:
            break
    return header + file.tobytes()


def _fitted(pixels: MatLike, side: int) -> MatLike:
    """Returns a picture with a long side of so many pixels."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _contrasted(grey: MatLike) -> MatLike:
    """Returns levels with the contrast of a normal picture, so that faint detail counts as well."""
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
    gain = min(MAX_CONTRAST, max(1.0, CONTRAST / max(deviation, 1e-6)))
    spread: MatLike = np.clip((grey - mean) * gain + 128, 0, 255)
    return spread


def _frame(pixels: MatLike) -> Frame:
    """Returns where the content is: what is left without margins of one colour, such as a border
    and the white within it.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = 0, 0, width, height
    for _layer in range(2):
        inner = pixels[top:bottom, left:right]
        edge = np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]])
        colour = np.median(edge, axis=0)
        margin = cv2.inRange(inner, colour - MARGIN_LEVELS, colour + MARGIN_LEVELS)
        rows, columns = (
            np.flatnonzero(cv2.reduce(margin, way, cv2.REDUCE_AVG, dtype=cv2.CV_32F) < least)
            for way, least in ((1, 255 * (1 - MARGIN_SHARE)), (0, 255 * (1 - MARGIN_SHARE)))
        )
        if _too_few(rows, inner.shape[0]) or _too_few(columns, inner.shape[1]):
            break
        right, bottom = left + int(columns[-1]) + 1, top + int(rows[-1]) + 1
        left, top = left + int(columns[0]), top + int(rows[0])
    return Frame(left, top, right, bottom, width, height)


def _too_few(found: MatLike, of: int) -> bool:
    return found.size < max(8, MIN_CONTENT * of)


def _hash(grey: MatLike) -> int:
    """Returns a picture's pHash: which of its low frequencies are above their median.

    These lines stand in for ImageHash, which brings SciPy and PyWavelets for one transform.
    """
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    bits = np.packbits(low > np.median(low[1:]))
    return int.from_bytes(bits.tobytes(), "big", signed=True)
