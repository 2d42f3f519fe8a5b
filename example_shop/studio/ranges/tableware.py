"""Mugs, bowls and plates."""

from __future__ import annotations

from ..designs import Family, Finish, Kind, Pattern, View, colourways, patterned, sized

CLAY = Finish("clay", "terracotta")
FINE_BANDS = Pattern("bands", "ocean", 0.012, 0.4, "fine ocean bands")
WIDE_BANDS = Pattern("bands", "ocean", 0.032, 0.5, "wide ocean bands")

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
            accent=CLAY,
            variants=(
                *colourways("speckled", "ivory", "sage", "terracotta"),
                *patterned(
                    "glazed",
                    "ivory",
                    FINE_BANDS,
                    WIDE_BANDS,
                    Pattern("dots", "rust", 0.016, 0.25, "rust dots"),
                ),
            ),
        ),
        Family(
            name="Bodil",
            price=16.5,
            text="A round-bellied mug that warms both hands. Stoneware, safe in the dishwasher.",
            shape={
                "height": 0.082,
                "radius": 0.043,
                "foot": 0.030,
                "belly": 0.009,
                "handle": 0.023,
            },
            accent=CLAY,
            variants=(
                *colourways("reactive", "teal", "plum", "honey"),
                *patterned(
                    "matt",
                    "oat",
                    Pattern("dipped", "navy", 1, 0.45, "dipped in navy"),
                    Pattern("dipped", "rose", 1, 0.45, "dipped in rose"),
                ),
            ),
        ),
        Family(
            name="Clara",
            price=19,
            text="Thin porcelain with a wide mouth, for tea. The print lies under the glaze.",
            shape={"height": 0.066, "radius": 0.052, "foot": 0.024, "belly": 0.0, "handle": 0.018},
            accent=CLAY,
            variants=(
                *colourways("porcelain", "white"),
                *patterned(
                    "porcelain",
                    "white",
                    Pattern("blossoms", "rose", 0.024, 0.4, "rose blossoms"),
                    Pattern("leaves", "forest", 0.022, 0.5, "forest leaves"),
                    Pattern("scales", "navy", 0.02, 0.4, "navy scales"),
                ),
            ),
        ),
        Family(
            name="Dag",
            price=12,
            text="The enamel mug for tent and balcony, with a dark rim. Nearly unbreakable.",
            shape={"height": 0.08, "radius": 0.042, "foot": 0.0415, "belly": 0.0, "handle": 0.026},
            accent=Finish("lacquer", "black"),
            variants=(
                *colourways("lacquer", "white", "red", "forest", "mustard"),
                *patterned(
                    "lacquer", "white", Pattern("crosses", "charcoal", 0.02, 0.4, "crosses")
                ),
            ),
        ),
    ),
)
BOWL = Kind(
    name="bowl",
    category="Tableware",
    views=(
        View("front", 0, 26),
        View("top", 20, 66),
        View("detail", -15, 20, 2.2, (0.4, 0.2, 0.6)),
    ),
    families=(
        Family(
            name="Tove",
            price=24,
            text="A bowl for salad, fruit or keys. Stoneware, safe for oven and dishwasher.",
            shape={"height": 0.095, "radius": 0.12, "foot": 0.05, "curve": 0.85},
            accent=CLAY,
            variants=(
                *colourways("glazed", "ocean", "mustard", "sage"),
                *patterned(
                    "glazed",
                    "ivory",
                    Pattern("bands", "rust", 0.014, 0.35, "fine rust bands"),
                    Pattern("bands", "rust", 0.034, 0.5, "wide rust bands"),
                ),
            ),
        ),
        Family(
            name="Freja",
            price=34,
            text="Wide and low, with a fluted wall. A centrepiece even when it is empty.",
            shape={
                "height": 0.07,
                "radius": 0.16,
                "foot": 0.06,
                "curve": 0.6,
                "lobes": 36,
                "depth": 0.006,
            },
            accent=CLAY,
            variants=colourways("matt", "white", "charcoal", "blush", "mint"),
        ),
        Family(
            name="Ivar",
            price=39,
            text="Turned from one piece of wood and oiled. No two have the same grain.",
            shape={"height": 0.09, "radius": 0.13, "foot": 0.08, "curve": 0.95, "wall": 0.009},
            accent=CLAY,
            variants=(
                *colourways("wood", "oak", "walnut", "ash"),
                *sized(colourways("wood", "walnut"), "small", height=0.06, radius=0.08, foot=0.05),
            ),
        ),
        Family(
            name="Kaja",
            price=11,
            text="A breakfast bowl on a small foot. Stacks well, and lasts.",
            shape={"height": 0.075, "radius": 0.075, "foot": 0.032, "curve": 1.25},
            accent=CLAY,
            variants=(
                *colourways("speckled", "white", "sky", "blush"),
                *patterned(
                    "porcelain",
                    "white",
                    Pattern("dots", "ocean", 0.022, 0.3, "ocean dots"),
                    Pattern("waves", "ocean", 0.022, 0.4, "ocean waves"),
                    Pattern("checks", "red", 0.026, 0.5, "red checks"),
                ),
            ),
        ),
    ),
)
PLATE = Kind(
    name="plate",
    category="Tableware",
    views=(
        View("front", 0, 48),
        View("top", 0, 84),
        View("detail", 20, 40, 2.6, (0.3, 0.3, 0.8)),
    ),
    families=(
        Family(
            name="Edda",
            price=17,
            text="A dinner plate with a slim raised edge that holds the sauce.",
            shape={"radius": 0.135, "height": 0.024, "rim": 0.012},
            accent=CLAY,
            variants=(
                *colourways("speckled", "ivory", "grey", "sage"),
                *colourways("reactive", "ocean", "olive"),
            ),
        ),
        Family(
            name="Gro",
            price=15,
            text="The classic plate with a broad rim. Porcelain, decorated by hand.",
            shape={"radius": 0.13, "height": 0.022, "rim": 0.045},
            accent=CLAY,
            variants=(
                *colourways("porcelain", "white"),
                *patterned(
                    "porcelain",
                    "white",
                    Pattern("bands", "navy", 0.018, 0.3, "fine navy rings"),
                    Pattern("bands", "navy", 0.04, 0.5, "broad navy rings"),
                    Pattern("bands", "forest", 0.018, 0.3, "fine forest rings"),
                    Pattern("stripes", "rose", 0.04, 0.5, "rose rays"),
                ),
            ),
        ),
        Family(
            name="Siv",
            price=9,
            text="A side plate for cake and bread, scalloped like a shell.",
            shape={"radius": 0.085, "height": 0.02, "rim": 0.02, "lobes": 18, "depth": 0.006},
            accent=CLAY,
            variants=colourways("glazed", "lemon", "lilac", "mint", "rose", "white"),
        ),
    ),
)
KINDS = (MUG, BOWL, PLATE)
