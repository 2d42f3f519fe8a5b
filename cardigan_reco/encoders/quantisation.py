"""Weights in fewer bits: float16, or 8 bits for large convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

VALUES, SCALE = ".int8", ".scale"
_MIN_VALUES = 4096


def halve(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors with their floating point numbers in float16."""
    return {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def pack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns large tensors as int8 with a scale for each output, and others in float16.

    `name` becomes `name.int8`, of the same shape, and `name.scale`, one float32 for each entry of
    the first dimension; the weight is their product. Whole numbers stay as they are.
    """
    import torch

    packed = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            packed[name] = tensor
        elif tensor.ndim < 2 or tensor.numel() < _MIN_VALUES:
            packed[name] = tensor.half()
        else:
            rows = tensor.float().flatten(1)
            scale = rows.abs().amax(1).clamp_min(1e-12) / 127
            packed[name + VALUES] = (
                (rows / scale[:, None]).round().to(torch.int8).view(tensor.shape)
            )
            packed[name + SCALE] = scale
    return packed


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors that `pack()` was given, to within the rounding; others unchanged."""
    unpacked = {}
    for name, tensor in tensors.items():
        if name.endswith(VALUES):
            plain = name.removesuffix(VALUES)
            scale = tensors[plain + SCALE]
            unpacked[plain] = tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
        elif not name.endswith(SCALE) or name.removesuffix(SCALE) + VALUES not in tensors:
            unpacked[name] = tensor
    return unpacked
