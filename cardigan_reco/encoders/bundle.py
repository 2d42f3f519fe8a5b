"""A network of ours in one file: weights, and beside them all that is needed to use them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..exceptions import EncoderError, MissingExtra
from . import quantisation
from .preprocessing import Preprocessing
from .weight_files import WeightFile, open_weights

if TYPE_CHECKING:
    from torch import Tensor

BUNDLED = Path(__file__).parent / "weights" / "gridnet.safetensors"
"""The bundle that comes with the package."""


@dataclass(frozen=True)
class Bundle:
    """A safetensors file whose metadata describes the network, read without torch."""

    file: WeightFile
    network: str
    """A name of `cardigan_reco.encoders.networks`."""
    trunk: str
    """The torchvision classification network that it is built on."""
    dimensions: int
    """Length of the vectors."""
    preprocessing: Preprocessing

    def tensors(self) -> dict[str, Tensor]:
        """Returns the network's state dict on the CPU; raises as `WeightFile.tensors()` does."""
        return quantisation.unpack(self.file.tensors())


def read(path: str | Path = BUNDLED, *, sha256: str | None = None) -> Bundle:
    """Returns the bundle in a file; with `sha256` only if the file has this hash.

    Raises EncoderError when the file is missing, no safetensors, damaged, or describes no network.
    """
    file = open_weights(path, sha256=sha256)
    try:
        text = file.metadata["bundle"]
    except KeyError as error:
        raise EncoderError(
            f"The weights {path} describe no network: their metadata has no 'bundle'. Train them "
            "with this package, or use TorchvisionEncoder for a network of torchvision."
        ) from error
    try:
        match json.loads(text):
            case {
                "network": str(network),
                "trunk": str(trunk),
                "dimensions": int(dimensions),
                "preprocessing": dict(preprocessing),
            } if dimensions > 0:
                return Bundle(
                    file, network, trunk, dimensions, Preprocessing.from_json(preprocessing)
                )
    except (TypeError, ValueError) as error:
        raise EncoderError(f"The weights {path} have a damaged 'bundle': {error}") from error
    raise EncoderError(
        f"The weights {path} have an incomplete 'bundle': {text[:200]}. It needs network, trunk, "
        "dimensions and preprocessing."
    )


def write(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    *,
    network: str,
    trunk: str,
    dimensions: int,
    preprocessing: Preprocessing,
) -> Bundle:
    """Writes a network's tensors and description to one file, and returns what was written."""
    try:
        from safetensors.torch import save
    except ModuleNotFoundError as error:
        raise MissingExtra("Writing weights", "train") from error
    description = {
        "network": network,
        "trunk": trunk,
        "dimensions": dimensions,
        "preprocessing": preprocessing.to_json(),
        "normalise": "l2",
    }
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # save_file() would let its owner alone read it, who is not always whom the web server runs as.
    Path(path).write_bytes(save(contiguous, metadata={"bundle": json.dumps(description)}))
    return read(path)
