"""Where a network runs."""

from __future__ import annotations

import os
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ..exceptions import EncoderError

if TYPE_CHECKING:
    import torch

_NAME = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check(name: str) -> None:
    """Raises EncoderError unless the name is one that `choose()` takes."""
    if not _NAME.fullmatch(name):
        raise EncoderError(
            f"Device {name!r} is unknown. Choices are: auto, cpu, mps, cuda, cuda:0, cuda:1 ..."
        )


def means_cuda(name: str) -> bool:
    """Returns whether `choose()` would return a CUDA device, found out without torch.

    An NVIDIA device that is visible and a torch that isn't the CPU build count as one.
    """
    if name != "auto":
        return name.startswith("cuda")
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "NoDevFiles"):
        return False
    if not any(Path("/dev").glob("nvidia[0-9]*")) and not Path("/dev/dxg").exists():
        return False
    try:
        return not metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False


def choose(name: str) -> torch.device:
    """Returns the device of that name; "auto" is CUDA, else Apple's MPS, else the CPU.

    Raises EncoderError when it isn't there.
    """
    import torch

    check(name)
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    device = torch.device(name)
    there = {
        "cuda": cuda and (device.index or 0) < torch.cuda.device_count(),
        "mps": mps,
        "cpu": True,
    }
    if not there[device.type]:
        present = ["cpu", *["mps"] * mps, *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
        raise EncoderError(
            f"Device {name!r} isn't available to torch {torch.__version__}. Choices are: "
            f"{', '.join(present)}. Use 'auto' to take the best that is there."
        )
    return device
