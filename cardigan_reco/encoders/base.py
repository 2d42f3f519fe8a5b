"""The contract of an encoder: pictures in, vectors of length 1 out."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, final

from ..exceptions import EncoderError, InvalidVectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_SHORTEST = 2.0**-126
"""The least normal float32."""


class Encoder(ABC):
    """Turns pictures into vectors whose inner product is their cosine similarity.

    A subclass gives `dimensions`, `fingerprint` and `vectors()`, and takes its options as
    keyword arguments. One instance serves all threads of a process.
    """

    describes_itself: ClassVar[bool] = True
    """Whether `dimensions`, `fingerprint`, `min_side` and `fit()` import no torch."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Packages, by the names they are imported by, that `encode()` needs and Django doesn't."""

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """Length of the vectors."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """64 hexadecimal digits that change whenever the vectors of a picture would.

        See `fingerprint()` in this module.
        """

    @property
    def min_side(self) -> int | None:
        """Pixels that a picture's short side is worth; the hint for `images.load()`."""
        return None

    @property
    def uses_cuda(self) -> bool:
        """Whether this encoder would run on CUDA, found out without importing torch."""
        return False

    def warm_up(self) -> None:  # noqa: B027  Most have nothing to load.
        """Loads now what the first `encode()` would load; does nothing the second time."""

    def fit(self, image: Image.Image) -> Image.Image:
        """Returns a picture, often smaller, of which `vectors()` makes the same as of `image`.

        Called by the threads that decode, several at once, so that resizing holds up no network.
        """
        return image

    @abstractmethod
    def vectors(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Returns an array (images, dimensions) that needn't be normalised. Never called empty.

        The pictures are RGB, as `images.load()` returns them or as `fit()` does.
        """

    @final
    def encode(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Returns an array (images, dimensions) of float32, each row of length 1.

        Raises InvalidVectors, with the rows, where the encoder returned zero, NaN or infinity,
        EncoderError when it can't run, MissingExtra when its packages are absent.
        """
        import numpy as np  # Every web process imports this contract, few of them encode.

        if not images:
            return np.empty((0, self.dimensions), np.float32)
        vectors = np.asarray(self.vectors(images), np.float32)
        if vectors.shape != (len(images), self.dimensions):
            raise EncoderError(
                f"{type(self).__name__}.vectors() returned an array of shape {vectors.shape}. "
                f"It must be {(len(images), self.dimensions)}: a row a picture, a column a "
                "dimension."
            )
        # Scaled first: the square of a large float32 would overflow.
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            largest = np.abs(vectors).max(axis=1, keepdims=True)
            scaled = vectors / largest
        bad = ~(np.isfinite(vectors).all(axis=1) & (largest[:, 0] >= _SHORTEST))
        if bad.any():
            rows = [int(row) for row in np.flatnonzero(bad)]
            raise InvalidVectors(
                f"{type(self).__name__} returned vectors that are zero or not finite for "
                f"{len(rows)} of {len(images)} pictures, at positions {rows}. Encode these "
                "pictures one by one to find out which; a network whose weights overflow does so.",
                rows,
            )
        normalised: NDArray[np.float32] = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
        return normalised


def fingerprint(description: Mapping[str, object]) -> str:
    """Returns the SHA-256, 64 hexadecimal digits, of whatever determines an encoder's vectors.

    `description` names all of it in JSON's types: the backend's dotted path, the weights' hash,
    the preprocessing, the dimensions. The order of its keys doesn't matter.
    """
    text = json.dumps(description, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def dotted_path(encoder: Encoder) -> str:
    """Returns where the encoder's class is defined."""
    return f"{type(encoder).__module__}.{type(encoder).__qualname__}"
