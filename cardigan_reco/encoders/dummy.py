"""An encoder without a network, for tests and first steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..exceptions import EncoderError
from .base import Encoder, dotted_path, fingerprint

_SIDE = 4
_SEED = 2018
_REVISION = 1


class DummyEncoder(Encoder):
    """Compares where a picture has which colours: a thumbnail of 4 x 4, projected at random.

    Equal pictures get equal vectors, similar colours near ones: from 4 dimensions on the angles
    between pictures of one colour each don't depend on `dimensions`. It knows nothing of shapes.
    """

    def __init__(self, dimensions: int = 64) -> None:
        """`dimensions` is 2 or more; EncoderError otherwise."""
        if dimensions < 2:
            raise EncoderError(f"DummyEncoder's dimensions are {dimensions}. Use 2 or more.")
        self._dimensions = dimensions
        self._projection = _projection(dimensions)

    @property
    def dimensions(self) -> int:
        return self._dimensions

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            {
                "backend": dotted_path(self),
                "revision": _REVISION,
                "dimensions": self._dimensions,
            }
        )

    @property
    def min_side(self) -> int:
        return 4 * _SIDE

    def vectors(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        layouts = np.stack([_layout(image) for image in images])
        projected: NDArray[np.float32] = (layouts @ self._projection).astype(np.float32)
        return projected


def _layout(image: Image.Image) -> NDArray[np.float64]:
    """Returns a constant, the mean colour, and each cell's difference from it."""
    thumbnail = image.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    cells = np.asarray(thumbnail, np.float64).reshape(-1, 3) / 255 - 0.5
    mean = cells.mean(axis=0)
    # The constant keeps mid-grey from being zero, and black from being just the opposite of white.
    return np.concatenate([[0.5], mean, ((cells - mean) / _SIDE).ravel()])


def _projection(dimensions: int) -> NDArray[np.float64]:
    """Returns a matrix (features, dimensions) with as many orthonormal rows as there can be."""
    features = 1 + 3 + 3 * _SIDE**2
    matrix: NDArray[np.float64] = (
        np.random.default_rng(_SEED).normal(size=(features, dimensions)) / dimensions**0.5
    )
    exact = min(features, dimensions)
    matrix[:exact] = np.linalg.qr(matrix[:exact].T)[0].T
    return matrix
