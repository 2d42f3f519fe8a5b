"""Picture files that tests make for themselves, hand-made where Pillow can't write them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from io import BytesIO

from PIL import Image

RED = (200, 30, 40)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """Returns the file that Pillow writes for the picture."""
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def plain(colour: tuple[int, int, int] = RED, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Returns an RGB picture of one colour."""
    return Image.new("RGB", size, colour)


def halves(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Returns a picture whose left half is red and whose right half is blue."""
    image = Image.new("RGB", size, "blue")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    return image


def noise(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Returns a colourful picture that compresses badly; not the same on every call."""
    return Image.merge("RGB", [Image.effect_noise(size, 80) for _ in range(3)])


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Returns a chunk with its length and checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(
    size: tuple[int, int],
    *,
    depth: int,
    colour: int,
    pixel: bytes = b"\0",
    chunks: Iterable[tuple[bytes, bytes]] = (),
    repeat: bool = True,
) -> bytes:
    """Returns a PNG of one pixel value; `chunks` come before the pixels.

    Below 8 bits a `pixel` is a byte of several. Without `repeat` the pixels are left out.
    """
    width, height = size
    packer = zlib.compressobj(1)
    packed = bytearray()
    if repeat:
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
        row = b"\0" + pixel * (-(-width * depth * channels // 8) // len(pixel))
        for _ in range(height):
            packed += packer.compress(row)
    packed += packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pieces = [(b"IHDR", header), *chunks, (b"IDAT", bytes(packed)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*piece) for piece in pieces)


def with_app1(jpeg: bytes, exif: bytes) -> bytes:
    """Returns the JPEG with an EXIF block of these bytes, which may be any."""
    body = b"Exif\0\0" + exif
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
