"""What of a studio picture is its plain background."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_WHITE = 242
"""A pixel is background if each of its channels is as bright as this ..."""
_SHRINK = 2


def alpha(pictures: Tensor, *, batch_size: int = 256) -> Tensor:
    """Returns masks (n, height, width) in uint8: 0 where a white background was, 255 elsewhere.

    `pictures`: (n, height, width, 3) in uint8. Only white that reaches the picture's edge counts,
    so that a white shirt keeps its inside.
    """
    return torch.cat(
        [
            _alpha(pictures[start : start + batch_size])
            for start in range(0, len(pictures), batch_size)
        ]
    )


def _alpha(pictures: Tensor) -> Tensor:
    height, width = pictures.shape[1:3]
    white = (pictures.amin(dim=3, keepdim=True).permute(0, 3, 1, 2) >= _WHITE).float()
    white = -functional.max_pool2d(-white, _SHRINK)
    reached = white.clone()
    reached[:, :, 1:-1, 1:-1] = 0
    for _ in range(max(height, width)):
        # Spreads from the edges through what is white until nothing is added.
        further = functional.max_pool2d(reached, 3, stride=1, padding=1) * white
        if torch.equal(further, reached):
            break
        reached = further
    foreground = functional.interpolate(1 - reached, (height, width), mode="bilinear")
    return (foreground[:, 0] * 255).round().to(torch.uint8)
