"""What is read from an encoder's exception, with and without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from cardigan_reco.encoders import failures

LOST = getattr(torch, "AcceleratorError", RuntimeError)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_a_full_memory_is_no_lost_device(error: Exception) -> None:
    assert failures.is_out_of_memory(error)
    assert not failures.is_device_lost(error)


@pytest.mark.parametrize(
    "error",
    [
        LOST("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: unspecified launch failure"),
    ],
)
def test_a_lost_device_is_no_full_memory(error: Exception) -> None:
    assert failures.is_device_lost(error)
    assert not failures.is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("sizes differ"), ValueError("CUDA error"), OSError()]
)
def test_other_errors_are_neither(error: Exception) -> None:
    assert not failures.is_device_lost(error)
    assert not failures.is_out_of_memory(error)


def test_none_of_it_imports_torch() -> None:
    script = (
        "import sys\n"
        "from cardigan_reco.encoders import failures\n"
        "assert failures.is_out_of_memory(MemoryError())\n"
        "assert not failures.is_out_of_memory(RuntimeError())\n"
        "assert failures.is_device_lost(RuntimeError('CUDA error: gone'))\n"
        "failures.free_memory()\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
