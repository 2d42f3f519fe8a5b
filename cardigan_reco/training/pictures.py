"""Encodes examples as a shop's worker would: decoded by `images.load()`, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from ..encoders import Encoder
from ..exceptions import ImageError
from .examples import Example, ExamplesError

_BATCH = 64


def encode(
    encoder: Encoder, examples: Sequence[Example], *, name: str, threads: int, progress: bool
) -> NDArray[np.float32]:
    """Returns an array (examples, dimensions) of vectors of length 1; `name` is for the bar.

    Raises ExamplesError for a picture that can't be decoded.
    """

    def load(example: Example) -> Image.Image:
        try:
            return example.load(min_side=encoder.min_side)
        except (ImageError, OSError) as error:
            raise ExamplesError(f"{example.name} can't be used: {error}") from error

    parts = []
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=len(examples), unit=" pictures", desc=name, disable=not progress) as bar,
    ):
        for start in range(0, len(examples), _BATCH):
            batch = list(pool.map(load, examples[start : start + _BATCH]))
            parts.append(encoder.encode(batch))
            bar.update(len(batch))
    return np.concatenate(parts)
