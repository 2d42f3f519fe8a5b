"""All pictures of a training, decoded once into one array on disk."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from ..exceptions import ImageError
from . import cutouts
from .examples import Example, ExamplesError

Pixels = np.memmap[tuple[int, ...], np.dtype[np.uint8]]

_BATCH = 256
_SHOWN_TOGETHER = 128
_PROBLEMS = 5


def decode(
    examples: Sequence[Example], side: int, file: Path, *, threads: int, progress: bool
) -> NDArray[np.uint8]:
    """Returns an array (examples, side, side, 4) in the file, which the system pages in and out.

    Pictures are made to fit, centred; the fourth channel is 255 where there is something else than
    plain white background. At most a few hundred decoded pictures are held in memory.

    Raises ExamplesError, with counts and names, when pictures are missing or can't be decoded, and
    when there is no space for the array.
    """
    pixels = _allocate(file, (len(examples), side, side, 4))
    problems: list[str] = []
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=len(examples), unit=" pictures", disable=not progress, desc="decode") as bar,
    ):
        waiting: deque[tuple[int, Future[NDArray[np.uint8]]]] = deque()
        for row, example in enumerate(examples):
            waiting.append((row, pool.submit(_fit, example, side)))
            if len(waiting) >= _BATCH:
                _collect(waiting, _BATCH // 2, examples, pixels, problems)
                bar.update(_BATCH // 2)
        bar.update(len(waiting))
        _collect(waiting, len(waiting), examples, pixels, problems)
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:_PROBLEMS])
        more = f"\n  and {len(problems) - _PROBLEMS} more" if len(problems) > _PROBLEMS else ""
        raise ExamplesError(
            f"{len(problems)} of {len(examples)} pictures can't be used:\n{shown}{more}\n"
            "Mend them, or take their rows out."
        )
    for start in range(0, len(examples), _BATCH):
        part = torch.from_numpy(pixels[start : start + _BATCH])
        part[..., 3] = torch.minimum(part[..., 3], cutouts.alpha(part[..., :3]))
    pixels.flush()
    return pixels


def _allocate(file: Path, shape: tuple[int, ...]) -> Pixels:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        pixels: Pixels = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
        # A page for which there is no space when it is written ends the process with SIGBUS.
        if hasattr(os, "posix_fallocate"):
            with file.open("r+b") as made:
                os.posix_fallocate(made.fileno(), 0, file.stat().st_size)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise ExamplesError(
            f"The decoded pictures need {math.prod(shape) / 1e9:.1f} GB in {file.parent}: "
            f"{error.strerror}. Free that much, choose another folder, or smaller sizes."
        ) from error
    return pixels


def _collect(
    waiting: deque[tuple[int, Future[NDArray[np.uint8]]]],
    count: int,
    examples: Sequence[Example],
    pixels: NDArray[np.uint8],
    problems: list[str],
) -> None:
    for _ in range(count):
        row, future = waiting.popleft()
        try:
            pixels[row] = future.result()
        except OSError as error:
            problems.append(f"{examples[row].name}: {error.strerror or error}")
        except ImageError as error:
            problems.append(f"{examples[row].name}: {error}")


def _fit(example: Example, side: int) -> NDArray[np.uint8]:
    image = example.load(min_side=side)
    factor = side / max(image.size)
    width, height = (max(1, round(length * factor)) for length in image.size)
    small = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    result = np.full((side, side, 4), 255, np.uint8)
    result[..., 3] = 0
    top, left = (side - height) // 2, (side - width) // 2
    result[top : top + height, left : left + width, :3] = small
    result[top : top + height, left : left + width, 3] = 255
    return result


def shown(pixels: NDArray[np.uint8], rows: NDArray[np.int64], size: int) -> Iterator[Tensor]:
    """Yields batches (n, 3, size, size) in float32 from 0 to 1, as an encoder would see them."""
    for start in range(0, len(rows), _SHOWN_TOGETHER):
        part = torch.from_numpy(pixels[rows[start : start + _SHOWN_TOGETHER], :, :, :3])
        batch = part.permute(0, 3, 1, 2).float() / 255
        yield functional.interpolate(
            batch, (size, size), mode="bilinear", antialias=True, align_corners=False
        )
