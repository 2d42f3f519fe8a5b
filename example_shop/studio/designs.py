"""What a product looks like, as plain data: kinds hold families, families hold designs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .palette import COLOURS

Shape = Mapping[str, float]
"""A kind's own measures by name: metres, unless the kind says otherwise."""


@dataclass(frozen=True)
class Pattern:
    """A decoration in a second colour."""

    motif: str
    """One of `patterns.MOTIFS`."""
    colour: str
    spacing: float
    """Metres from one repeat to the next."""
    share: float = 0.5
    """Share of a repeat that the second colour covers."""
    name: str = ""
    """What the shop calls it, such as "wide stripes"; empty: the motif's name."""


@dataclass(frozen=True)
class Finish:
    """A material in a colour, plain or with a pattern."""

    material: str
    """One of `materials.MATERIALS`."""
    colour: str
    pattern: Pattern | None = None

    def __post_init__(self) -> None:
        for colour in (self.colour, *([self.pattern.colour] if self.pattern else [])):
            if colour not in COLOURS:
                raise ValueError(f"{colour!r} is not a colour of the palette.")


@dataclass(frozen=True)
class Variant:
    """A member of a family: what sets it apart from the others."""

    finish: Finish
    accent: Finish | None = None
    """Of the second material: legs, a lid, straps. None: the family's."""
    shape: Shape = field(default_factory=dict)
    """Measures that differ from the family's."""
    size: str = ""
    """What the shop calls its size, such as "small"; empty where there is but one."""


@dataclass(frozen=True)
class Family:
    """Products of one form and name."""

    name: str
    price: float
    """In euros, of a plain variant."""
    text: str
    """The description, one or two sentences."""
    shape: Shape
    accent: Finish
    variants: Sequence[Variant]


@dataclass(frozen=True)
class View:
    """A camera position, and how close it looks."""

    name: str
    azimuth: float
    """Degrees around the product, from its front; positive is to its right."""
    elevation: float
    """Degrees above the horizon."""
    closeness: float = 1.0
    """1 shows the whole product, 3 a third of it."""
    aim: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Where a close view looks, as fractions of the product's bounding box."""


@dataclass(frozen=True)
class Kind:
    """A kind of product with its families. `kinds.BUILDERS` makes its forms."""

    name: str
    """The noun in the singular, such as "table lamp"."""
    category: str
    views: Sequence[View]
    """The first is the front. A product has two to four of them."""
    families: Sequence[Family]


@dataclass(frozen=True)
class Design:
    """One product, ready to be built."""

    kind: Kind
    family: Family
    variant: Variant

    @property
    def shape(self) -> Shape:
        return {**self.family.shape, **self.variant.shape}

    @property
    def finish(self) -> Finish:
        return self.variant.finish

    @property
    def accent(self) -> Finish:
        return self.variant.accent or self.family.accent


def designs(kinds: Sequence[Kind]) -> Iterator[Design]:
    """Yields every product of the kinds, in order."""
    for kind in kinds:
        for family in kind.families:
            for variant in family.variants:
                yield Design(kind, family, variant)


def colourways(
    material: str, *colours: str, pattern: Pattern | None = None, accent: Finish | None = None
) -> list[Variant]:
    """Returns one variant in each of the colours."""
    return [Variant(Finish(material, colour, pattern), accent) for colour in colours]


def patterned(
    material: str, colour: str, *patterns: Pattern, accent: Finish | None = None
) -> list[Variant]:
    """Returns one variant with each of the patterns, on the same ground."""
    return [Variant(Finish(material, colour, pattern), accent) for pattern in patterns]


def sized(variants: Sequence[Variant], size: str, **shape: float) -> list[Variant]:
    """Returns the variants in another size: its name, and the measures that differ."""
    return [replace(variant, size=size, shape={**variant.shape, **shape}) for variant in variants]
