"""What an encoder's exception says of the machine it runs on, told without importing torch."""

from __future__ import annotations

import sys


def is_out_of_memory(error: BaseException) -> bool:
    """Whether fewer pictures at a time might fit."""
    return isinstance(error, (MemoryError, _torch("OutOfMemoryError")))


def is_device_lost(error: BaseException) -> bool:
    """Whether the accelerator failed, after which nothing in this process can use it again."""
    if is_out_of_memory(error):
        return False
    return isinstance(error, _torch("AcceleratorError")) or (
        # torch < 2.8 has no exception of its own for it.
        isinstance(error, RuntimeError) and str(error).startswith("CUDA error")
    )


def free_memory() -> None:
    """Returns what torch holds back of CUDA's memory; only outside of the exception it helps."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _torch(name: str) -> type[BaseException] | tuple[()]:
    """Returns an exception of torch; no exception is one where torch isn't loaded or lacks it."""
    found = getattr(sys.modules.get("torch"), name, ())
    return found if isinstance(found, type) else ()
