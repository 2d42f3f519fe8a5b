"""From rows of pictures to the vectors that a network gives them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from . import covers, pixels
from .augmentations import LIGHT, STRONG, WILD
from .processes import Processes
from .sampling import Rows

MEAN, STD = 0.5, 0.25
"""Pictures from 0 to 1 are shown to the network minus MEAN, divided by STD."""
_QUICK_SECONDS = 5
"""What takes no longer than this needs no progress bar."""


class Forward:
    """Shows decoded pictures to networks; vectors come back in the order of the rows."""

    def __init__(
        self,
        pictures: NDArray[np.uint8],
        *,
        wild: NDArray[np.bool_],
        device: torch.device,
        precision: str,
        processes: Processes,
        progress: bool = False,
    ) -> None:
        """`pictures`: (examples, side, side, 4) of `pixels.decode()`; `wild`: (examples,), which
        are changed most. `progress`: whether `encode()` shows how far it is.
        """
        self._pictures = pictures
        self._wild = wild
        self._device = device
        self._processes = processes
        self._progress = progress
        self.precision = _precision(precision, device)

    def changed(
        self, network: nn.Module, rows: Rows, *, side: int, parts: int, seed: int
    ) -> tuple[Tensor, Rows]:
        """Returns vectors (rows, dimensions) of changed pictures, and the rows that they are
        learned as.

        The first of `parts` equal parts is changed a little, the rest strongly; wild ones are
        changed most, and some are covered by others. Each process computes its share of every part.
        """
        rank, count = self._processes.rank, self._processes.count
        covered = covers.draw(self._wild[rows], seed=seed, processes=count)
        own = self._processes.deal(rows)
        generator = torch.Generator(self._device).manual_seed(seed * 64 + rank)
        chosen = torch.from_numpy(self._pictures[own]).to(self._device)
        pictures = chosen.new_empty((len(own), 3, side, side), dtype=torch.float32)
        strengths = np.where(self._wild[own], 2, np.arange(len(own)) >= len(own) // parts)
        for strength, augmentation in enumerate((LIGHT, STRONG, WILD)):
            if places := np.flatnonzero(strengths == strength).tolist():
                pictures[places] = augmentation.apply(chosen[places], side, generator)
        pictures = covers.apply(pictures, covered, rank=rank, processes=count)
        with self._autocast():
            output = network(_shown(pictures))
        gathered = self._processes.gather(functional.normalize(output.float()))
        vectors = gathered[torch.from_numpy(self._processes.order(len(rows)))]
        return vectors, covers.learned_as(rows, covered)

    def encode(self, network: nn.Module, rows: Rows, *, side: int) -> NDArray[np.float32]:
        """Returns vectors (rows, dimensions) of the pictures as they are, in this process alone."""
        network.eval()
        vectors = []
        with (
            torch.inference_mode(),
            self._autocast(),
            tqdm(
                total=len(rows),
                unit=" pictures",
                desc="encode",
                delay=_QUICK_SECONDS,
                leave=False,
                disable=not self._progress,
            ) as bar,
        ):
            for batch in pixels.shown(self._pictures, rows, side):
                output = network(_shown(batch.to(self._device)))
                vectors.append(functional.normalize(output.float()).cpu())
                bar.update(len(batch))
        return torch.cat(vectors).numpy()

    def encode_together(self, network: nn.Module, rows: Rows, *, side: int) -> NDArray[np.float32]:
        """Returns what `encode()` does, to all processes, each of which computes its share."""
        if len(rows) < self._processes.count:
            return self.encode(network, rows, side=side)
        own = self.encode(network, self._processes.deal(rows), side=side)
        return np.concatenate(self._processes.collect(own))[self._processes.order(len(rows))]

    def _autocast(self) -> torch.autocast:
        enabled = self.precision is not torch.float32
        return torch.autocast(self._device.type, self.precision, enabled=enabled)


def _shown(pictures: Tensor) -> Tensor:
    return ((pictures - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def _precision(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if bf16 else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
