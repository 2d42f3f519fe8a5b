"""The picture loader against the faults of its field; the numbers are those of the design notes."""

import gc
import json
import logging
import os
import random
import struct
import subprocess
import sys
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from django.core.files.base import ContentFile
from PIL import Image, ImageFile

from cardigan_reco import containers, images
from cardigan_reco.exceptions import (
    ImageError,
    ImageTooLarge,
    TooManyPixels,
    UnsupportedFormat,
)
from tests import pictures
from tests.pictures import RED, encoded, halves, noise, plain, png, png_chunk, with_app1

FORMATS = ["JPEG", "PNG", "WEBP"]


def centre(data: bytes) -> tuple[int, ...]:
    image = images.load(data)
    assert image.mode == "RGB"
    pixel = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(pixel, tuple)
    return pixel


def near(pixel: tuple[int, ...], wanted: tuple[int, ...], tolerance: int = 6) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, wanted, strict=True))


@pytest.mark.parametrize("format", FORMATS)
def test_a_sound_picture_comes_out_as_plain_rgb(format):
    image = images.load(encoded(plain(), format))
    assert type(image) is Image.Image
    assert (image.mode, image.size, image.info) == ("RGB", (64, 48), {})
    assert near(image.getpixel((5, 5)), RED)


def test_the_digest_is_the_sha256_of_the_bytes():
    assert images.digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


# Bytes


def test_read_returns_a_file_of_the_allowed_length_whole(settings):
    settings.CARDIGAN_RECO = {"MAX_IMAGE_BYTES": 100}
    assert images.read(ContentFile(b"x" * 100)) == b"x" * 100


def test_read_stops_one_byte_above_the_limit(settings):
    settings.CARDIGAN_RECO = {"MAX_IMAGE_BYTES": 100}
    file = BytesIO(b"x" * 5_000)
    with pytest.raises(ImageTooLarge, match="more than the 100 bytes"):
        images.read(file)
    assert file.tell() == 101


def test_read_asks_again_after_a_short_read():
    class Trickle(BytesIO):
        def read(self, size=-1, /):
            return super().read(min(size, 7))

    assert images.read(Trickle(bytes(range(100)))) == bytes(range(100))


def test_more_bytes_than_allowed_are_not_opened(settings):
    data = encoded(plain(), "PNG")
    settings.CARDIGAN_RECO = {"MAX_IMAGE_BYTES": len(data) - 1}
    with pytest.raises(ImageTooLarge) as caught:
        images.load(data)
    assert caught.value.code == "too_large"
    settings.CARDIGAN_RECO = {"MAX_IMAGE_BYTES": len(data)}
    assert images.load(data).size == (64, 48)


# Faults 1-7: what isn't a picture of ours


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\x04\0\0\0WEBP",
    ],
    ids=["empty", "one byte", "JPEG magic", "PNG magic", "WebP magic", "WebP magic, right length"],
)
def test_fault_1_nothing_but_magic(data):
    with pytest.raises(ImageError):
        images.load(data)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML or SVG"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "HTML or SVG"),
        (b'\xef\xbb\xbf\n<?xml version="1.0"?><svg/>', "HTML or SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"8BPS\0\1" + bytes(20), "Photoshop"),
        (b"\xd7\xcd\xc6\x9a" + bytes(40), "Windows metafile"),
        (encoded(plain(), "TIFF"), "TIFF"),
        (b"MM\0*" + bytes(20), "TIFF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000"),
        (encoded(plain(), "BMP"), "BMP"),
        (encoded(plain(), "ICO"), "icon"),
        (encoded(plain(), "TGA"), "no picture"),
        (encoded(plain(), "PDF"), "PDF"),
        (encoded(plain(), "PPM"), "no picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "AVIF"),
        (b"\0\0\0\x1cftypmp42\0\0\0\0mp42isom", "video"),
        (encoded(plain(), "GIF"), "GIF"),
        (b"MZ" + bytes(60), "no picture"),
    ],
)
def test_faults_2_to_7_other_formats_are_named_and_refused(data, named):
    with pytest.raises(UnsupportedFormat, match=named) as caught:
        images.load(data)
    assert "Save the picture as JPEG, PNG or WebP." in str(caught.value)
    assert caught.value.code == "unsupported_format"


def test_fault_4_no_other_plugin_of_pillow_sees_the_bytes():
    # Behind WebP's magic there is a PNG: only WebP's decoder may be asked.
    data = encoded(plain(), "PNG")
    disguised = b"RIFF" + struct.pack("<I", len(data) + 4) + b"WEBP" + data
    with pytest.raises(ImageError, match="WebP"):
        images.load(disguised)


# Faults 8-9: animations


def test_fault_8_the_first_frame_of_an_animated_webp_counts():
    frames = [plain((250, 10, 10)), plain((10, 10, 250))]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert near(centre(data), (250, 10, 10))


def test_fault_9_the_default_image_of_an_apng_counts():
    default, *frames = plain((250, 10, 10)), plain((10, 250, 10)), plain((10, 10, 250))
    data = encoded(default, "PNG", save_all=True, default_image=True, append_images=frames)
    with Image.open(BytesIO(data)) as image:
        assert image.is_animated
    assert centre(data) == (250, 10, 10)


def test_a_damaged_animation_is_no_matter():
    data = png((16, 16), depth=8, colour=2, pixel=bytes(RED), chunks=[(b"acTL", bytes(8))])
    assert centre(data) == RED


# Faults 10-16: bombs

SCRIPT = """
import json, sys
from pathlib import Path
from django.conf import settings
settings.configure()
from PIL import Image, ImageOps
from cardigan_reco import images
from cardigan_reco.exceptions import ImageError
Image.init()
data = sys.stdin.buffer.read()
def peak():  # Not getrusage(), which begins with what the parent had.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before = peak()
try:
    crop = json.loads(sys.argv[1])
    print(images.load(data, min_side=128, crop=crop, spare_memory=True).size)
except ImageError as error:
    print(error.code)
print((peak() - before) // 1024)
"""


def result_and_mebibytes(data: bytes, crop: images.Crop | None = None) -> tuple[str, int]:
    """Loads the picture in a process of its own; returns what came out and the memory it took."""
    command = [sys.executable, "-c", SCRIPT, json.dumps(crop)]
    done = subprocess.run(command, input=data, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    result, mebibytes = done.stdout.decode().splitlines()
    return result, int(mebibytes)


def test_fault_10_a_small_file_of_900_megapixels_costs_no_memory():
    data = png((30_000, 30_000), depth=1, colour=0)
    assert len(data) < 600_000
    result, mebibytes = result_and_mebibytes(data)
    assert result == "too_many_pixels"
    assert mebibytes < 20


def largest(mode: str, format: str, side: int = 5_000, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # To turn it takes another copy.
    return encoded(Image.new(mode, (side, side)), format, exif=exif, **options)


LARGEST = {
    "grey PNG": lambda: largest("L", "PNG"),
    "RGB PNG": lambda: largest("RGB", "PNG"),
    "RGBA PNG": lambda: largest("RGBA", "PNG"),
    "RGB JPEG": lambda: largest("RGB", "JPEG", progressive=True, subsampling=0),
    "CMYK JPEG": lambda: largest("CMYK", "JPEG", progressive=True),
    "WebP": lambda: largest("RGB", "WEBP", 3_535, lossless=True, method=0),
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_photo_stays_within_220_mebibytes_and_a_part_of_it_within_310(name):
    data = LARGEST[name]()
    result, mebibytes = result_and_mebibytes(data)
    assert result.startswith("(")
    assert mebibytes <= 220
    result, mebibytes = result_and_mebibytes(data, (0, 0, 0.05, 1))
    assert result.startswith("(")
    assert mebibytes <= 310


def test_where_memory_is_spared_a_webp_may_have_half_as_many_pixels(settings):
    settings.CARDIGAN_RECO = {"MAX_IMAGE_PIXELS": 64 * 48}
    data = encoded(plain(), "WEBP")
    assert images.load(data).size == (64, 48)
    with pytest.raises(TooManyPixels, match="more than the 1536 that are allowed"):
        images.load(data, spare_memory=True)
    assert images.load(encoded(plain(), "PNG"), spare_memory=True).size == (64, 48)


@pytest.mark.parametrize(
    "data",
    [
        png((10_000, 10_000), depth=1, colour=0),
        png((60_000, 60_000), depth=8, colour=2, repeat=False),
        png((2**31, 2**31), depth=8, colour=2, repeat=False),
        encoded(Image.new("L", (6_000, 6_000)), "JPEG", progressive=True),
        encoded(plain(), "JPEG").replace(struct.pack(">HH", 48, 64), b"\xff\xff\xff\xff"),
        b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\xff" * 2,
        b"RIFF\x16\0\0\0WEBPVP8L\x09\0\0\0\x2f\xff\xff\xff\x0f" + bytes(5),
    ],
    ids=["11", "12", "13", "16", "JPEG of 65,535", "WebP of 2^24", "lossless WebP of 2^14"],
)
def test_faults_11_to_16_too_many_pixels(data):
    with pytest.raises(TooManyPixels, match="more than the 25000000 that are allowed") as caught:
        images.load(data)
    assert caught.value.code == "too_many_pixels"


@pytest.mark.parametrize("format", FORMATS)
def test_the_pixel_limit_is_the_setting(format, settings):
    data = encoded(plain(), format)
    settings.CARDIGAN_RECO = {"MAX_IMAGE_PIXELS": 64 * 48 - 1}
    with pytest.raises(TooManyPixels):
        images.load(data, min_side=8)
    settings.CARDIGAN_RECO = {"MAX_IMAGE_PIXELS": 64 * 48}
    assert images.load(data).size == (64, 48)


@pytest.mark.parametrize("size", [(0, 16), (16, 0), (2**31, 0)])
def test_fault_13_a_side_of_0(size):
    with pytest.raises(ImageError, match="Each side needs at least 8"):
        images.load(png(size, depth=8, colour=2, repeat=False))


def test_a_second_header_cannot_enlarge_the_picture():
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    with pytest.raises(ImageError):
        images.load(png((16, 16), depth=8, colour=2, pixel=bytes(RED), chunks=[(b"IHDR", header)]))


BOMB = zlib.compress(bytes(50_000_000), 9)


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"zTXt", b"Comment\0\0" + BOMB)],
        [(b"iTXt", b"Comment\0\1\0en\0Comment\0" + BOMB)],
        [(b"iCCP", b"profile\0\0" + BOMB)],
        [(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000)))] * 5,
    ],
    ids=["zTXt", "iTXt", "iCCP", "five small ones"],
)
def test_fault_14_text_and_profile_bombs(chunks):
    data = png((16, 16), depth=8, colour=2, pixel=bytes(RED), chunks=chunks)
    with pytest.raises(ImageError, match="unpack to more than"):
        images.load(data)


def test_texts_and_profiles_of_a_usual_size_are_fine():
    chunks = [
        (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000))),
        (b"iTXt", b"Comment\0\0\0en\0Comment\0plain"),
        (b"iCCP", b"profile\0\0" + zlib.compress(bytes(3_000))),
        (b"zTXt", b"damaged\0\0no zlib"),
    ]
    assert centre(png((16, 16), depth=8, colour=2, pixel=bytes(RED), chunks=chunks)) == RED


def test_fault_15_20_000_texts_are_never_handed_to_pillow():
    chunks = [(b"tEXt", b"k%d\0v" % number) for number in range(20_000)]
    data = png((16, 16), depth=8, colour=2, pixel=bytes(RED), chunks=chunks)
    assert centre(data) == RED
    assert b"tEXt" not in containers.examine(data).data


def test_endless_chunks_segments_and_scans_are_refused():
    many = png_chunk(b"tEXt", b"") * (containers.MAX_CHUNKS + 1)
    data = encoded(plain(), "PNG")
    with pytest.raises(ImageError, match="more than 100000 chunks"):
        images.load(data[:33] + many + data[33:])
    data = encoded(plain(), "JPEG")
    with pytest.raises(ImageError, match="more than 2000 segments"):
        images.load(data[:2] + b"\xff\xfe\0\2" * 2_000 + data[2:])
    data = encoded(plain(), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match="scans, more than 64"):
        images.load(data[:-2] + scan * 64 + data[-2:])


def test_what_follows_a_jpeg_is_no_scan_of_it():
    """As in the motion photos of phones, which end in a video."""
    data = encoded(noise((100, 100)), "JPEG") + b"\xff\xda" * 1_000
    assert images.load(data).size == (100, 100)


def test_what_a_jpeg_has_in_a_comment_is_no_scan_of_it():
    data = encoded(plain(), "JPEG", progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    comment = b"\xff\xda" * 1_000
    segment = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
    assert images.load(data[:second] + segment + data[second:]).size == (64, 48)


@pytest.mark.parametrize(
    "between",
    [b"", b"\xff", b"\xff\x00", b"\xff\xd0", b"\xff\x02\xff\xff", b"\xff\x01", b"\xff\xfe\0\0"],
    ids=["nothing", "filling", "stuffing", "a restart", "a reserved one", "no length", "length 0"],
)
def test_no_scan_of_a_jpeg_is_hidden(between):
    data = encoded(plain(), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match="scans, more than 64"):
        images.load(data[:-2] + (between + scan) * 64 + data[-2:])


def test_endless_segments_after_a_scan_are_refused():
    data = encoded(plain(), "JPEG")
    with pytest.raises(ImageError, match="more than 2000 segments after its first scan"):
        images.load(data[:-2] + b"\xff\xfe\0\2" * 2_000 + data[-2:])


# Faults 17-19: damage and odd sizes


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("format", FORMATS)
def test_fault_17_a_truncated_picture_is_refused(format, share):
    data = encoded(noise((100, 100)), format)
    with pytest.raises(ImageError, match="truncated"):
        images.load(data[: int(len(data) * share)])


def test_fault_17_a_truncated_progressive_jpeg_is_refused():
    data = encoded(noise((100, 100)), "JPEG", progressive=True)
    with pytest.raises(ImageError, match="truncated"):
        images.load(data[: len(data) // 2])


def test_fault_18_a_wrong_checksum_is_refused_with_its_cause():
    data = bytearray(encoded(plain(), "PNG"))
    data[30] ^= 0xFF
    with pytest.raises(ImageError, match="The PNG can't be decoded") as caught:
        images.load(bytes(data))
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        ((1, 1), ImageError, "Each side needs at least 8"),
        ((7, 100), ImageError, "Each side needs at least 8"),
        ((1, 10_000), ImageError, "Each side needs at least 8"),
        ((10, 201), TooManyPixels, "at most 20 times the short one"),
        ((10_000, 8), TooManyPixels, "at most 20 times the short one"),
    ],
)
def test_fault_19_odd_sizes(size, error, message):
    with pytest.raises(error, match=message):
        images.load(encoded(plain(size=size), "PNG"))


@pytest.mark.parametrize("size", [(8, 8), (10, 200), (160, 8)])
def test_the_smallest_and_longest_pictures_that_are_accepted(size):
    assert images.load(encoded(plain(size=size), "PNG")).size == size


# Faults 20-23: colours


def test_fault_20_red_in_cmyk_is_red():
    ink = Image.new("CMYK", (64, 48), (0, 255, 255, 0))
    adobe = encoded(ink, "JPEG")
    assert b"Adobe" in adobe
    assert near(centre(adobe), (255, 0, 0))


def test_fault_20_inks_without_the_marker_of_adobe_are_not_inverted():
    # Pillow always writes the marker, 16 bytes, and inverted inks: turn them round, drop it.
    data = encoded(Image.new("CMYK", (64, 48), (255, 0, 0, 255)), "JPEG")
    start = data.index(b"\xff\xee")
    unmarked = data[:start] + data[start + 16 :]
    assert b"Adobe" not in unmarked
    assert near(centre(unmarked), (255, 0, 0))


@pytest.mark.parametrize("value", [32767, 32768])
def test_fault_21_mid_grey_of_16_bits_is_127(value):
    data = encoded(Image.fromarray(np.full((48, 64), value, np.uint16)), "PNG")
    assert centre(data) == (127, 127, 127)


def test_16_bits_a_channel():
    pixel = struct.pack(">HHH", 65535, 32768, 0)
    assert near(centre(png((16, 16), depth=16, colour=2, pixel=pixel)), (255, 128, 0), 1)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (png((16, 16), depth=1, colour=0, pixel=b"\xff"), (255, 255, 255)),
        (png((16, 16), depth=1, colour=0, pixel=b"\0"), (0, 0, 0)),
        (png((16, 16), depth=4, colour=0, pixel=b"\x88"), (136, 136, 136)),
        (png((16, 16), depth=8, colour=4, pixel=b"\x64\xff"), (100, 100, 100)),
        (png((16, 16), depth=8, colour=4, pixel=b"\x64\x00"), (255, 255, 255)),
        (png((16, 16), depth=16, colour=4, pixel=b"\x64\x00\x00\x00"), (255, 255, 255)),
        (
            png(
                (16, 16), depth=8, colour=3, pixel=b"\1", chunks=[(b"PLTE", b"\0\0\0" + bytes(RED))]
            ),
            RED,
        ),
        (
            png(
                (16, 16),
                depth=8,
                colour=3,
                pixel=b"\1",
                chunks=[(b"PLTE", b"\0\0\0" + bytes(RED)), (b"tRNS", b"\xff\x00")],
            ),
            (255, 255, 255),
        ),
        (
            png((16, 16), depth=8, colour=0, pixel=b"\x64", chunks=[(b"tRNS", b"\0\x64")]),
            (255,) * 3,
        ),
        (png((16, 16), depth=16, colour=0, pixel=b"\1\2", chunks=[(b"tRNS", b"\1\2")]), (255,) * 3),
        (
            png((16, 16), depth=16, colour=0, pixel=b"\x40\0", chunks=[(b"tRNS", b"\1\2")]),
            (63,) * 3,
        ),
        (
            png((16, 16), depth=8, colour=2, pixel=b"\1\2\3", chunks=[(b"tRNS", b"\0\1\0\2\0\3")]),
            (255, 255, 255),
        ),
    ],
)
def test_fault_22_bilevel_grey_palette_and_their_transparency(data, wanted):
    assert centre(data) == wanted


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
@pytest.mark.parametrize(
    ("alpha", "wanted"), [(0, (255, 255, 255)), (255, RED), (128, (227, 142, 147))]
)
def test_fault_23_transparent_parts_are_white(format, alpha, wanted):
    data = encoded(Image.new("RGBA", (64, 48), (*RED, alpha)), format, lossless=True, exact=True)
    assert near(centre(data), wanted, 2)


# Faults 24-26: metadata


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    ("orientation", "size", "red_at"),
    [
        (1, (64, 48), (10, 24)),
        (2, (64, 48), (54, 24)),
        (3, (64, 48), (54, 24)),
        (4, (64, 48), (10, 24)),
        (5, (48, 64), (24, 10)),
        (6, (48, 64), (24, 10)),
        (7, (48, 64), (24, 54)),
        (8, (48, 64), (24, 54)),
        (0, (64, 48), (10, 24)),
        (99, (64, 48), (10, 24)),
    ],
)
def test_fault_24_the_picture_is_turned_upright(format, orientation, size, red_at):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = images.load(encoded(halves(), format, exif=exif))
    assert image.size == size
    assert near(image.getpixel(red_at), (255, 0, 0), 12)


def test_fault_24_big_endian_exif_is_read_too():
    exif = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    assert images.load(with_app1(encoded(halves(), "JPEG"), exif)).size == (48, 64)


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff" + bytes(60),
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\1\0\0\0",
        b"not TIFF at all",
        bytes(range(256)) * 4,
    ],
)
def test_fault_25_corrupt_exif_is_ignored(exif):
    assert images.load(with_app1(encoded(halves(), "JPEG"), exif)).size == (64, 48)


@pytest.mark.parametrize("format", FORMATS)
def test_fault_25_exif_and_places_are_never_logged(format, caplog, capfd):
    exif = Image.Exif()
    exif[0x010E] = "A-DESCRIPTION"
    exif[0x8825] = {1: "N", 2: (51.0, 28.0, 38.0), 29: "2018:05:17"}
    data = encoded(plain(), format, exif=exif)
    assert b"A-DESCRIPTION" in data
    with caplog.at_level(logging.DEBUG):
        images.load(data)
        with pytest.raises(ImageError) as caught:
            images.load(data[:-6])
    told = caplog.text + str(caught.value) + "".join(capfd.readouterr())
    assert "A-DESCRIPTION" not in told
    assert "2018:05:17" not in told
    assert "51.0" not in told


def test_fault_26_a_trailing_script_is_not_decoded():
    data = encoded(plain(), "PNG") + b"<script>alert(1)</script>"
    assert centre(data) == RED
    assert b"script" not in containers.examine(data).data


# Size on request


@pytest.mark.parametrize("format", FORMATS)
def test_a_large_picture_comes_out_smaller_on_request(format):
    data = encoded(halves((1600, 1000)), format)
    assert images.load(data).size == (1600, 1000)
    image = images.load(data, min_side=64)
    assert 128 <= min(image.size) < 300
    assert abs(image.width / image.height - 1.6) < 0.02
    assert near(image.getpixel((image.width // 4, 20)), (255, 0, 0), 12)
    assert near(image.getpixel((image.width * 3 // 4, image.height - 1)), (0, 0, 255), 12)


def test_a_small_picture_is_never_enlarged():
    assert images.load(encoded(plain(), "JPEG"), min_side=500).size == (64, 48)


def test_hidden_colours_do_not_bleed_when_a_picture_is_made_smaller():
    image = Image.new("RGBA", (800, 800), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (403, 0, 800, 800))
    colours = images.load(encoded(image, "PNG"), min_side=16).getcolors()
    assert colours is not None
    assert [colour for _, colour in colours] == [(255, 255, 255)]


def test_strips_join_without_a_seam():
    image = noise((2000, 1501))
    assert images.load(encoded(image, "PNG")).tobytes() == image.tobytes()


def test_a_refused_picture_is_freed_at_once():
    """Were an error held by a frame of its own, it would stay until Python looks for cycles."""
    data = encoded(plain(RED, (64, 64)), "JPEG")[:-100]
    gc.collect()
    gc.disable()
    try:
        before = sys.getrefcount(data)
        with pytest.raises(ImageError):
            images.load(data)
        assert sys.getrefcount(data) == before
    finally:
        gc.enable()


def test_pillow_keeps_its_global_settings():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    images.load(encoded(plain(), "JPEG"))
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    assert after == before


# Fuzz: CARDIGAN_FUZZ=100000 for a longer one


def seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb, rgba = halves((40, 30)), Image.new("RGBA", (40, 30), (*RED, 100))
    return [
        encoded(rgb, "JPEG", exif=exif),
        encoded(rgb, "JPEG", progressive=True),
        encoded(rgb.convert("CMYK"), "JPEG"),
        encoded(rgb, "PNG", exif=exif),
        encoded(rgba.quantize(8), "PNG"),
        encoded(rgb.convert("LA"), "PNG"),
        encoded(Image.fromarray(np.full((30, 40), 999, np.uint16)), "PNG"),
        encoded(rgb, "PNG", save_all=True, append_images=[plain(size=(40, 30))]),
        encoded(rgb, "WEBP", exif=exif),
        encoded(rgba, "WEBP", lossless=True),
        encoded(rgb, "WEBP", save_all=True, append_images=[plain(size=(40, 30))]),
    ]


def resealed(data: bytes) -> bytes:
    """Returns a PNG with its checksums put right, so that damage gets past them."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    sealed, position = bytearray(data), 8
    while position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4])
        sealed[end : end + 4] = struct.pack(">I", zlib.crc32(data[position + 4 : end]))[
            : max(0, len(data) - end)
        ]
        position = end + 4
    return bytes(sealed)


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(changed))
        match chance.randrange(5):
            case 0:
                changed[at] = chance.randrange(256)
            case 1:
                changed[at] ^= 1 << chance.randrange(8)
            case 2:
                changed[at : at + 4] = chance.choice(
                    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff"]
                )
            case 3:
                del changed[at : at + chance.randint(1, 20)]
            case _:
                other = chance.randrange(len(changed))
                changed[at:at] = changed[other : other + chance.randint(1, 40)]
        if not changed:
            return b""
    return resealed(bytes(changed)) if chance.random() < 0.5 else bytes(changed)


def test_mutated_pictures_raise_image_errors_alone(settings):
    settings.CARDIGAN_RECO = {"MAX_IMAGE_PIXELS": 1_000_000}
    chance, originals = random.Random(2018), seeds()
    accepted = refused = 0
    for number in range(int(os.environ.get("CARDIGAN_FUZZ", "20000"))):
        data = mutated(originals[number % len(originals)], chance)
        try:
            image = images.load(data, min_side=chance.choice([None, 8]))
        except ImageError:
            refused += 1
        else:
            accepted += 1
            assert image.mode == "RGB"
            assert image.width * image.height <= 1_000_000
    assert accepted > 100
    assert refused > 100


def test_the_pictures_of_the_tests_are_what_they_say():
    # Guards the hand-made files: a PNG writer that is wrong would make the tests above pass idly.
    with Image.open(BytesIO(pictures.png((9, 8), depth=8, colour=2, pixel=bytes(RED)))) as image:
        assert (image.size, image.convert("RGB").getpixel((4, 4))) == ((9, 8), RED)
