"""A network whose vector has a part for each aspect of likeness: kind, colour and design."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...exceptions import EncoderError
from . import trunk as trunks

SHARES = {"kind": 3 / 8, "colour": 1 / 8, "design": 4 / 8}
"""Aspect -> its share of the dimensions, in the order of the parts."""
SETTLED = ("kind", "colour")
"""Aspects whose parts are settled between the classes that they learned; designs are too many."""
UNKNOWN, KNOWN = 0.3, 0.6
"""Cosines to the nearest class: up to the first a part stays as it is, from the second on it is
settled. The bundled encoder's median is 0.37 for goods of other shops, which it never saw, 0.50 for
groceries and 0.68 for clothes, of which it learned others."""


class AspectNet(nn.Module):
    """Maps (n, 3, height, width) to (n, dimensions), of length 1.

    Each part has a fixed length, the square root of its aspect's weight, so that the cosine of two
    pictures is the weighted mean of the cosines of their kinds, colours and designs. The weights
    are kept with the state dict and can be changed after training.

    A part of a trained network can be settled: drawn to the mean of its classes' prototypes, each
    weighed by its probability, as ConSE does (arXiv 1312.5650). Pictures of one class then lie
    together, where their own places spread as widely as the classes lie apart. What is far from all
    classes stays where it is.
    """

    weights: Tensor

    def __init__(self, *, trunk: str = "gridnet", dimensions: int = 512) -> None:
        super().__init__()
        headless = trunks.any_trunk(trunk)
        self.trunk = headless.network
        self.embedding = nn.Linear(headless.width, dimensions)
        self.norm = nn.BatchNorm1d(dimensions)
        self.aspects = _parts(dimensions)
        self.register_buffer("weights", torch.full((len(SHARES),), 1 / len(SHARES)))
        self.settle({})

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Sets the share of each aspect in the similarity; they needn't add up to 1.

        Raises EncoderError unless every aspect is given, none negative and one above 0.
        """
        if (
            weights.keys() != SHARES.keys()
            or min(weights.values()) < 0
            or not any(weights.values())
        ):
            raise EncoderError(
                f"The aspect weights are {dict(weights)}. Give a number from 0 for each of: "
                f"{', '.join(SHARES)}; one must be above 0."
            )
        chosen = torch.tensor([weights[aspect] for aspect in SHARES])
        self.weights.copy_(chosen / chosen.sum())

    def settle(self, prototypes: Mapping[str, Tensor]) -> None:
        """Settles the parts of these aspects, of SETTLED alone, and no other ones.

        `prototypes`: aspect -> (classes, the part's dimensions); a row's direction is its class's,
        its length 1 / temperature of the softmax over classes.
        """
        for aspect in SETTLED:
            self.register_buffer(_key(aspect), prototypes.get(aspect))

    def forward(self, pictures: Tensor) -> Tensor:
        """Returns the embeddings."""
        vectors = self.norm(self.embedding(self.trunk(pictures)))
        lengths = self.weights.sqrt()
        return torch.cat(
            [
                self._part(aspect, vectors[:, part]) * length
                for (aspect, part), length in zip(self.aspects.items(), lengths, strict=True)
            ],
            dim=1,
        )

    def _part(self, aspect: str, vectors: Tensor) -> Tensor:
        own = functional.normalize(vectors)
        prototypes: Tensor | None = getattr(self, _key(aspect), None)
        if prototypes is None:
            return own
        directions = functional.normalize(prototypes)
        chances = functional.softmax(own @ prototypes.T, dim=1)
        settled = functional.normalize(chances @ directions)
        nearest = (own @ directions.T).amax(1, keepdim=True)
        sure = ((nearest - UNKNOWN) / (KNOWN - UNKNOWN)).clamp(0, 1)
        return functional.normalize(sure * settled + (1 - sure) * own)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        # How many classes there are is known from the weights alone. A bundle has them in float16.
        found = {aspect: state_dict.get(prefix + _key(aspect)) for aspect in SETTLED}
        self.settle(
            {
                aspect: self.weights.new_empty(*rows.shape[:1], _length(self.aspects[aspect]))
                for aspect, rows in found.items()
                if rows is not None
            }
        )
        super()._load_from_state_dict(state_dict, prefix, *args)


def _key(aspect: str) -> str:
    return f"{aspect}_prototypes"


def _length(part: slice) -> int:
    return int(part.stop) - int(part.start)


def _parts(dimensions: int) -> dict[str, slice]:
    """Returns for each aspect which of the dimensions are its own."""
    if dimensions < 8:
        raise EncoderError(f"dimensions is {dimensions}. AspectNet needs 8 or more.")
    parts, start, share = {}, 0, 0.0
    for aspect, own in SHARES.items():
        share += own
        parts[aspect] = slice(start, round(share * dimensions))
        start = parts[aspect].stop
    return parts
