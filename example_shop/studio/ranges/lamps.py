"""Table lamps and pendant lamps."""

from __future__ import annotations

from ..designs import Family, Finish, Kind, Pattern, View, colourways, patterned, sized

OAK = Finish("wood", "oak")
BRASS = Finish("metal", "brass")
LINEN = Finish("paper", "ivory")

TABLE_LAMP = Kind(
    name="table lamp",
    category="Lighting",
    views=(
        View("front", 0, 8),
        View("turned", 35, 26),
        View("detail", 10, 6, 2.4, (0.5, 0.2, 0.3)),
    ),
    families=(
        Family(
            name="Nova",
            price=89,
            text="A cone of linen on a turned foot. Two metres of cable, a bulb for E27.",
            shape={
                "height": 0.48,
                "foot": 0.075,
                "belly": 0.03,
                "waist": 0.012,
                "low": 0.16,
                "high": 0.09,
                "shade": 0.19,
            },
            accent=OAK,
            variants=(
                *colourways("paper", "ivory", "mustard", "sage"),
                *patterned(
                    "paper",
                    "ivory",
                    Pattern("stripes", "ocean", 0.03, 0.35, "fine ocean stripes"),
                    Pattern("stripes", "ocean", 0.09, 0.5, "wide ocean stripes"),
                ),
            ),
        ),
        Family(
            name="Ester",
            price=119,
            text="A ball of glazed stoneware carries a calm drum of linen.",
            shape={
                "height": 0.44,
                "foot": 0.05,
                "belly": 0.095,
                "waist": 0.02,
                "low": 0.15,
                "high": 0.15,
                "shade": 0.18,
                "ball": 1,
            },
            accent=LINEN,
            variants=colourways("glazed", "ocean", "terracotta", "white", "forest", "blush"),
        ),
        Family(
            name="Linnea",
            price=139,
            text="A dome of metal that sends its light down, where the book is.",
            shape={
                "height": 0.4,
                "foot": 0.085,
                "belly": 0.012,
                "waist": 0.01,
                "low": 0.14,
                "high": 0.0,
                "shade": 0.13,
                "dome": 1,
            },
            accent=BRASS,
            variants=(
                *colourways("lacquer", "black", "red", "mint"),
                *colourways("metal", "copper"),
            ),
        ),
        Family(
            name="Maane",
            price=64,
            text="A globe of opal paper, as soft as the moon behind a cloud.",
            shape={
                "height": 0.38,
                "foot": 0.07,
                "belly": 0.012,
                "waist": 0.01,
                "low": 0.14,
                "high": 0.14,
                "shade": 0.28,
                "globe": 1,
            },
            accent=OAK,
            variants=(
                *colourways("paper", "white", "blush"),
                *patterned("paper", "white", Pattern("bands", "oat", 0.03, 0.15, "ribs")),
                *sized(colourways("paper", "white"), "small", height=0.24, low=0.09, shade=0.18),
            ),
        ),
    ),
)
PENDANT = Kind(
    name="pendant lamp",
    category="Lighting",
    views=(
        View("front", 0, 4),
        View("turned", 30, 14),
        View("detail", 15, 2, 2.2, (0.4, 0.2, 0.2)),
    ),
    families=(
        Family(
            name="Klokke",
            price=99,
            text="A bell of lacquered metal, white inside. It hangs well in rows of three.",
            shape={"low": 0.18, "high": 0.03, "shade": 0.2, "curve": 1.0},
            accent=BRASS,
            variants=(
                *colourways("lacquer", "mustard", "navy", "sage", "white"),
                *colourways("metal", "copper"),
            ),
        ),
        Family(
            name="Stra",
            price=79,
            text="Woven from rattan. Draws a net of shadows on the ceiling.",
            shape={"low": 0.24, "high": 0.06, "shade": 0.2, "curve": 0.5},
            accent=Finish("lacquer", "black"),
            variants=(
                *colourways("wicker", "honey", "natural", "charcoal"),
                *sized(colourways("wicker", "honey"), "large", low=0.34, shade=0.3),
            ),
        ),
        Family(
            name="Sky",
            price=69,
            text="A drum of linen on a white frame, for the long table.",
            shape={"low": 0.22, "high": 0.22, "shade": 0.2, "curve": 0.0},
            accent=Finish("lacquer", "white"),
            variants=(
                *colourways("paper", "ivory", "terracotta"),
                *patterned(
                    "paper",
                    "white",
                    Pattern("leaves", "forest", 0.08, 0.5, "forest leaves"),
                    Pattern("zigzag", "charcoal", 0.08, 0.4, "charcoal zigzag"),
                ),
            ),
        ),
    ),
)
KINDS = (TABLE_LAMP, PENDANT)
