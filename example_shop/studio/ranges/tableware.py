"""Mugs, bowls and plates."""

from __future__ import annotations

from ..designs import Family, Finish, Kind, Pattern, Variant, View, colourways, patterned

MUG = Kind(
    name="mug",
    category="Tableware",
    views=(
        View("front", 25, 22),
        View("turned", -70, 30),
        View("top", 30, 62),
        View("detail", 10, 12, 2.4, (0.5, 0.3, 0.6)),
    ),
    families=(
        Family(
            name="Alma",
            price=14,
            text="Thrown by hand and glazed inside and out. Holds a generous coffee.",
            shape={"height": 0.095, "radius": 0.041, "foot": 0.036, "belly": 0.0, "handle": 0.030},
            accent=Finish("glazed", "ivory"),
            variants=(
                *colourways("speckled", "ivory", "sage", "terracotta"),
                *patterned(
                    "glazed",
                    "ivory",
                    Pattern("bands", "ocean", 0.012, 0.4, "fine bands"),
                    Pattern("bands", "ocean", 0.03, 0.5, "wide bands"),
                    Pattern("dots", "rust", 0.016, 0.25),
                ),
                Variant(Finish("matt", "oat", Pattern("dipped", "navy", 1, 0.45))),
            ),
        ),
    ),
)
KINDS = (MUG,)
