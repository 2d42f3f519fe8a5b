"""What is known of the pictures, as the numbers that a loss takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .examples import Example
from .losses import Batch, Column
from .recipe import Recipe
from .sampling import Rows, alone, classes, codes


@dataclass(frozen=True)
class Targets:
    """A row for each example."""

    labels: Mapping[str, Tensor]
    """Column -> class numbers (examples, most classes of a cell), filled up with -1."""
    columns: Sequence[Column]
    groups: Tensor
    items: Tensor

    @classmethod
    def of(cls, examples: Sequence[Example], recipe: Recipe) -> Targets:
        """Returns them; classes that no training picture has are unknown."""
        training = [example.split == "train" for example in examples]
        labels: dict[str, Tensor] = {}
        columns: list[Column] = []
        for name, aspect, weight in recipe.columns:
            cells = [example.labels.get(name, "") for example in examples]
            numbers = classes(cells, training)
            labels[name] = torch.from_numpy(numbers)
            columns.append(Column(name, int(numbers.max()) + 1, aspect, weight))
        items = alone(codes([example.item for example in examples]))
        groups = alone(codes([example.design for example in examples]))
        return cls(labels, columns, torch.from_numpy(groups), torch.from_numpy(items))

    @property
    def plain(self) -> list[str]:
        """The columns whose cells hold one class at most."""
        return [name for name, cells in self.labels.items() if cells.shape[1] == 1]

    def batch(self, rows: Rows, device: torch.device) -> Batch:
        """Returns what is known of these rows; of several classes it draws one."""
        labels = {name: _drawn(cells[rows]).to(device) for name, cells in self.labels.items()}
        return Batch(labels, self.groups[rows].to(device), self.items[rows].to(device))


def _drawn(cells: Tensor) -> Tensor:
    """Returns one class (n,) of each row's (n, most classes), -1 where there is none.

    On average over the steps that is the soft target of arXiv 1805.00932, 1 / k for each of k.
    """
    counts = (cells >= 0).sum(1)
    drawn = (torch.rand(len(cells)) * counts).long()
    return cells.gather(1, drawn[:, None])[:, 0]
