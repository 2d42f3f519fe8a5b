"""The running average of what is learned, which is better than the last step."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..encoders.networks.aspectnet import AspectNet
from .losses import LabelledLoss

DECAY = 0.998
"""Of the average: its horizon is 500 steps, less in the first."""

Tensors = tuple[Tensor, ...] | list[Tensor]


class Average:
    """Averages a network and its loss, whose classes settle the network's parts."""

    def __init__(self, network: nn.Module, loss: nn.Module) -> None:
        self.network = AveragedModel(network, multi_avg_fn=_average, use_buffers=True)
        self.loss = AveragedModel(loss, multi_avg_fn=_average, use_buffers=True)

    def update(self, network: nn.Module, loss: nn.Module) -> None:
        """Moves the average towards these."""
        self.network.update_parameters(network)
        if next(loss.parameters(), None) is not None:  # torch can't average nothing.
            self.loss.update_parameters(loss)

    def finished(self) -> nn.Module:
        """Returns a copy of the averaged network, as it would be used."""
        network: nn.Module = copy.deepcopy(self.network.module)
        loss = self.loss.module
        if isinstance(network, AspectNet) and isinstance(loss, LabelledLoss):
            network.settle(loss.prototypes())
        return network.eval()


def _average(averaged: Tensors, weights: Tensors, count: Tensor | int) -> None:
    """Moves the average towards the weights, faster in the first steps, which it should forget."""
    steps = float(count)
    decay = min(DECAY, (1 + steps) / (10 + steps))
    get_ema_multi_avg_fn(decay)(averaged, weights, count)  # type: ignore[no-untyped-call]
