"""Pillow at work: from a file's bytes to pixels, upright and in RGB."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError

from . import containers
from .exceptions import ImageError, TooManyPixels

MIN_SIDE = 8
"""Pixels that the short side has at least; smaller ones are tracking pixels, not pictures."""
MAX_SIDE_RATIO = 20
"""The long side is at most so many times the short one."""

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


def decode(
    data: bytes, *, max_pixels: int, min_side: int | None, spare_memory: bool = False
) -> Image.Image:
    """Returns the picture upright, in RGB, on white where it is transparent.

    `max_pixels` is checked before anything is decoded. `min_side`, `spare_memory` and what is
    raised are as in `images.load()`.
    """
    container = containers.examine(data)
    if spare_memory and container.format == "WEBP":
        max_pixels //= 2  # Pillow takes every WebP for an animation, with two canvases more.
    _check_size(container.size, max_pixels)
    try:
        with Image.open(BytesIO(container.data), formats=[container.format]) as image:
            _check_size(image.size, max_pixels)
            if min_side is not None:
                image.draft(None, (2 * min_side, 2 * min_side))
            image.load()
            upright = _UPRIGHT.get(container.orientation)
            rgb = _to_rgb(image, min_side, inverted=not container.adobe)
            return rgb if upright is None else rgb.transpose(upright)
    except _PILLOW_ERRORS as error:
        # Pillow's text about what it can't identify has an address of this process's memory.
        unknown = isinstance(error, UnidentifiedImageError)
        cause = "its header is wrong" if unknown else str(error)
        raise ImageError(
            f"The {container.format} can't be decoded ({cause}). It is damaged or truncated: "
            "save it again or upload another."
        ) from error


def cropped(image: Image.Image, crop: tuple[float, float, float, float]) -> Image.Image:
    """Returns the part between left, top, right and bottom, as shares of the sides.

    Raises ImageError when that is smaller than a picture may be, TooManyPixels when it is longer.
    """
    left, right = (round(crop[place] * image.width) for place in (0, 2))
    top, bottom = (round(crop[place] * image.height) for place in (1, 3))
    width, height = right - left, bottom - top
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"The chosen part has {width} x {height} pixels. Each side needs at least "
            f"{MIN_SIDE}: choose a larger part."
        )
    if max(width, height) > MAX_SIDE_RATIO * min(width, height):
        raise TooManyPixels(
            f"The chosen part has {width} x {height} pixels. The long side may be at most "
            f"{MAX_SIDE_RATIO} times the short one: choose another part."
        )
    return image.crop((left, top, right, bottom))


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
        if strip.mode != "L" or strip.has_transparency_data:  # Grey is a third of RGB's work.
            strip = _flatten(strip)
        if factor > 1:
            strip = strip.reduce(factor)
        copy.paste(strip, (0, top // factor))
    return copy


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    # Pillow's convert() clips 16-bit greys to 255 where it should divide them.
    pixels = np.asarray(image)
    grey = (pixels // 257).astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[pixels == transparent] = 255
    return Image.fromarray(grey)
