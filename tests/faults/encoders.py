"""Encoders with the troubles of real machines: full memory, a device that is lost, slowness."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cardigan_reco.encoders.dummy import DummyEncoder


class CrampedEncoder(DummyEncoder):
    """Has memory for a few pictures; writes how many it was given each time."""

    def __init__(self, dimensions: int, fits: int, log: str) -> None:
        super().__init__(dimensions)
        self._fits = fits
        self._log = Path(log)

    def vectors(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        import torch

        with self._log.open("a") as log:
            log.write(f"{len(images)}\n")
        if len(images) > self._fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().vectors(images)


class LostEncoder(DummyEncoder):
    """Its device fell off the bus."""

    def vectors(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        import torch

        error = getattr(torch, "AcceleratorError", RuntimeError)
        raise error("CUDA error: unspecified launch failure")


class HeldEncoder(DummyEncoder):
    """Tells in a file that it has pictures in hand, and keeps them as long as another file lies
    there.
    """

    def __init__(self, dimensions: int, folder: str) -> None:
        super().__init__(dimensions)
        self._folder = Path(folder)

    def vectors(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        (self._folder / "busy").touch()
        while (self._folder / "hold").exists():
            time.sleep(0.01)
        return super().vectors(images)


class SlowEncoder(DummyEncoder):
    """Takes its time for each picture; `hangs`: and never returns from a blue one."""

    def __init__(self, dimensions: int, seconds: float, hangs: bool = False) -> None:
        super().__init__(dimensions)
        self._seconds = seconds
        self._hangs = hangs

    def vectors(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        time.sleep(self._seconds * len(images))
        while self._hangs and any(image.getpixel((0, 0))[2] > 180 for image in images):
            time.sleep(3600)
        return super().vectors(images)
