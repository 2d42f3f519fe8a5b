"""The encoder that the shop swaps to: without a network, and of another mind than the dummy."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cardigan_reco.encoders.dummy import DummyEncoder


class GreyEncoder(DummyEncoder):
    """The dummy without colours, which takes its time, as a network does."""

    def __init__(self, dimensions: int, seconds: float) -> None:
        """`seconds`: what a picture takes."""
        super().__init__(dimensions)
        self._seconds = seconds

    def vectors(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        time.sleep(self._seconds * len(images))
        return super().vectors([image.convert("L").convert("RGB") for image in images])
