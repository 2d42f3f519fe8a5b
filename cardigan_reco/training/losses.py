"""What training makes small, on vectors of length 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..exceptions import EncoderError, MissingExtra

TRIPLET = ("hinge", "softpn")
"""Losses over triplets."""
LABELLED = ("softmax", "cosface", "arcface", "proxy-anchor", "contrast", "multi-similarity")
"""Losses over classes, groups and items, from pytorch-metric-learning."""
LOSSES = (*TRIPLET, *LABELLED)


@dataclass(frozen=True)
class Batch:
    """What is known of the pictures whose vectors a loss is given."""

    labels: Mapping[str, Tensor]
    """Column -> class numbers (n,), -1 where unknown."""
    groups: Tensor
    """(n,); equal numbers show one design."""
    items: Tensor
    """(n,); equal numbers show one thing."""


@dataclass(frozen=True)
class Column:
    """A column of classes to learn."""

    name: str
    classes: int
    aspect: str | None = None
    """The part of the vector that learns it; None: all of it."""
    weight: float = 1.0


class HingeLoss(nn.Module):
    """max(0, g + D(q, p) - D(q, n)) over Euclidean distances: Deep Ranking (CVPR 2014), VisNet."""

    def __init__(self, margin: float = 0.05) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Returns the mean over triplets; `vectors` (3 * n, dimensions): queries, then the rest."""
        near, far = _distances(vectors)
        return functional.relu(self.margin + near - far).mean()


class SoftPN(nn.Module):
    """SoftPN over the ratio of distances, with the nearer of q-n and p-n (arXiv 1601.05030)."""

    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Returns the mean over triplets; `vectors` (3 * n, dimensions): queries, then the rest."""
        _query, positive, negative = vectors.chunk(3)
        near, far = _distances(vectors)
        far = torch.minimum(far, _distance(positive, negative))
        share = torch.softmax(torch.stack([near, far]), 0)
        return (share[0].square() + (1 - share[1]).square()).mean()


class LabelledLoss(nn.Module):
    """The weighted sum of a loss for each column of classes, and of a contrast of pairs.

    A network with aspects whose classes are learned contrasts groups in "design" alone, whose mates
    may differ in colour: to contrast things of one kind in the rest would undo what the classes
    teach there. Any other one contrasts groups, and items besides, which must not differ in colour.
    """

    def __init__(
        self,
        name: str,
        columns: Sequence[Column],
        *,
        dimensions: int,
        aspects: Mapping[str, slice],
        contrast: float,
        temperature: float,
    ) -> None:
        """Raises EncoderError for an unknown loss or aspect, MissingExtra without the package."""
        super().__init__()
        self._columns = list(columns)
        self._aspects = dict(aspects)
        self._whole = slice(0, dimensions)
        check_aspects([column.aspect for column in columns], aspects)
        self.by_column = nn.ModuleList(
            _classes(name, column.classes, _length(self._part(column.aspect)), temperature)
            for column in columns
        )
        self._contrast = _pairs(name)
        self._contrast_weight = contrast if columns else 1.0

    def forward(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Returns the loss of `vectors` (n, dimensions)."""
        has_design = bool(self._aspects and self._columns)
        design = self._part("design" if has_design else None)
        total: Tensor = self._contrast_weight * self._contrast(vectors[:, design], batch.groups)
        if not has_design:
            total = total + self._contrast_weight * self._contrast(vectors, batch.items)
        for column, classes in zip(self._columns, self.by_column, strict=True):
            labels = batch.labels[column.name]
            known = labels >= 0
            if known.any():
                part = vectors[known][:, self._part(column.aspect)]
                loss = classes(part, labels[known])
                total = total + column.weight * loss
        return total

    @torch.no_grad()
    def imprint(self, vectors: Tensor, labels: Mapping[str, Tensor]) -> None:
        """Points the classes of a softmax at the means of their pictures (arXiv 1712.07136).

        `vectors`: (pictures, dimensions), of length 1; `labels`: column -> class numbers (pictures,
        most classes of a cell), -1 where there is none. Classes without a picture keep their place.
        """
        for column, classes in zip(self._columns, self.by_column, strict=True):
            weights: Tensor | None = getattr(classes, "W", None)
            if weights is None:
                continue
            rows, places = (labels[column.name] >= 0).nonzero(as_tuple=True)
            part = vectors[:, self._part(column.aspect)]
            sums = weights.new_zeros(column.classes, part.shape[1])
            sums.index_add_(0, labels[column.name][rows, places], part[rows].to(weights))
            met = sums.any(1)
            weights[:, met] = functional.normalize(sums[met]).T

    def prototypes(self) -> dict[str, Tensor]:
        """Returns, for each aspect that a softmax learned, what `AspectNet.settle()` takes.

        An aspect with several columns has those of its first.
        """
        found: dict[str, Tensor] = {}
        for column, loss in zip(self._columns, self.by_column, strict=True):
            if column.aspect is not None and isinstance(loss, _library().NormalizedSoftmaxLoss):
                rows = functional.normalize(loss.W.detach().T) / loss.temperature
                found.setdefault(column.aspect, rows)
        return found

    def _part(self, aspect: str | None) -> slice:
        return self._whole if aspect is None else self._aspects[aspect]


def check_aspects(wanted: Iterable[str | None], aspects: Iterable[str]) -> None:
    """Raises EncoderError, with the choices, for one that is not among a network's aspects."""
    choices = list(aspects)
    for aspect in wanted:
        if aspect is not None and aspect not in choices:
            known = ", ".join(choices) or "none for this network"
            raise EncoderError(f"Aspect {aspect!r} is unknown. Choices are: {known}.")


def check_installed(name: str) -> None:
    """Raises MissingExtra unless what the loss is made of is installed."""
    if name in LABELLED:
        _library()


def build(
    name: str,
    columns: Sequence[Column],
    *,
    dimensions: int,
    aspects: Mapping[str, slice],
    margin: float,
    contrast: float,
    temperature: float,
) -> nn.Module:
    """Returns the loss of that name, called with vectors and a Batch.

    Raises EncoderError, with the choices, for an unknown one.
    """
    if name == "hinge":
        return HingeLoss(margin)
    if name == "softpn":
        return SoftPN()
    if name not in LABELLED:
        raise EncoderError(f"Loss {name!r} is unknown. Choices are: {', '.join(LOSSES)}.")
    return LabelledLoss(
        name,
        columns,
        dimensions=dimensions,
        aspects=aspects,
        contrast=contrast,
        temperature=temperature,
    )


def _classes(name: str, classes: int, dimensions: int, temperature: float) -> nn.Module:
    losses = _library()
    loss: nn.Module
    match name:
        case "arcface":
            loss = losses.ArcFaceLoss(classes, dimensions, margin=28.6, scale=24)
        case "cosface":
            loss = losses.CosFaceLoss(classes, dimensions, margin=0.2, scale=24)
        case "proxy-anchor":
            loss = losses.ProxyAnchorLoss(classes, dimensions)
        case "multi-similarity" | "contrast":
            loss = _pairs(name)
        case _:
            # NormFace (arXiv 1704.06369), whose scale is 1 / temperature.
            loss = losses.NormalizedSoftmaxLoss(classes, dimensions, temperature=temperature)
    return loss


def _pairs(name: str) -> nn.Module:
    losses = _library()
    loss: nn.Module
    if name == "multi-similarity":
        loss = losses.MultiSimilarityLoss()
    else:
        loss = losses.SupConLoss(temperature=0.08)
    return loss


def _library() -> ModuleType:
    try:
        from pytorch_metric_learning import losses
    except ModuleNotFoundError as error:
        raise MissingExtra("Training with classes or groups", "train") from error
    module: ModuleType = losses
    return module


def _distances(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distances (n,) of the queries to their positives and to their negatives."""
    query, positive, negative = vectors.chunk(3)
    return _distance(query, positive), _distance(query, negative)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    # The root's slope is infinite at 0, where a query is its own positive.
    return (one - other).square().sum(1).clamp_min(1e-12).sqrt()


def _length(part: slice) -> int:
    return int(part.stop) - int(part.start)
