"""Encodes with a network of ours: the bundled one, or one that the shop trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ..exceptions import EncoderError
from . import bundle, networks
from .base import dotted_path, fingerprint
from .network_encoder import NetworkEncoder

if TYPE_CHECKING:
    from torch import Tensor, nn


class TorchEncoder(NetworkEncoder):
    """Runs the network that a safetensors file describes and holds."""

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        sha256: str | None = None,
        device: str = "auto",
        batch_size: int = 32,
        threads: int | None = None,
    ) -> None:
        """`weights`: a file that `train_encoder` wrote; None: the one in this package.

        `sha256`: 64 hexadecimal digits; a file with another hash is refused.
        `device`, `batch_size`, `threads`: see NetworkEncoder.
        Raises EncoderError when the file can't be used. Imports no torch.
        """
        super().__init__(device=device, batch_size=batch_size, threads=threads)
        self._bundle = bundle.read(bundle.BUNDLED if weights is None else weights, sha256=sha256)

    @property
    def dimensions(self) -> int:
        return self._bundle.dimensions

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            {
                "backend": dotted_path(self),
                "weights": self._bundle.file.sha256,
                "network": self._bundle.network,
                "revision": networks.REVISIONS.get(self._bundle.network, 1),
                "trunk": self._bundle.trunk,
                "dimensions": self._bundle.dimensions,
                "preprocessing": self._bundle.preprocessing.to_json(),
            }
        )

    @property
    def min_side(self) -> int:
        return self._bundle.preprocessing.min_side

    def build(self) -> nn.Module:
        network = networks.build(
            self._bundle.network, trunk=self._bundle.trunk, dimensions=self._bundle.dimensions
        )
        try:
            network.load_state_dict(self._bundle.tensors())
        except RuntimeError as error:
            raise EncoderError(
                f"The weights {self._bundle.file.path} don't fit {self._bundle.network} on "
                f"{self._bundle.trunk}: {error}"
            ) from error
        return network

    def fit(self, image: Image.Image) -> Image.Image:
        return self._bundle.preprocessing.fit(image)

    def prepare(self, images: Sequence[Image.Image]) -> Tensor:
        import torch

        return torch.from_numpy(self._bundle.preprocessing.apply(images))
