"""Bytes to a picture that is safe to work with, and the digest that names them."""

from __future__ import annotations

import hashlib
import math
import re
import struct
import zlib
from io import BytesIO
from typing import Protocol

import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError

from . import conf, containers
from .exceptions import ImageError, ImageTooLarge, TooManyPixels

MIN_SIDE = 8
"""Pixels that the short side has at least; smaller ones are tracking pixels, not pictures."""
MAX_SIDE_RATIO = 20
"""The long side is at most so many times the short one."""

_SHARE = re.compile(r"[0-9]{1,20}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")
_STRIP_PIXELS = 1_000_000
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow lets out for damaged files. MemoryError isn't the picture's fault: sizes are bounded.
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


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


def load(data: bytes, *, min_side: int | None = None, crop: Crop | None = None) -> Image.Image:
    """Returns the picture upright, in RGB, on white where it is transparent; with `crop` a part.

    `data` is a JPEG, PNG or WebP file; of an animation the first (WebP) or default (PNG) picture
    counts. With `min_side`, pixels, the picture may come out smaller, its short side at
    least twice that: much faster for large ones, and enough for a network of that input size.
    `crop` is of the upright picture, and its part comes out so large.

    Raises ValueError for a crop that is no part of a picture, ImageTooLarge, UnsupportedFormat,
    TooManyPixels, and ImageError, the base of these, for whatever is damaged, too small or hostile.
    Nothing is decoded before the size is checked.
    """
    limits = conf.current()
    if crop is not None:
        check_crop(crop)
        if min_side is not None:
            left, top, right, bottom = crop
            min_side = math.ceil(min_side / min(right - left, bottom - top))
    _check_bytes(len(data), limits.max_image_bytes)
    container = containers.examine(data)
    _check_size(container.size, limits.max_image_pixels)
    try:
        with Image.open(BytesIO(container.data), formats=[container.format]) as image:
            _check_size(image.size, limits.max_image_pixels)
            if min_side is not None:
                image.draft(None, (2 * min_side, 2 * min_side))
            image.load()
            upright = _UPRIGHT.get(container.orientation)
            rgb = _to_rgb(image, min_side, inverted=not container.adobe)
            if upright is not None:
                rgb = rgb.transpose(upright)
            return rgb if crop is None else _cropped(rgb, crop)
    except _PILLOW_ERRORS as error:
        # Pillow's text about what it can't identify has an address of this process's memory.
        unknown = isinstance(error, UnidentifiedImageError)
        cause = "its header is wrong" if unknown else str(error)
        raise ImageError(
            f"The {container.format} can't be decoded ({cause}). It is damaged or truncated: "
            "save it again or upload another."
        ) from error


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


def _cropped(image: Image.Image, crop: Crop) -> Image.Image:
    left, right = (round(crop[place] * image.width) for place in (0, 2))
    top, bottom = (round(crop[place] * image.height) for place in (1, 3))
    if min(right - left, bottom - top) < MIN_SIDE:
        raise ImageError(
            f"The chosen part has {right - left} x {bottom - top} pixels. Each side needs at least "
            f"{MIN_SIDE}: choose a larger part."
        )
    return image.crop((left, top, right, bottom))


def _check_bytes(length: int, limit: int) -> None:
    if length > limit:
        raise ImageTooLarge(f"The file has more than the {limit} bytes that are allowed.")


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise TooManyPixels(
            f"The picture has {width} x {height} pixels, more than the {max_pixels} that are "
            "allowed. Make it smaller."
        )
    if min(size) < MIN_SIDE:
        raise ImageError(
            f"The picture has {width} x {height} pixels. Each side needs at least {MIN_SIDE}."
        )
    if max(size) > MAX_SIDE_RATIO * min(size):
        raise TooManyPixels(
            f"The picture has {width} x {height} pixels. The long side may be at most "
            f"{MAX_SIDE_RATIO} times the short one: crop it."
        )


def _to_rgb(image: Image.Image, min_side: int | None, *, inverted: bool) -> Image.Image:
    """Returns a smaller RGB copy, made in strips so that one full-sized picture is held, not four.

    `inverted`: CMYK values are to be inverted; Pillow takes every CMYK JPEG for Adobe's.
    """
    factor = max(1, min(image.size) // (2 * min_side)) if min_side else 1
    width, height = image.size
    rows = factor * max(1, _STRIP_PIXELS // (width * factor))
    copy = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        if strip.mode == "CMYK" and inverted:
            strip = ImageChops.invert(strip)
        if strip.mode == "L" and not strip.has_transparency_data:  # A third of RGB's work.
            strip = strip.reduce(factor)
        else:
            strip = _flatten(strip).reduce(factor)
        copy.paste(strip, (0, top // factor))
    return copy


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    # Pillow's convert() clips 16-bit greys to 255 where it should divide them.
    pixels = np.asarray(image)
    grey = (pixels // 257).astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[pixels == transparent] = 255
    return Image.fromarray(grey)
