"""Encoders for the processes that a test starts: they tell what they were asked for, or fail."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cardigan_reco.encoders.dummy import DummyEncoder
from cardigan_reco.exceptions import EncoderError, MissingExtra


class RecordingEncoder(DummyEncoder):
    """Writes each picture's batch and the colour of its corner to a file before it encodes them.

    From `hangs_at` pictures on it never returns, so that the process can be killed there.
    """

    def __init__(self, dimensions: int, log: str, hangs_at: int | None = None) -> None:
        super().__init__(dimensions)
        self._log = Path(log)
        self._hangs_at = hangs_at
        self._seen = 0
        self._batches = 0

    def vectors(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        self._seen += len(images)
        self._batches += 1
        lines = [f"{self._batches} {image.getpixel((0, 0))}\n" for image in images]
        with self._log.open("a") as log:
            log.writelines(lines)
        while self._hangs_at is not None and self._seen >= self._hangs_at:
            time.sleep(1)
        return super().vectors(images)


class CudaEncoder(DummyEncoder):
    """Claims to run on CUDA."""

    @property
    def uses_cuda(self) -> bool:
        return True


class BrokenEncoder(DummyEncoder):
    """Can't encode anything."""

    def vectors(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        raise EncoderError("The weights are gone.")


class BareEncoder(DummyEncoder):
    """Lacks its packages."""

    def vectors(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        raise MissingExtra("BareEncoder", "torch")
