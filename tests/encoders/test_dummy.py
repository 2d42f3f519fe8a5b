"""The encoder without a network orders plain pictures as one would expect."""

import numpy as np
import pytest
from PIL import Image

from cardigan_reco.encoders.dummy import DummyEncoder
from cardigan_reco.exceptions import EncoderError
from tests.pictures import halves


def similarities(encoder, *pictures):
    vectors = encoder.encode(
        [Image.new("RGB", (40, 40), p) if isinstance(p, str) else p for p in pictures]
    )
    return (vectors[1:] @ vectors[0]).tolist()


@pytest.mark.parametrize("dimensions", [4, 16, 64, 512])
def test_near_colours_are_near(dimensions):
    found = similarities(DummyEncoder(dimensions), "red", "firebrick", "orange", "blue", "cyan")
    assert found[0] > 0.8
    assert found[0] > found[1] > found[2] > found[3]


def test_the_angles_of_plain_pictures_do_not_depend_on_the_dimensions():
    colours = ("red", "firebrick", "green", "black", "white")
    few, many = (similarities(DummyEncoder(number), *colours) for number in (4, 300))
    assert few == pytest.approx(many, abs=1e-5)


def test_where_the_colours_are_matters():
    picture = halves((40, 40))
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    darker = picture.point(lambda value: value * 0.9)
    same, dark, mirror = similarities(DummyEncoder(64), picture, picture, darker, mirrored)
    assert same == pytest.approx(1)
    assert 1 > dark > mirror


def test_black_and_white_are_neither_equal_nor_opposite():
    (found,) = similarities(DummyEncoder(), "black", "white")
    assert -0.9 < found < 0.5


@pytest.mark.parametrize("dimensions", [1, 0, -3])
def test_too_few_dimensions_are_refused(dimensions):
    with pytest.raises(EncoderError, match="Use 2 or more"):
        DummyEncoder(dimensions)


def test_no_grey_is_zero():
    encoder = DummyEncoder(2)
    greys = [Image.new("RGB", (20, 20), (value,) * 3) for value in range(256)]
    assert np.isfinite(encoder.encode(greys)).all()
