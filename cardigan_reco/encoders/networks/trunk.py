"""Trunks: torchvision's classification networks without their classifier, and one of our own."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from torch import nn

from ...exceptions import EncoderError
from ..torchvision_shim import import_torchvision

# As their builders set it for torchvision's weights. Their own initialisation is slow and warns.
_OPTIONS: dict[str, dict[str, bool | int]] = {
    "googlenet": {"transform_input": True, "init_weights": False},
    "inception_v3": {"transform_input": True, "init_weights": False},
}


@dataclass(frozen=True)
class Trunk:
    """A network that ends where its classifier began."""

    network: nn.Module
    """Maps (n, 3, height, width) to (n, width); weights are random until they are loaded."""
    width: int
    """Length of its outputs."""
    head: str
    """Name of the layer that was removed, as in the keys of a state dict."""


def check(name: str) -> None:
    """Raises EncoderError, with close choices, unless it is a classification network's name."""
    models = import_torchvision(f"The network {name!r}").models
    names = models.list_models(module=models)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
        raise EncoderError(
            f"Network {name!r} is no classification network of torchvision. Choices are: "
            f"{', '.join(close or names)}{' and more' if close else ''}."
        )


def any_trunk(name: str) -> Trunk:
    """Returns our own trunk, `gridnet`, or else a network of torchvision; raises as `build()`."""
    from .gridnet import NAME, GridNet

    return Trunk(GridNet(), GridNet.WIDTH, head="") if name == NAME else build(name)


def build(name: str, *, image_size: int | None = None) -> Trunk:
    """Returns a classification network of torchvision without its last layer.

    `image_size`, pixels, is for the vision transformers, whose weights fit one input size alone.

    Raises EncoderError for an unknown name, MissingExtra without torchvision.
    """
    check(name)
    options = dict(_OPTIONS.get(name, {}))
    if image_size is not None and name.startswith("vit_"):
        options["image_size"] = image_size
    models = import_torchvision(f"The network {name!r}").models
    return _behead(name, models.get_model(name, weights=None, **options))


def _behead(name: str, network: nn.Module) -> Trunk:
    # A Linear comes last in all of them but SqueezeNet, which averages the output of a Conv2d.
    modules = list(network.named_modules())
    layers = [(key, layer.in_features) for key, layer in modules if isinstance(layer, nn.Linear)]
    if not layers:
        layers = [
            (key, layer.in_channels) for key, layer in modules if isinstance(layer, nn.Conv2d)
        ]
    if not layers:
        raise EncoderError(f"Network {name!r} has no classifier that could be removed.")
    head, width = layers[-1]
    parent, _, attribute = head.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())
    return Trunk(network, width, head)
