"""Imports torchvision also where its compiled half doesn't fit the installed torch."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING

from ..exceptions import MissingExtra

if TYPE_CHECKING:
    from torch.library import Library

_lock = Lock()
_library: Library | None = None


def import_torchvision(feature: str) -> ModuleType:
    """Returns the module torchvision. `feature` is what MissingExtra names if it is absent.

    A torchvision that is built for CUDA can't load its operators on a CPU torch, and then its
    import fails with "operator torchvision::nms does not exist", though classification networks
    need none of them. In that case these operators are declared first; calling one fails as
    before. With a matching pair nothing is changed.
    """
    with _lock:
        try:
            if "torchvision" not in sys.modules:
                _declare_operators()
            return importlib.import_module("torchvision")
        except ModuleNotFoundError as error:
            raise MissingExtra(feature, "torch") from error


def _declare_operators() -> None:
    import torch

    global _library
    if _library is not None or _loads_operators():
        return
    # The object must live on: torch forgets the operators with it.
    _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        _library.define(schema)  # type: ignore[no-untyped-call]


def _loads_operators() -> bool:
    import torch

    found = importlib.util.find_spec("torchvision")
    if found is None:
        return True  # importing it gives the error that says so
    folders = [Path(folder) for folder in found.submodule_search_locations or []]
    compiled = [path for folder in folders for path in sorted(folder.glob("_C.*"))]
    if not compiled:
        return False
    try:
        torch.ops.load_library(str(compiled[0]))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True
