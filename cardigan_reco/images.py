"""Bytes to a picture that is safe to work with, and the digest that names them."""

from __future__ import annotations

import hashlib
import math
import re
from typing import TYPE_CHECKING, Protocol

from . import conf
from .exceptions import ImageTooLarge

if TYPE_CHECKING:
    from PIL import Image

_SHARE = re.compile(r"[0-9]{1,20}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")

Crop = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a picture, as shares of its sides."""


class Readable(Protocol):
    """A binary file, Django's File included."""

    def read(self, size: int, /) -> bytes:
        """Returns at most `size` bytes, and b"" at the end."""
        ...


def digest(data: bytes) -> str:
    """Returns the SHA-256 of a picture's bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def read(file: Readable) -> bytes:
    """Returns the whole file, and never holds more than one byte above MAX_IMAGE_BYTES.

    Raises ImageTooLarge when the file is longer.
    """
    limit = conf.current().max_image_bytes
    parts: list[bytes] = []
    length = 0
    while length <= limit and (more := file.read(limit + 1 - length)):
        parts.append(more)
        length += len(more)
    _check_bytes(length, limit)
    return b"".join(parts)  # Of one part it is that part, not a copy.


def load(
    data: bytes,
    *,
    min_side: int | None = None,
    crop: Crop | None = None,
    spare_memory: bool = False,
) -> Image.Image:
    """Returns the picture upright, in RGB, on white where it is transparent; with `crop` a part.

    `data` is a JPEG, PNG or WebP file; of an animation the first (WebP) or default (PNG) picture
    counts. With `min_side`, pixels, the picture may come out smaller, its short side at
    least twice that: much faster for large ones, and enough for a network of that input size.
    `crop` is of the upright picture, and its part comes out so large. Decoding takes up to 12 bytes
    a pixel, about 300 MiB by default; a WebP takes twice that, or with `spare_memory` may have half
    of MAX_IMAGE_PIXELS only.

    Raises ValueError for a crop that is no part of a picture, ImageTooLarge, UnsupportedFormat,
    TooManyPixels, and ImageError, the base of these, for whatever is damaged, too small or hostile.
    Nothing is decoded before the size is checked.
    """
    from . import decoding  # It imports Pillow and numpy, for which web pages needn't wait.

    limits = conf.current()
    if crop is not None:
        check_crop(crop)
        if min_side is not None:
            left, top, right, bottom = crop
            wanted = min_side / min(right - left, bottom - top)  # Infinite for the least floats.
            min_side = math.ceil(min(wanted, limits.max_image_pixels))
    _check_bytes(len(data), limits.max_image_bytes)
    image = decoding.decode(
        data, max_pixels=limits.max_image_pixels, min_side=min_side, spare_memory=spare_memory
    )
    return image if crop is None else decoding.cropped(image, crop)


def check_crop(crop: Crop) -> None:
    """Raises ValueError unless left < right and top < bottom, from 0 to 1."""
    left, top, right, bottom = crop
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError(
            f"crop is {crop}. It must be left, top, right and bottom as shares of the sides from "
            "0 to 1, left < right and top < bottom."
        )


def parse_crop(text: str) -> Crop:
    """Returns the crop that "left,top,right,bottom" names; raises ValueError."""
    parts = text.split(",")
    if len(parts) != 4 or not all(_SHARE.fullmatch(part) for part in parts):
        raise ValueError(
            "crop must be left,top,right,bottom as shares of the sides, such as 0.1,0.2,0.9,0.8, "
            f"got {text[:50]!r}."
        )
    left, top, right, bottom = map(float, parts)
    check_crop(crop := (left, top, right, bottom))
    return crop


def _check_bytes(length: int, limit: int) -> None:
    if length > limit:
        raise ImageTooLarge(f"The file has more than the {limit} bytes that are allowed.")
