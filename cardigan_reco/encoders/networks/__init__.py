"""The networks of ours, by the name that a bundle gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.module_loading import import_string

from ...exceptions import EncoderError

if TYPE_CHECKING:
    from torch import nn

_HERE = "cardigan_reco.encoders.networks"
NETWORKS = {
    "AspectNet": f"{_HERE}.aspectnet.AspectNet",
    "SmallNet": f"{_HERE}.smallnet.SmallNet",
    "SimNet": f"{_HERE}.simnet.SimNet",
    "VisNet": f"{_HERE}.visnet.VisNet",
}
"""Name -> dotted path of a module class that takes `trunk` and `dimensions`."""

TRUNKS = {
    "AspectNet": "gridnet",
    "SmallNet": "shufflenet_v2_x1_0",
    "SimNet": "vgg16",
    "VisNet": "vgg16",
}
"""Name -> what it is built on, unless another trunk is named."""
SIZES = {"SimNet": (224,), "VisNet": (224,)}
"""Name -> the sides of pictures, in pixels, that it takes; others take many."""

REVISIONS = {"AspectNet": 2}
"""Name -> a number that is raised when the same weights come to give other vectors; or 1."""


def build(name: str, *, trunk: str, dimensions: int) -> nn.Module:
    """Returns an untrained network that maps (n, 3, height, width) to (n, dimensions).

    Raises EncoderError for an unknown network or trunk, MissingExtra without torch.
    """
    if name not in NETWORKS:
        raise EncoderError(
            f"Network {name!r} is unknown. Choices are: {', '.join(NETWORKS)}. A newer version of "
            "cardigan-reco may have written these weights."
        )
    network: nn.Module = import_string(NETWORKS[name])(trunk=trunk, dimensions=dimensions)
    return network
