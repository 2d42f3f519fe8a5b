"""Runs a torch network as an encoder: device, batches, threads, memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..exceptions import EncoderError, MissingExtra
from . import devices
from .base import Encoder
from .lanes import Lanes

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class NetworkEncoder(Encoder):
    """Base of the encoders that run a torch network. Torch is imported at the first `encode()`.

    One network serves all threads of the process. It must not have run before a fork: encode in
    a process that starts no others, such as a Celery worker with `--pool=solo`.
    """

    requires = ("torch", "torchvision", "safetensors")

    def __init__(
        self, *, device: str = "auto", batch_size: int = 32, threads: int | None = None
    ) -> None:
        """`device`: auto, cpu, mps, cuda or cuda:N; auto takes the best that torch finds.

        `batch_size`: pictures that go through the network together; on a CPU, many are divided
        among its threads. Halved, for the rest of one `encode()`, when CUDA's memory runs out.
        `threads`: CPU threads of torch in this process, for all that uses torch in it; None
        leaves torch's own choice, a thread a core. Divide the cores among the workers of a
        machine: several processes with all cores each run many times slower.
        """
        devices.check(device)
        for name, value in (("batch_size", batch_size), ("threads", threads)):
            if value is not None and value < 1:
                raise EncoderError(f"{name} is {value}. It must be 1 or more.")
        self._device = device
        self._batch_size = batch_size
        self._threads = threads
        self._lock = Lock()
        self._ready: tuple[nn.Module, torch.device] | None = None
        self._lanes: Lanes | None = None
        """Of a network that is on the CPU, with several threads."""

    @property
    def uses_cuda(self) -> bool:
        return devices.means_cuda(self._device)

    @abstractmethod
    def build(self) -> nn.Module:
        """Returns the network with its weights, on the CPU. Called once."""

    @abstractmethod
    def prepare(self, images: Sequence[Image.Image]) -> Tensor:
        """Returns the network's input (images, 3, height, width) in float32, on the CPU."""

    def warm_up(self) -> None:
        if self._ready is None:
            self.vectors([Image.new("RGB", (64, 64))])

    def vectors(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        network, device = self.loaded()
        batches: list[NDArray[np.float32]] = []
        start, size = 0, self._batch_size
        while start < len(images):
            batch = images[start : start + size]
            vectors = self._unless_full(network, device, batch)
            if vectors is None:
                size = len(batch) // 2
                continue
            batches += vectors
            start += len(batch)
        return np.concatenate(batches)

    def loaded(self) -> tuple[nn.Module, torch.device]:
        """Returns the network, ready on its device, and the device; loads it the first time.

        Raises MissingExtra, and EncoderError when it doesn't fit into the device's memory.
        """
        with self._lock:
            if self._ready is None:
                try:
                    import torch
                except ModuleNotFoundError as error:
                    raise MissingExtra(type(self).__name__, "torch") from error
                device = devices.choose(self._device)
                if self._threads is not None:
                    torch.set_num_threads(self._threads)
                network = self.build().eval().requires_grad_(False)
                try:
                    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
                except torch.OutOfMemoryError as error:
                    raise EncoderError(_full(device, "The network")) from error
                if device.type == "cpu" and torch.get_num_threads() > 1:
                    self._lanes = Lanes()
                self._ready = (network, device)
            return self._ready

    def _unless_full(
        self, network: nn.Module, device: torch.device, images: Sequence[Image.Image]
    ) -> list[NDArray[np.float32]] | None:
        """Returns the vectors, in parts, or None if the batch doesn't fit into CUDA's memory."""
        import torch

        run = partial(self._run, network, device)
        try:
            return [run(images)] if self._lanes is None else self._lanes.run(run, images)
        except torch.OutOfMemoryError as error:
            if len(images) == 1:
                raise EncoderError(_full(device, "A single picture")) from error
        # Only here, after the exception and its frames, is the batch's memory free to be returned.
        torch.cuda.empty_cache()
        return None

    def _run(
        self, network: nn.Module, device: torch.device, images: Sequence[Image.Image]
    ) -> NDArray[np.float32]:
        import torch

        pictures = self.prepare(images)
        half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            output = network(pictures.to(device, memory_format=torch.channels_last))
            vectors: NDArray[np.float32] = output.float().cpu().numpy()
            return vectors


def _full(device: torch.device, what: str) -> str:
    return (
        f"{what} doesn't fit into the free memory of {device}. End what else runs there, or set "
        "the encoder's device to another."
    )
