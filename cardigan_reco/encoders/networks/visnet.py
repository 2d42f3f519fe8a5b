"""Flipkart's VisNet (arXiv 1703.02344), with a projection to what an index can hold."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import trunk as trunks
from .shallow import OUTPUTS, ShallowPath, check_input, check_trunk

PUBLISHED = 4096
"""Length of the vectors in the paper; pgvector's indexes take 4,000 at most."""


class VisNet(nn.Module):
    """Maps (n, 3, 224, 224) to (n, dimensions), not normalised.

    VGG16 to its last hidden layer, 4,096, beside two shallow paths of 1,536; a linear layer makes
    the 7,168 the paper's 4,096, of length 1. The projection begins orthogonal, so that it keeps
    the distances of the published vectors as well as it can, and is trained with the rest.
    """

    def __init__(self, *, trunk: str = "vgg16", dimensions: int = 512) -> None:
        super().__init__()
        check_trunk("VisNet", trunk)
        headless = trunks.build("vgg16")
        self.trunk = headless.network
        self.shallow = nn.ModuleList([ShallowPath(sampling=4), ShallowPath(sampling=8)])
        self.embedding = nn.Linear(headless.width + 2 * OUTPUTS, PUBLISHED)
        self.projection = nn.Linear(PUBLISHED, dimensions, bias=False)
        nn.init.orthogonal_(self.projection.weight)

    def published(self, pictures: Tensor) -> Tensor:
        """Returns the paper's embeddings (n, 4096), of length 1.

        Raises EncoderError for pictures of another size.
        """
        check_input("VisNet", pictures)
        parts = [self.trunk(pictures), *(path(pictures) for path in self.shallow)]
        return functional.normalize(self.embedding(torch.cat(parts, dim=1)))

    def forward(self, pictures: Tensor) -> Tensor:
        """Returns the embeddings."""
        embeddings: Tensor = self.projection(self.published(pictures))
        return embeddings
