"""What every encoder promises, asked of each."""

import numpy as np
import pytest
from PIL import Image

from cardigan_reco.encoders.base import Encoder, fingerprint
from cardigan_reco.encoders.dummy import DummyEncoder
from cardigan_reco.encoders.torch import TorchEncoder
from cardigan_reco.encoders.torchvision import TorchvisionEncoder
from cardigan_reco.exceptions import EncoderError, InvalidVectors
from tests.encoders.conftest import SMALL_NETWORKS

MAKERS = ["dummy 2", "dummy 64", "dummy 500", "torch", *SMALL_NETWORKS]


@pytest.fixture(params=MAKERS, scope="module")
def make(request, random_weights):
    name = request.param
    if name.startswith("dummy"):
        return lambda: DummyEncoder(dimensions=int(name.split()[1]))
    if name == "torch":
        return lambda: TorchEncoder(device="cpu", batch_size=3)
    return lambda: TorchvisionEncoder(name, random_weights(name), device="cpu", batch_size=3)


@pytest.fixture(scope="module")
def encoder(make):
    return make()


def test_a_picture_that_was_fitted_has_the_same_vector(encoder, shirt, bottle):
    fitted = [encoder.fit(shirt), encoder.fit(bottle)]
    assert np.array_equal(encoder.encode(fitted), encoder.encode([shirt, bottle]))


def test_a_row_a_picture_of_length_1(encoder, shirt, bottle):
    vectors = encoder.encode([shirt, bottle, shirt, bottle, shirt])
    assert vectors.shape == (5, encoder.dimensions)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)


def test_no_picture_no_row(encoder):
    assert encoder.encode([]).shape == (0, encoder.dimensions)


def test_a_picture_has_one_vector_whatever_its_company(encoder, shirt, bottle):
    alone = encoder.encode([shirt])[0]
    among = encoder.encode([bottle, bottle, shirt, bottle])[2]
    assert np.abs(alone - among).max() < 1e-4


@pytest.mark.parametrize("colour", ["black", "white", (127, 127, 127), "red"])
def test_a_plain_picture_has_a_vector(encoder, colour):
    vector = encoder.encode([Image.new("RGB", (50, 70), colour)])[0]
    assert np.isfinite(vector).all()


def test_the_fingerprint_is_the_same_for_the_same_options(make, encoder):
    assert make().fingerprint == encoder.fingerprint
    assert len(bytes.fromhex(encoder.fingerprint)) == 32


def test_two_instances_encode_alike(make, encoder, shirt):
    assert np.array_equal(make().encode([shirt]), encoder.encode([shirt]))


def test_the_hint_for_the_loader_is_a_number_of_pixels(encoder):
    assert 8 <= encoder.min_side <= 600


def test_fingerprints_differ_between_encoders(random_weights):
    made = [
        DummyEncoder(8),
        DummyEncoder(9),
        TorchEncoder(),
        *(TorchvisionEncoder(name, random_weights(name)) for name in SMALL_NETWORKS),
        TorchvisionEncoder("resnet18", "IMAGENET1K_V1"),
        TorchvisionEncoder("resnet34", "IMAGENET1K_V1"),
    ]
    assert len({encoder.fingerprint for encoder in made}) == len(made)


def test_a_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


class Fixed(Encoder):
    """Returns the vectors that it is given."""

    def __init__(self, vectors):
        self._vectors = np.asarray(vectors)

    @property
    def dimensions(self):
        return 3

    @property
    def fingerprint(self):
        return fingerprint({"fixed": self._vectors.tolist()})

    def vectors(self, images):
        return self._vectors


def pictures(number):
    return [Image.new("RGB", (8, 8))] * number


@pytest.mark.parametrize("bad", [[0, 0, 0], [1, np.nan, 0], [np.inf, 0, 0], [-np.inf, 1, 0]])
def test_zero_and_not_finite_vectors_are_refused_by_row(bad):
    with pytest.raises(
        InvalidVectors, match=r"for 2 of 4 pictures, at positions \[1, 3\]"
    ) as caught:
        Fixed([[1, 0, 0], bad, [0, 1, 0], bad]).encode(pictures(4))
    assert caught.value.rows == [1, 3]


@pytest.mark.parametrize("length", [1e-30, 1.0, 1e38])
def test_very_short_and_long_vectors_are_normalised(length):
    vector = Fixed([[3 * length, 0, -4 * length * 0.5]]).encode(pictures(1))[0]
    assert vector == pytest.approx([3 / 13**0.5, 0, -2 / 13**0.5], abs=1e-6)


def test_a_wrong_shape_is_named():
    with pytest.raises(EncoderError, match=r"shape \(1, 2\). It must be \(1, 3\)"):
        Fixed([[1, 2]]).encode(pictures(1))
