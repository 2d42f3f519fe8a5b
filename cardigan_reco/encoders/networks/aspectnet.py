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
NONE = 0.45
"""Cosine that stands for no class at all among a picture's cosines to the classes. The bundled
encoder's median of the nearest is 0.37 for goods of other shops, which it never saw, 0.50 for
groceries and 0.68 for clothes, of which it learned others."""
WHITENING = 0.75
"""How far whitening goes: at 1 designs would vary as much in every direction."""
_WHITENING = "whitening"


class AspectNet(nn.Module):
    """Maps (n, 3, height, width) to (n, dimensions), of length 1.

    A part's length is the square root of its aspect's weight, so that the cosine of two pictures is
    the weighted mean of the cosines of their kinds, colours and designs. The weights are kept with
    the state dict and can be changed after training.

    A part of a trained network can be settled: it becomes the mean of its classes' directions, each
    weighed by its probability, as ConSE does (arXiv 1312.5650). Pictures of one class then lie
    together, where their own places spread as widely as the classes lie apart. The less sure it is
    of one class the shorter is that mean, and the design counts for what is missing. So goods of
    which it never learned the kind are compared by their design.
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
        self.whiten(None)

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

    def whiten(self, vectors: Tensor | None) -> None:
        """Whitens the design by what these vectors of many pictures have in common there.

        `vectors`: (n, dimensions), which this network gave while it wasn't whitened; the fewer they
        are for the part's dimensions, the less it does. None takes the whitening away.
        """
        matrix = None if vectors is None else _whitening(vectors[:, self.aspects["design"]])
        self.register_buffer(_WHITENING, matrix)

    def forward(self, pictures: Tensor) -> Tensor:
        """Returns the embeddings."""
        vectors = self.norm(self.embedding(self.trunk(pictures)))
        parts = {name: functional.normalize(vectors[:, own]) for name, own in self.aspects.items()}
        whitening: Tensor | None = getattr(self, _WHITENING)
        if whitening is not None:
            parts["design"] = functional.normalize(parts["design"] @ whitening)
        weights = dict(zip(SHARES, self.weights, strict=True))
        for aspect in SETTLED:
            prototypes: Tensor | None = getattr(self, _key(aspect))
            if prototypes is not None:
                parts[aspect] = _settled(parts[aspect], prototypes)
                unsure = 1 - parts[aspect].square().sum(1, keepdim=True)
                weights["design"] = weights["design"] + weights[aspect] * unsure.clamp(min=0)
        return torch.cat([part * weights[aspect].sqrt() for aspect, part in parts.items()], dim=1)

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
        side = _length(self.aspects["design"])
        is_whitened = prefix + _WHITENING in state_dict
        self.register_buffer(
            _WHITENING, self.weights.new_empty(side, side) if is_whitened else None
        )
        super()._load_from_state_dict(state_dict, prefix, *args)


def _settled(own: Tensor, prototypes: Tensor) -> Tensor:
    """Returns the mean of the classes' directions by their chances, of length 1 for a sure one."""
    none = NONE * prototypes.norm(dim=1).mean()
    similarities = functional.pad(own @ prototypes.T, (0, 1), value=float(none))
    return functional.softmax(similarities, dim=1)[:, :-1] @ functional.normalize(prototypes)


def _whitening(vectors: Tensor) -> Tensor | None:
    """Returns a matrix that vectors (n, dimensions) are multiplied with; None for ones of length 0.

    Few vectors have no say on directions in which none of them lies, so all that they say is mixed
    with the same spread in all directions, by dimensions / n.
    """
    rows = functional.normalize(vectors.detach().cpu().double())
    spread = rows.T @ rows
    mean = spread.diagonal().mean()
    if mean == 0:
        return None
    variances, directions = torch.linalg.eigh(spread / mean)
    scales = (variances + len(spread) / len(rows)) ** (-WHITENING / 2)
    matrix: Tensor = (directions * scales) @ directions.T
    return matrix.to(vectors)


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
