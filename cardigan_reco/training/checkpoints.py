"""A run's state in a file, so that it goes on where it was killed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .examples import ExamplesError

FILE = "checkpoint.pt"


def save(folder: Path, state: Mapping[str, object]) -> None:
    """Writes the state whole: a kill while writing leaves the one before."""
    unfinished = folder / f"{FILE}.unfinished"
    with unfinished.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / FILE)


def load(folder: Path, run: Mapping[str, object]) -> dict[str, Any] | None:
    """Returns the state in the folder, or None where there is none.

    `run` describes the recipe and the pictures. Raises ExamplesError when the state was written by
    a run with another description.
    """
    file = folder / FILE
    if not file.exists():
        return None
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    earlier = state["run"]
    if earlier != run:
        changed = sorted(
            key for key in earlier.keys() | run.keys() if earlier.get(key) != run.get(key)
        )
        raise ExamplesError(
            f"{file} comes from a run with another {', '.join(changed)}. Repeat that run's options "
            "to go on with it, or choose another folder."
        )
    return state
