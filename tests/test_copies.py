"""Copies of photos, edited in the ways sellers edit them, on pictures of the demo catalogue."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import permutations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from cardigan_reco import copies
from cardigan_reco.copies import Change, Comparison, DamagedDescriptor
from cardigan_reco.exceptions import MissingExtra
from example_shop import folders

Edit = Callable[[Image.Image], Image.Image]

MUG = "alma-mug-ivory-with-rust-dots-front.jpg"
LAMP = "double-03.jpg"


def picture(name: str = MUG) -> Image.Image:
    with Image.open(folders.CATALOGUE / name) as image:
        return image.convert("RGB")


def compared(first: Image.Image, second: Image.Image) -> Comparison:
    return copies.compare(copies.describe(first), copies.describe(second))


def codes(comparison: Comparison) -> set[str]:
    return {change.code for change in comparison.changes}


def value(comparison: Comparison, code: str) -> float:
    (found,) = [change.value for change in comparison.changes if change.code == code]
    assert found is not None
    return found


def reencoded(image: Image.Image) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(file).convert("RGB")


def shrunk(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 2 // 5, image.height * 2 // 5))


def cropped(image: Image.Image) -> Image.Image:
    return image.crop((60, 80, 350, 370))


def padded(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, (90, 20, 40, 130), "white")


def bordered(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, 14, "#c8202f")


def stickered(image: Image.Image) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).ellipse((10, 10, 150, 150), "#c8202f")
    return image


def bannered(image: Image.Image) -> Image.Image:
    image = image.copy()
    ImageDraw.Draw(image).rectangle((0, 350, image.width, image.height), "#1d3f8f")
    return image


def darkened(image: Image.Image) -> Image.Image:
    return ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(0.8)).enhance(0.85)


def rotated(image: Image.Image) -> Image.Image:
    return image.rotate(5, Image.Resampling.BICUBIC, fillcolor="white")


def both(image: Image.Image) -> Image.Image:
    return stickered(ImageOps.mirror(image))


EDITS = (
    reencoded, shrunk, cropped, padded, bordered, stickered, bannered, darkened, rotated, both,
    ImageOps.mirror,
)  # fmt: skip


def recoloured(image: Image.Image, turn: int) -> Image.Image:
    hue, saturation, light = image.convert("HSV").split()
    hue = hue.point([(level + turn) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, light)).convert("RGB")


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edited_copy_is_recognised(edit: Edit) -> None:
    assert compared(picture(), edit(picture())).probability > 0.9


@pytest.mark.parametrize(
    "edit", [cropped, ImageOps.mirror, stickered], ids=lambda edit: edit.__name__
)
def test_which_picture_comes_first_makes_no_difference(edit: Edit) -> None:
    first, second = copies.describe(picture()), copies.describe(edit(picture()))
    one, other = copies.compare(first, second), copies.compare(second, first)
    assert one == other


@pytest.mark.parametrize("turn", [60, 110, 160])
def test_the_same_shot_in_another_colour_is_no_copy_but_a_twin(turn: int) -> None:
    comparison = compared(picture(), recoloured(picture(), turn))
    assert comparison.probability < 0.1
    assert comparison.is_twin


def test_an_edited_copy_in_another_colour_is_no_copy() -> None:
    assert compared(picture(), cropped(recoloured(picture(), 110))).probability < 0.1


@pytest.mark.parametrize(
    "other",
    [
        "alma-mug-ivory-front.jpg",  # without the pattern
        "alma-mug-sage-front.jpg",
        "alma-mug-ivory-with-rust-dots-turned.jpg",  # the same mug in another photo
        LAMP,
    ],
)
def test_another_photo_is_no_copy(other: str) -> None:
    assert compared(picture(), picture(other)).probability < 0.5


def test_unchanged_pictures_have_no_changes() -> None:
    comparison = compared(picture(), reencoded(picture()))
    assert comparison.changes == ()
    assert not comparison.is_twin


def test_changes_are_named_and_measured() -> None:
    assert codes(compared(picture(), ImageOps.mirror(picture()))) == {"mirrored"}
    assert value(compared(picture(), rotated(picture())), "rotated") == pytest.approx(5, abs=0.7)
    assert value(compared(picture(), shrunk(picture())), "resized") == pytest.approx(0.4, abs=0.03)
    assert "brightness" in codes(compared(picture(), darkened(picture())))
    assert "covered" in codes(compared(picture(), stickered(picture())))
    assert "cropped" in codes(compared(picture(), cropped(picture())))


def test_probable_copies_alone_have_changes() -> None:
    comparison = compared(picture(), picture(LAMP))
    assert comparison.changes == ()
    assert Change("mirrored") == Change("mirrored", None)


def gradient(width: int, height: int) -> Image.Image:
    row = np.linspace(0, 255, width).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(row, (height, width))).convert("RGB")


@pytest.mark.parametrize(
    "odd",
    [
        Image.new("RGB", (300, 300), "white"),
        Image.new("RGB", (300, 300), "#808080"),
        Image.new("RGB", (8, 8), "red"),
        Image.new("RGB", (8, 160), "red"),
        gradient(160, 8),
        gradient(8, 8),
        Image.effect_noise((64, 64), 80).convert("RGB"),
    ],
)
def test_odd_pictures_are_described_and_match_no_product(odd: Image.Image) -> None:
    assert compared(odd, picture()).probability < 0.5
    assert compared(picture(LAMP), odd).probability < 0.5


def test_pictures_without_detail_say_nothing() -> None:
    white, grey = (Image.new("RGB", (300, 300), colour) for colour in ("white", "#808080"))
    assert compared(white, grey).probability == 0
    assert compared(white, white).probability == 0


def test_descriptors_fit_their_columns() -> None:
    noise = Image.effect_noise((700, 500), 120).convert("RGB")
    for image in (picture(), noise, Image.new("RGB", (8, 8)), Image.new("RGB", (3000, 200))):
        described = copies.describe(image)
        assert len(described.data) <= 4096
        for bits in (described.bits, described.mirrored_bits):
            assert -(2**63) <= bits < 2**63


def test_hashes_find_mirrored_and_padded_copies() -> None:
    original = copies.describe(picture())
    mirror = copies.describe(ImageOps.mirror(picture()))
    assert copies.distance(original.bits, mirror.mirrored_bits) <= 2
    assert copies.distance(original.bits, copies.describe(reencoded(picture())).bits) <= 4
    assert copies.distance(original.bits, copies.describe(picture(LAMP)).bits) > 10


def test_distances_count_all_64_bits() -> None:
    assert copies.distance(-1, 0) == 64
    assert copies.distance(-(2**63), 0) == 1
    assert copies.distance(5, 5) == 0


@pytest.mark.parametrize("call", ["describe(image)", "compare(one, one)"])
def test_without_opencv_the_extra_is_named(call: str) -> None:
    script = (
        "import sys; sys.modules['cv2'] = None\n"
        "from PIL import Image\n"
        "from cardigan_reco import copies, exceptions\n"
        "image, one = Image.new('RGB', (9, 9)), copies.Descriptor(0, 0, b'')\n"
        f"try: copies.{call}\n"
        "except exceptions.MissingExtra as error: print(error)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert finished.stdout.strip() == str(MissingExtra("Comparing pictures", "duplicates"))


def test_opencv_is_imported_when_a_picture_is_compared_not_before() -> None:
    script = "import sys; from cardigan_reco import copies; print('cv2' in sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert finished.stdout.strip() == "False"


def with_size(data: bytes, side: bytes) -> bytes:
    """Returns the data of a descriptor with another size in the header of its JPEG."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + side + side + data[at + 4 :]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "it has 0 bytes"),
        (lambda data: data[:7], "it has 7 bytes"),
        (lambda data: data[:16], "it has 16 bytes"),
        (lambda data: data[:16] + bytes(500), "it holds no picture of 128 pixels"),
        (lambda data: with_size(data, b"\0\2"), "it holds no picture of 128 pixels"),
        (lambda data: with_size(data, b"\xff\0"), "OpenCV"),
        (lambda data: bytes(16) + data[16:], "right=0, bottom=0, width=0, height=0"),
        (lambda data: data[:12] + bytes(4) + data[16:], ", 0 pixels wide"),
    ],
)
def test_a_damaged_descriptor_is_named(damage: Callable[[bytes], bytes], reason: str) -> None:
    whole = copies.describe(picture())
    damaged = replace(whole, data=damage(whole.data))
    for pair in permutations((whole, damaged)):
        with pytest.raises(DamagedDescriptor) as caught:
            copies.compare(*pair)
        assert str(caught.value).startswith("The descriptor is damaged: ")
        assert reason in str(caught.value)
        assert caught.value.data == damaged.data
