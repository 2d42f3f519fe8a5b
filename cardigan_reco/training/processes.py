"""Several processes that train one network, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..exceptions import CardiganError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """This process's place among them; alone, 0 of 1."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    """Its place on this machine, which is the CUDA device's number."""

    @property
    def leads(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Returns the network with its gradients averaged over the processes."""
        if self.count == 1:
            return network
        if device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
            return DistributedDataParallel(network, device_ids=[device.index])
        return DistributedDataParallel(network)

    def deal(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns this process's share of the rows."""
        return rows[self.rank :: self.count]

    def order(self, count: int) -> NDArray[np.int64]:
        """Returns where each of so many rows lies among those that `deal()` gave the processes."""
        dealt = [np.arange(count)[rank :: self.count] for rank in range(self.count)]
        return np.argsort(np.concatenate(dealt))

    def gather(self, vectors: Tensor) -> Tensor:
        """Returns the vectors of all processes, in the order of their ranks.

        Gradients flow back to this process's own, so many times as there are processes: each
        computes the loss of all, and the mean that `wrap()` takes is then the whole gradient.
        """
        if self.count == 1:
            return vectors
        gathered = [torch.empty_like(vectors) for _ in range(self.count)]
        distributed.all_gather(gathered, vectors.detach().contiguous())
        gathered[self.rank] = vectors + (self.count - 1) * (vectors - vectors.detach())
        return torch.cat(gathered)

    def collect(self, vectors: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Returns the vectors that each process has, in the order of their ranks, to all."""
        if self.count == 1:
            return [vectors]
        collected: list[NDArray[np.float32]] = [vectors] * self.count
        distributed.all_gather_object(collected, vectors)
        return collected

    def agree(self, compute: Callable[[], Result]) -> Result:
        """Returns what `compute` returns in the process that leads, to all of them.

        What it raises there is raised there; the others raise CardiganError, with its message.
        """
        if self.count == 1:
            return compute()
        results: list[object] = [None, None]
        try:
            if self.leads:
                results[0] = compute()
        except Exception as error:
            results[1] = f"{type(error).__name__}: {error}"
            raise
        finally:
            distributed.broadcast_object_list(results)
        if results[1] is not None:
            raise CardiganError(f"The process that leads ended. {results[1]}")
        return cast(Result, results[0])


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Joins the processes that torchrun's environment variables name, and leaves them after."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    cuda = device != "cpu" and torch.cuda.is_available()
    # The others wait while the first decodes all pictures, or encodes them to mine triplets.
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(days=1))
    try:
        yield Processes(distributed.get_rank(), count, int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        distributed.destroy_process_group()
