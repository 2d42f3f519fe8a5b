"""The log's numbers for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..exceptions import MissingExtra


def writer(folder: Path) -> Callable[[int, dict[str, float]], None]:
    """Returns a function that adds the numbers of a step to `folder`/tensorboard.

    Raises MissingExtra without the package tensorboard.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingExtra("--tensorboard", "tensorboard") from error
    events = SummaryWriter(str(folder / "tensorboard"))

    def add(step: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            events.add_scalar(name, value, step)
        events.flush()

    return add
