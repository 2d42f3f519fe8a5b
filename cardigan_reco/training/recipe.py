"""All that decides how a training goes, beside its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ..encoders.networks import NETWORKS
from ..exceptions import CardiganError
from . import losses, mining

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


class RecipeError(CardiganError):
    """A value of the recipe is out of range; the message names it and the choices."""


@dataclass(frozen=True)
class Recipe:
    """The defaults train the bundled encoder's network on classes and groups."""

    network: str = "AspectNet"
    """A name of `cardigan_reco.encoders.networks`."""
    trunk: str = "gridnet"
    """What it is built on: our own, or a network of torchvision."""
    dimensions: int = 512
    """Length of the vectors."""
    aspect_weights: Mapping[str, float] = field(default_factory=dict)
    """AspectNet's: aspect -> its share of the similarity."""
    loss: str = "softmax"
    """A name of `losses.LOSSES`."""
    margin: float = 0.05
    """The hinge's g."""
    temperature: float = 0.0625
    """Of the softmax over classes. At a low one the loss is small for vectors that only lean
    towards their class; a high one asks for more."""
    contrast: float = 0.4
    """Weight of the contrast of pairs beside columns, each of which has its own."""
    columns: tuple[tuple[str, str | None, float], ...] = ()
    """Columns of classes to learn: name, aspect or None, weight."""
    mining: str = "semi-hard"
    """Negatives of triplets: random, semi-hard or hard."""
    source_weights: Mapping[str, float] = field(default_factory=dict)
    """Source -> how often its pictures are drawn, against 1 for others."""
    wild_sources: tuple[str, ...] = ()
    """Sources of few photographs, taken anywhere, which are changed most."""
    epochs: int = 20
    """An epoch draws as many pictures, or deals as many triplets, as there are."""
    batch_size: int = 144
    """Pictures in a step, over all processes; it divides by 6 times their number."""
    sizes: tuple[int, ...] = (64, 64, 80, 96, 112)
    """Input sides in pixels, each for an equal share of the run."""
    size: int | None = None
    """The encoder's input side; None: the last of `sizes`."""
    learning_rate: float = 0.003
    """Its peak, AdamW's; it rises over 300 steps at most and falls as a cosine."""
    weight_decay: float = 0.05
    """AdamW's, on weights of more than one dimension."""
    precision: str = "auto"
    """auto (bf16 on CUDA, else fp32), fp32, bf16 or fp16."""
    patience: int | None = None
    """Epochs without a better validation figure after which training ends; None: never early."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises RecipeError for a value that can't be used."""
        for name, value, choices in (
            ("network", self.network, tuple(NETWORKS)),
            ("loss", self.loss, losses.LOSSES),
            ("mining", self.mining, mining.METHODS),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in choices:
                raise RecipeError(f"{name} is {value!r}. Choices are: {', '.join(choices)}.")
        for name, number in (
            ("dimensions", self.dimensions),
            ("epochs", self.epochs),
            ("learning_rate", self.learning_rate),
            ("patience", 1 if self.patience is None else self.patience),
            ("margin", self.margin),
            ("temperature", self.temperature),
            ("contrast", self.contrast),
        ):
            if not number > 0:
                raise RecipeError(f"{name} is {number}. It must be above 0.")
        if self.seed < 0:
            raise RecipeError(f"seed is {self.seed}. It must be 0 or more.")
        for source, share in self.source_weights.items():
            if not share >= 0:
                raise RecipeError(f"The weight of {source!r} is {share}. It must be 0 or more.")
        if self.uses_triplets and (self.source_weights or self.wild_sources):
            raise RecipeError(
                f"loss is {self.loss!r}, whose triplets are given or mined: sources can't be "
                f"weighed or wild. Choices of loss are: {', '.join(losses.LABELLED)}."
            )
        if self.batch_size < 6 or self.batch_size % 6:
            raise RecipeError(f"batch_size is {self.batch_size}. It must be a multiple of 6.")
        if not self.sizes or min(*self.sizes, self.encoder_size) < 32:
            raise RecipeError(
                f"sizes is {self.sizes} and size {self.size}. Sides are of 32 pixels or more."
            )

    @property
    def encoder_size(self) -> int:
        """The side in pixels of what the finished encoder is shown."""
        return self.size or self.sizes[-1]

    @property
    def uses_triplets(self) -> bool:
        """Whether the loss takes triplets rather than classes and groups."""
        return self.loss in losses.TRIPLET

    def check_processes(self, count: int) -> None:
        """Raises RecipeError unless a batch's pairs or triplets can be dealt to so many."""
        if self.batch_size % (6 * count):
            raise RecipeError(
                f"batch_size is {self.batch_size}. It must divide by {6 * count}: pairs or "
                f"triplets, dealt to {count} processes."
            )

    def to_json(self) -> dict[str, object]:
        """Returns the fields in JSON's types."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }
