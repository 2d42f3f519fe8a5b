"""The log's numbers for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..exceptions import MissingExtra


def writer(folder: Path, *, first_step: int) -> Callable[[int, dict[str, float]], None]:
    """Returns a function that adds the numbers of a step to `folder`/tensorboard.

    `first_step`: where the run begins or goes on; what was written from there on is forgotten.
    Raises MissingExtra without the package tensorboard.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingExtra("--tensorboard", "tensorboard") from error
    events = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)

    def add(step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            events.add_scalar(name, value, step)
        events.flush()

    return add
