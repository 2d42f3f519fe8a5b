"""A light trunk of our own, which keeps what lies where and how it is coloured.

A residual network (arXiv 1512.03385) that starts with a convolution at stride 4, so that a CPU
spends its time on few large multiplications. Averaging its last map over the picture, as others do,
forgets the layout, which tells one design from the next; here coarse grids of the last map and of
the first one come beside the average. The second is the shallow path of Deep Ranking (CVPR 2014).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

NAME = "gridnet"
WIDTHS, BLOCKS = (64, 160, 320), (2, 4, 2)
GRID = 4
"""Cells to a side of both grids."""
DEEP, SHALLOW = 64, 48
"""Channels of each cell."""


class GridNet(nn.Module):
    """Maps (n, 3, height, width) to (n, WIDTH); sides of 32 pixels or more."""

    WIDTH = WIDTHS[-1] + (DEEP + SHALLOW) * GRID**2

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, WIDTHS[0], 7, stride=4)
        blocks: list[nn.Module] = []
        channels = WIDTHS[0]
        for stage, (width, count) in enumerate(zip(WIDTHS, BLOCKS, strict=True)):
            for place in range(count):
                blocks.append(Block(channels, width, stride=2 if stage and not place else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.deep = _convolution(channels, DEEP, 1)
        self.shallow = _convolution(WIDTHS[0], SHALLOW, 1)
        self.norm = nn.BatchNorm1d(self.WIDTH)

    def forward(self, pictures: Tensor) -> Tensor:
        """Returns the last map's mean, and the cells of the deep and of the shallow grid."""
        first = self.stem(pictures)
        last = self.blocks(first)
        parts = [last.mean((2, 3)), _grid(self.deep(last)), _grid(self.shallow(first))]
        joined: Tensor = self.norm(torch.cat(parts, 1))
        return joined


class Block(nn.Module):
    """Two convolutions, added to what came in."""

    def __init__(self, channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.first = _convolution(channels, width, 3, stride=stride)
        norm = nn.BatchNorm2d(width)
        # The block begins as its shortcut alone, which steadies the first steps.
        nn.init.zeros_(norm.weight)
        self.second = nn.Sequential(_bare(width, width, 3), norm)
        self.shortcut = (
            nn.Identity()
            if channels == width and stride == 1
            else nn.Sequential(_bare(channels, width, 1, stride=stride), nn.BatchNorm2d(width))
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Returns (n, width, height / stride, width / stride)."""
        return functional.relu(self.shortcut(maps) + self.second(self.first(maps)))


def cell_means(maps: Tensor) -> Tensor:
    """Returns what `adaptive_avg_pool2d(maps, GRID)` does, by two multiplications."""
    rows, columns = (_shares(side).to(maps) for side in maps.shape[2:])
    return torch.einsum("nchw,yh,xw->ncyx", maps, rows, columns)


def _convolution(channels: int, width: int, side: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        _bare(channels, width, side, stride=stride), nn.BatchNorm2d(width), nn.ReLU()
    )


def _bare(channels: int, width: int, side: int, *, stride: int = 1) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, width, side, stride, side // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def _shares(side: int) -> Tensor:
    """Returns (GRID, side): what each place of a side counts in the mean of each cell."""
    shares = torch.zeros(GRID, side)
    for cell in range(GRID):
        start, end = cell * side // GRID, -(-(cell + 1) * side // GRID)
        shares[cell, start:end] = 1 / (end - start)
    return shares


def _grid(maps: Tensor) -> Tensor:
    # Apple's GPUs pool no map whose sides aren't multiples of GRID (pytorch #96056).
    if maps.device.type == "mps" and any(side % GRID for side in maps.shape[2:]):
        return cell_means(maps).flatten(1)
    return functional.adaptive_avg_pool2d(maps, GRID).flatten(1)
