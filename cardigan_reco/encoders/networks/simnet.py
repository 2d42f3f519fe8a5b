"""Project Cardigan's own network of 2018, layer by layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from . import trunk as trunks
from .shallow import OUTPUTS, ShallowPath, check_input, check_trunk

DEEP = 1024


class SimNet(nn.Module):
    """Maps (n, 3, 224, 224) to (n, dimensions), not normalised.

    VGG16's frozen convolutions, flattened to 25,088, and a layer of 1,024; beside it two shallow
    paths of 1,536 each; the 4,096 together are normed over the batch and made 512.
    """

    def __init__(self, *, trunk: str = "vgg16", dimensions: int = 512) -> None:
        super().__init__()
        check_trunk("SimNet", trunk)
        self.features = trunks.build("vgg16").network.get_submodule("features")
        self.features.requires_grad_(False)
        self.deep = nn.Sequential(
            nn.Flatten(), nn.Linear(512 * 7 * 7, DEEP), nn.ReLU(), nn.Dropout(0.4)
        )
        self.shallow = nn.ModuleList([ShallowPath(sampling=4), ShallowPath(sampling=8)])
        joined = DEEP + 2 * OUTPUTS
        self.head = nn.Sequential(
            nn.BatchNorm1d(joined), nn.Linear(joined, dimensions), nn.BatchNorm1d(dimensions)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Returns the embeddings; in training mode these are normed over the batch.

        Raises EncoderError for pictures of another size.
        """
        check_input("SimNet", pictures)
        with torch.no_grad():
            convolved = self.features(pictures)
        parts = [self.deep(convolved), *(path(pictures) for path in self.shallow)]
        embeddings: Tensor = self.head(torch.cat(parts, dim=1))
        return embeddings
