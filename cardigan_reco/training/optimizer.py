"""AdamW (arXiv 1711.05101), as all networks here are trained."""

from __future__ import annotations

from torch import nn, optim


def build(
    network: nn.Module, loss: nn.Module, *, learning_rate: float, weight_decay: float
) -> optim.Optimizer:
    """Returns the optimizer; biases, norms and the loss's own weights don't decay."""
    learned = [weight for weight in network.parameters() if weight.requires_grad]
    matrices = [weight for weight in learned if weight.ndim > 1]
    others = [*(weight for weight in learned if weight.ndim <= 1), *loss.parameters()]
    return optim.AdamW(
        [
            {"params": matrices, "weight_decay": weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=learning_rate,
        betas=(0.9, 0.98),
    )
