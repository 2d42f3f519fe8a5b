"""Pictures to a network's numbers."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageOps

from cardigan_reco.encoders.preprocessing import Preprocessing
from tests.pictures import halves, noise


def plain(**changes):
    values = {"resize": (4, 6), "mean": (0, 0, 0), "std": (1, 1, 1), **changes}
    return Preprocessing(**values)


def test_channels_come_first_and_are_scaled():
    image = Image.new("RGB", (30, 20), (255, 0, 51))
    batch = plain(mean=(0.5, 0.5, 0.1), std=(0.25, 0.5, 0.1)).apply([image, image])
    assert batch.shape == (2, 3, 4, 6)
    assert batch.dtype == np.float32
    assert batch[1, :, 2, 3] == pytest.approx([2, -1, 1], abs=1e-5)


def test_left_and_right_stay():
    batch = plain().apply([halves((60, 40))])
    assert batch[0, :, 0, 0] == pytest.approx([1, 0, 0], abs=0.02)
    assert batch[0, :, 0, 5] == pytest.approx([0, 0, 1], abs=0.02)


@pytest.mark.parametrize("size", [(80, 40), (40, 80)])
def test_a_picture_is_padded_to_a_square_in_its_middle(size):
    image = Image.new("RGB", size, "black")
    batch = plain(resize=(8, 8), pad_to_square=(255, 255, 255)).apply([image])[0, 0]
    upright = batch if size[0] > size[1] else batch.T
    assert upright[:, 4] == pytest.approx([1, 1, 0, 0, 0, 0, 1, 1], abs=0.2)


@pytest.mark.parametrize(
    ("size", "tolerance"), [((128, 60), 0), ((60, 128), 0), ((1280, 80), 2), ((80, 1280), 2)]
)
def test_a_long_picture_comes_out_as_from_the_square_around_it(size, tolerance):
    image = noise(size)
    fitted = plain(resize=(8, 8), pad_to_square=(255, 255, 255)).fit(image)
    square = ImageOps.pad(image, (max(size), max(size)), color=(255, 255, 255))
    whole = np.asarray(square.resize((8, 8), Image.Resampling.BILINEAR), np.int16)
    assert np.abs(np.asarray(fitted, np.int16) - whole).max() <= tolerance


def test_a_long_picture_costs_no_memory():
    script = (
        "import resource\n"
        "from PIL import Image\n"
        "from cardigan_reco.encoders.preprocessing import Preprocessing\n"
        "image = Image.new('RGB', (11_500, 575))\n"
        "made = Preprocessing((144, 144), (0, 0, 0), (1, 1, 1), pad_to_square=(255, 255, 255))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "made.apply([made.fit(image), image])\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert int(done.stdout) < 50


@pytest.mark.parametrize("pad", [None, (9, 90, 200)])
@pytest.mark.parametrize("resize", [(8, 8), (4, 6)])
@pytest.mark.parametrize("size", [(80, 40), (6, 4), (8, 8), (5, 9)])
def test_of_a_fitted_picture_comes_the_same(size, resize, pad):
    image = halves(size)
    preprocessing = plain(resize=resize, pad_to_square=pad)
    batch = preprocessing.apply([preprocessing.fit(image)])
    assert np.array_equal(batch, preprocessing.apply([image]))


def test_a_fitted_picture_has_the_size_of_the_network():
    preprocessing = plain(resize=(8, 8), pad_to_square=(255, 255, 255))
    assert preprocessing.fit(halves((80, 40))).size == (8, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "L"}, "mode is 'L'. Choices are: 'RGB'"),
        ({"interpolation": "area"}, "Choices are: nearest, bilinear, bicubic, lanczos"),
        ({"resize": (0, 4)}, "a height and a width"),
        ({"std": (1, 0, 1)}, "std above 0"),
        ({"mean": (1, 1)}, "three numbers"),
        ({"pad_to_square": (255,)}, "a colour or None"),
    ],
)
def test_values_that_cannot_be_applied_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        plain(**changes)


def test_json_and_back():
    preprocessing = plain(pad_to_square=(1, 2, 3), interpolation="lanczos")
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing
