"""A light network that runs on a CPU: a torchvision trunk and a linear embedding."""

from __future__ import annotations

from torch import Tensor, nn

from . import trunk as trunks


class SmallNet(nn.Module):
    """Maps (n, 3, height, width) to (n, dimensions), not normalised.

    The state dict has torchvision's own keys under `trunk.`, then `embedding.` and `norm.`.
    """

    def __init__(self, *, trunk: str = "shufflenet_v2_x1_0", dimensions: int = 512) -> None:
        super().__init__()
        headless = trunks.any_trunk(trunk)
        self.trunk = headless.network
        self.embedding = nn.Linear(headless.width, dimensions)
        self.norm = nn.BatchNorm1d(dimensions)

    def forward(self, pictures: Tensor) -> Tensor:
        """Returns the embeddings; in training mode these are normed over the batch."""
        embeddings: Tensor = self.norm(self.embedding(self.trunk(pictures)))
        return embeddings
