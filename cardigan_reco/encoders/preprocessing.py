"""From a picture to the numbers that a network takes, with Pillow and numpy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

_INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_SQUARE_SIDES = 16
"""A square that a picture is padded to is at most so many times as wide as the network's input."""


@dataclass(frozen=True)
class Preprocessing:
    """How a network was shown its pictures in training, and must be shown all others."""

    resize: tuple[int, int]
    """Height and width of the network's input in pixels."""
    mean: tuple[float, float, float]
    """Subtracted from each channel once the values are in [0, 1]."""
    std: tuple[float, float, float]
    """What each channel is divided by after that."""
    interpolation: str = "bilinear"
    """nearest, bilinear, bicubic or lanczos."""
    pad_to_square: tuple[int, int, int] | None = None
    """Colour of the bars that make a picture square, centred; None: it is stretched instead."""
    mode: str = "RGB"
    """Pillow's mode: RGB is the only one."""

    def __post_init__(self) -> None:
        """Raises ValueError, with the choices, for values that can't be applied."""
        if self.mode != "RGB":
            raise ValueError(f"mode is {self.mode!r}. Choices are: 'RGB'.")
        if self.interpolation not in _INTERPOLATIONS:
            choices = ", ".join(_INTERPOLATIONS)
            raise ValueError(f"interpolation is {self.interpolation!r}. Choices are: {choices}.")
        if len(self.resize) != 2 or min(self.resize) < 1:
            raise ValueError(f"resize is {self.resize}. It must be a height and a width in pixels.")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                f"mean is {self.mean} and std {self.std}. Each must be three numbers, std above 0."
            )
        if self.pad_to_square is not None and len(self.pad_to_square) != 3:
            raise ValueError(f"pad_to_square is {self.pad_to_square}. It must be a colour or None.")

    @classmethod
    def from_json(cls, description: Mapping[str, object]) -> Preprocessing:
        """Returns what `to_json()` described; raises ValueError for a missing or unknown key."""
        values = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in description.items()
        }
        try:
            return cls(**values)  # type: ignore[arg-type]  # __post_init__ checks the values
        except TypeError as error:
            names = ", ".join(cls.__dataclass_fields__)
            raise ValueError(f"preprocessing is {description}. It takes: {names}.") from error

    def to_json(self) -> dict[str, object]:
        """Returns the fields in JSON's types."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @property
    def min_side(self) -> int:
        """The longer side of the network's input in pixels."""
        return max(self.resize)

    def fit(self, image: Image.Image) -> Image.Image:
        """Returns a picture of the network's size, of which `apply()` makes the same as of `image`.

        Where that size is no square and pictures are padded to one, it returns `image`: what has
        the size already would be padded again.
        """
        height, width = self.resize
        return image if self.pad_to_square and height != width else self._resized(image)

    def apply(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Returns an array (images, 3, height, width)."""
        height, width = self.resize
        mean = np.tile(np.asarray(self.mean, np.float32), width)
        std = np.tile(np.asarray(self.std, np.float32), width)
        batch = np.empty((len(images), height, width * 3), np.float32)
        for picture, image in zip(batch, images, strict=True):  # One by one they stay in the cache.
            picture[:] = np.asarray(self._resized(image)).reshape(picture.shape)
            picture /= 255
            picture -= mean
            picture /= std
        return batch.reshape(len(images), height, width, 3).transpose(0, 3, 1, 2)

    def _resized(self, image: Image.Image) -> Image.Image:
        height, width = self.resize
        method = _INTERPOLATIONS[self.interpolation]
        if self.pad_to_square is not None and image.width != image.height:
            # The square around a long picture would take many times its memory.
            side = min(max(image.size), _SQUARE_SIDES * self.min_side)
            image = ImageOps.pad(image, (side, side), method, self.pad_to_square)
        return image.resize((width, height), method)
