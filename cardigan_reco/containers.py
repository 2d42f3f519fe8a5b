"""What a picture file says of itself, read without decoding a pixel."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from .exceptions import ImageError, UnsupportedFormat

MAX_CHUNKS = 100_000
"""Chunks that a PNG or WebP file may have."""
MAX_SEGMENTS = 2_000
"""Segments that a JPEG file may have before its first scan, and again from there on."""
MAX_SCANS = 64
"""Scans of a progressive JPEG: encoders write about ten, and each costs a pass over all pixels."""
MAX_PROFILE_BYTES = 4 * 1024 * 1024
"""What the compressed texts and colour profile of a PNG may unpack to, all of them together."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ACCEPTED = "Save the picture as JPEG, PNG or WebP."
_OTHERS = (
    (b"GIF8", "a GIF"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"BM", "a BMP"),
    (b"8BPS", "a Photoshop file"),
    (b"%PDF", "a PDF"),
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\0\0\x01\0", "an icon"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (b"\x01\0\x09\0", "a Windows metafile"),
)
_HEIF_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "an AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "a HEIC"),
}
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
_JPEG_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_METADATA = {0xFE, *range(0xE1, 0xF0)} - {0xEE}


@dataclass(frozen=True)
class Container:
    """A picture file's header."""

    format: str
    """Pillow's name of the format: JPEG, PNG or WEBP."""
    size: tuple[int, int]
    """Width and height in pixels, as stored, that is before `orientation` is applied."""
    orientation: int
    """EXIF's 1 to 8; 1 (upright) where the file has none that makes sense."""
    adobe: bool
    """Whether a JPEG carries Adobe's marker: its CMYK values are then inverted."""
    data: bytes
    """The file without metadata and, in a PNG, without the animation: what the decoder gets."""


def examine(data: bytes) -> Container:
    """Returns the header of a JPEG, PNG or WebP file.

    Raises UnsupportedFormat for other formats, ImageError for a damaged or hostile file.
    """
    if not data:
        raise ImageError("The file is empty.")
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(_PNG_SIGNATURE):
        return _png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    raise UnsupportedFormat(f"The file is {_name(data)}. {_ACCEPTED}")


def _name(data: bytes) -> str:
    for magic, name in _OTHERS:
        if data.startswith(magic):
            return name
    if data[4:8] == b"ftyp":
        return _HEIF_BRANDS.get(data[8:12], "a video or a HEIC")
    if data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "a text such as HTML or SVG"
    return "no picture that is known here"


def _jpeg(data: bytes) -> Container:
    kept = [data[:2]]
    size: tuple[int, int] | None = None
    orientation, adobe, position = 1, False, 2
    for _ in range(MAX_SEGMENTS):
        found = _JPEG_MARKER.search(data, position)
        if found is None:
            raise ImageError("The JPEG is truncated: it ends before its first scan.")
        start, marker = found.start(), data[found.end() - 1]
        if marker in _JPEG_WITHOUT_LENGTH:
            position = found.end()
            continue
        position = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
        body = data[found.end() + 2 : position]
        if marker == 0xDA:
            break
        if marker == 0xD9 or position < found.end() + 2 or position > len(data):
            raise ImageError("The JPEG is damaged or truncated: a segment ends outside the file.")
        if marker in _JPEG_FRAMES and len(body) >= 6:
            height, width = struct.unpack(">HH", body[1:5])
            size = (width, height)
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = _orientation(body[6:])
        if marker == 0xEE and body.startswith(b"Adobe"):
            adobe = True
        if marker not in _JPEG_METADATA:
            kept.append(data[start:position])
    else:
        raise ImageError(f"The JPEG has more than {MAX_SEGMENTS} segments before its first scan.")
    if size is None:
        raise ImageError("The JPEG is damaged: it names no size.")
    if (scans := _jpeg_scans(data, start)) > MAX_SCANS:
        raise ImageError(f"The JPEG has {scans} scans, more than {MAX_SCANS}.")
    return Container("JPEG", size, orientation, adobe, b"".join([*kept, data[start:]]))


def _jpeg_scans(data: bytes, position: int) -> int:
    """Returns how many scans there are from the first to the picture's end, as decoders see it.

    What follows that, such as the video of a phone's motion photo, may look like any number more.
    """
    scans = 0
    for _ in range(MAX_SEGMENTS):
        found = _JPEG_END_OF_SCAN.search(data, position)
        if found is None or (marker := data[found.end() - 1]) == 0xD9:
            return scans
        scans += marker == 0xDA
        position = found.end()
        # libjpeg may take a reserved one, below, for a restart's that is damaged: no length then.
        if marker >= 0xC0 and marker not in _JPEG_WITHOUT_LENGTH:
            position += max(2, int.from_bytes(data[position : position + 2]))
    raise ImageError(f"The JPEG has more than {MAX_SEGMENTS} segments after its first scan.")


def _png(data: bytes) -> Container:
    kept = [_PNG_SIGNATURE]
    size: tuple[int, int] | None = None
    orientation, allowance = 1, MAX_PROFILE_BYTES
    for kind, start, end in _png_chunks(data):
        if size is None:
            if kind != b"IHDR" or end - start != 13:
                raise ImageError("The PNG is damaged: it doesn't start with its header.")
            width, height = struct.unpack_from(">II", data, start)
            size = (width, height)
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            allowance -= _unpacked_bytes(kind, data[start:end], allowance)
            if allowance < 0:
                raise ImageError(
                    f"The PNG's texts or colour profile unpack to more than {MAX_PROFILE_BYTES} "
                    "bytes. Save the picture without metadata."
                )
        if kind == b"eXIf":
            orientation = _orientation(data[start:end])
        if kind[:1].isupper() or kind == b"tRNS":
            kept.append(data[start - 8 : end + 4])
    if size is None:
        raise ImageError("The PNG is truncated: it has no header.")
    return Container("PNG", size, orientation, False, b"".join(kept))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields each chunk's kind and where its content starts and ends, IEND included."""
    position = len(_PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        start = position + 8
        end = start + int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : start]
        if start > len(data) or end + 4 > len(data):
            raise ImageError("The PNG is truncated: a chunk ends outside the file.")
        yield kind, start, end
        if kind == b"IEND":
            return
        position = end + 4
    raise ImageError(f"The PNG has more than {MAX_CHUNKS} chunks.")


def _unpacked_bytes(kind: bytes, chunk: bytes, allowance: int) -> int:
    """Returns how much a compressed chunk unpacks to, and stops just above the allowance."""
    _, _, rest = chunk.partition(b"\0")
    if kind != b"iTXt":
        packed = rest[1:]
    elif rest.startswith(b"\1"):
        packed = rest[2:].split(b"\0", 2)[-1]
    else:
        return 0
    try:
        return len(zlib.decompressobj().decompress(packed, allowance + 1))
    except zlib.error:
        return 0  # it is left out of what the decoder gets, so damage doesn't matter


def _webp(data: bytes) -> Container:
    if len(data) < 30 or len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise ImageError("The WebP is truncated: it is shorter than its header says.")
    kind, orientation = data[12:16], 1
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        if data[20] & 0x08:
            orientation = _orientation(_webp_exif(data))
    elif kind == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise ImageError("The WebP is damaged: it names no size.")
    return Container("WEBP", (width, height), orientation, False, data)


def _webp_exif(data: bytes) -> bytes:
    position = 12
    for _ in range(MAX_CHUNKS):
        start = position + 8
        length = int.from_bytes(data[position + 4 : start], "little")
        if start > len(data):
            return b""
        if data[position : position + 4] == b"EXIF":
            return data[start : start + length].removeprefix(b"Exif\0\0")
        position = start + length + length % 2
    raise ImageError(f"The WebP has more than {MAX_CHUNKS} chunks.")


def _orientation(exif: bytes) -> int:
    # Pillow's reader warns about damaged EXIF and logs the tags' values, places included.
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(entries):
            tag, _, _, value = struct.unpack_from(order + "HHIH", exif, directory + 2 + 12 * entry)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
