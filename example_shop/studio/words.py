"""How the shop speaks of a product."""

from __future__ import annotations

from decimal import Decimal

from django.utils.text import slugify

from .designs import Design, Finish

MATERIALS = {
    "glazed": "stoneware",
    "matt": "stoneware",
    "speckled": "stoneware",
    "reactive": "stoneware",
    "clay": "terracotta clay",
    "lacquer": "lacquered metal",
    "knit": "knitted wool",
    "flatweave": "woven wool",
    "coiled": "seagrass",
    "paper": "linen",
    "wax": "beeswax",
}
"""What the shop calls a material of the studio, where that is another word."""
COLOURS = {
    "oak": "natural",
    "ash": "natural",
    "walnut": "brown",
    "brass": "gold",
    "copper": "copper",
    "steel": "silver",
    "marble": "white",
    "cognac": "brown",
    "honey": "brown",
}
"""The colour of materials that bring their own."""
WITH_NAME = ("wood", "metal", "brushed")
"""Materials that are called by their colour: oak, brass."""
VIEWS = {"front": "main", "top": "from above", "detail": "close-up"}
"""What the catalogue calls a view, where that is another word; the first picture is "main"."""
SIZES = {"small": Decimal("0.7"), "large": Decimal("1.4")}


def look(finish: Finish) -> str:
    """Returns the finish in few words: "ivory with fine ocean bands"."""
    if finish.pattern is None:
        return finish.colour
    joint = "" if finish.pattern.motif == "dipped" else "with "
    return f"{finish.colour} {joint}{finish.pattern.name}"


def name(design: Design) -> str:
    """Returns "Alma mug, small, ivory with fine ocean bands"."""
    return ", ".join(dict.fromkeys(_parts(design)))


def reference(design: Design) -> str:
    """Returns the product's key in the catalogue, which also names its pictures."""
    return slugify(", ".join(_parts(design)))


def _parts(design: Design) -> list[str]:
    parts = [f"{design.family.name} {design.kind.name}", design.variant.size, look(design.finish)]
    if design.variant.accent:
        parts.append(look(design.variant.accent))
    return [part for part in parts if part]


def material(finish: Finish) -> str:
    """Returns the material as a shopper looks for it."""
    if finish.material in WITH_NAME:
        return finish.colour
    return MATERIALS.get(finish.material, finish.material)


def colour(finish: Finish) -> str:
    """Returns the colour as a shopper looks for it."""
    return COLOURS.get(finish.colour, finish.colour)


def price(design: Design) -> Decimal:
    """Returns the price in euros; sizes and decorations cost their share."""
    euros = Decimal(str(design.family.price)) * SIZES.get(design.variant.size, Decimal(1))
    if design.finish.pattern:
        euros *= Decimal("1.1")
    return (euros * 2).quantize(Decimal(1)) / 2


def description(design: Design) -> str:
    """Returns a few sentences."""
    finish = design.finish
    made = finish.colour
    if finish.material not in WITH_NAME:
        made += f" {material(finish)}"
    return f"{design.family.text} In {made}{look(finish).removeprefix(finish.colour)}."
