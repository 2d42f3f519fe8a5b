"""Vases, bottles, plant pots and candles."""

from __future__ import annotations

from ..designs import Family, Finish, Kind, Pattern, View, colourways, patterned, sized

CLAY = Finish("clay", "terracotta")
OAK = Finish("wood", "oak")
BRASS = Finish("metal", "brass")
CORK = Finish("cork", "natural")

VASE = Kind(
    name="vase",
    category="Vases & pots",
    views=(
        View("front", 0, 12),
        View("turned", 50, 24),
        View("detail", 10, 8, 2.4, (0.5, 0.2, 0.75)),
    ),
    families=(
        Family(
            name="Lund",
            price=39,
            text="A slim neck for a single branch. Waterproof, and as good when it stays empty.",
            shape={
                "height": 0.28,
                "neck": 0.018,
                "mouth": 0.026,
                "belly": 0.07,
                "foot": 0.045,
                "shoulder": 0.42,
            },
            accent=CLAY,
            variants=(
                *colourways("matt", "ivory", "sage", "charcoal", "terracotta"),
                *patterned("matt", "ivory", Pattern("dipped", "ocean", 1, 0.4, "dipped in ocean")),
            ),
        ),
        Family(
            name="Skagen",
            price=45,
            text="A straight cylinder for long stems, with a decoration painted by hand.",
            shape={
                "height": 0.25,
                "neck": 0.058,
                "mouth": 0.06,
                "belly": 0.06,
                "foot": 0.056,
                "shoulder": 0.5,
            },
            accent=CLAY,
            variants=patterned(
                "glazed",
                "white",
                Pattern("stripes", "navy", 0.022, 0.4, "fine navy stripes"),
                Pattern("stripes", "navy", 0.05, 0.5, "wide navy stripes"),
                Pattern("zigzag", "charcoal", 0.045, 0.45, "charcoal zigzag"),
                Pattern("leaves", "forest", 0.042, 0.5, "forest leaves"),
                Pattern("scales", "teal", 0.045, 0.4, "teal scales"),
            ),
        ),
        Family(
            name="Ribe",
            price=52,
            text="A moon of a vase, round from every side. The glaze runs as it likes.",
            shape={
                "height": 0.19,
                "neck": 0.03,
                "mouth": 0.034,
                "belly": 0.105,
                "foot": 0.045,
                "shoulder": 0.5,
            },
            accent=CLAY,
            variants=(
                *colourways("reactive", "teal", "plum", "mustard", "ocean"),
                *sized(
                    colourways("reactive", "teal"),
                    "small",
                    height=0.11,
                    belly=0.06,
                    neck=0.018,
                    mouth=0.021,
                    foot=0.026,
                ),
            ),
        ),
        Family(
            name="Ebba",
            price=48,
            text="Mouth-blown glass with ribs that break the light.",
            shape={
                "height": 0.22,
                "neck": 0.05,
                "mouth": 0.075,
                "belly": 0.075,
                "foot": 0.05,
                "shoulder": 0.35,
                "lobes": 20,
                "depth": 0.005,
            },
            accent=CLAY,
            variants=colourways("glass", "amber", "mint", "lilac", "sky"),
        ),
    ),
)
BOTTLE = Kind(
    name="bottle",
    category="Tableware",
    views=(
        View("front", 0, 10),
        View("turned", 40, 28),
        View("detail", 0, 12, 2.6, (0.5, 0.2, 0.8)),
    ),
    families=(
        Family(
            name="Nils",
            price=22,
            text="A carafe for water or juice, closed with cork.",
            shape={"height": 0.25, "body": 0.045, "neck": 0.018, "shoulder": 0.62, "stopper": 0.03},
            accent=CORK,
            variants=(
                *colourways("glass", "mint", "amber", "sky"),
                *colourways("porcelain", "white"),
            ),
        ),
        Family(
            name="Odin",
            price=29,
            text="Keeps tea hot for a day's walk. Steel inside, lacquer outside.",
            shape={"height": 0.24, "body": 0.036, "neck": 0.026, "shoulder": 0.82, "stopper": 0.04},
            accent=OAK,
            variants=(
                *colourways("lacquer", "navy", "red", "sage", "white"),
                *patterned("lacquer", "ivory", Pattern("waves", "ocean", 0.03, 0.4, "ocean waves")),
            ),
        ),
        Family(
            name="Pia",
            price=26,
            text="For oil or vinegar, with a spout's patience. Stoneware.",
            shape={"height": 0.17, "body": 0.042, "neck": 0.013, "shoulder": 0.5, "stopper": 0.022},
            accent=BRASS,
            variants=(
                *colourways("speckled", "white", "grey"),
                *colourways("reactive", "olive", "rust"),
                *patterned("glazed", "ivory", Pattern("bands", "olive", 0.02, 0.35, "olive bands")),
            ),
        ),
    ),
)
POT = Kind(
    name="plant pot",
    category="Vases & pots",
    views=(
        View("front", 10, 18),
        View("top", 30, 55),
        View("detail", -10, 14, 2.4, (0.4, 0.2, 0.6)),
    ),
    families=(
        Family(
            name="Rut",
            price=12,
            text="The gardener's pot with its saucer. Breathes, as roots like it.",
            shape={"height": 0.14, "radius": 0.085, "foot": 0.058, "collar": 0.03, "plant": 0},
            accent=CLAY,
            variants=(
                *colourways("clay", "terracotta", "sand", "charcoal"),
                *patterned(
                    "clay", "terracotta", Pattern("dipped", "white", 1, 0.4, "dipped in white")
                ),
                *sized(
                    colourways("clay", "terracotta"),
                    "large",
                    height=0.22,
                    radius=0.13,
                    foot=0.09,
                    collar=0.045,
                ),
            ),
        ),
        Family(
            name="Solveig",
            price=27,
            text="A cylinder for the window sill. Glazed, and tight without a saucer.",
            shape={"height": 0.13, "radius": 0.072, "foot": 0.071, "collar": 0, "plant": 1},
            accent=CLAY,
            variants=(
                *colourways("glazed", "white", "mustard", "forest"),
                *patterned(
                    "glazed",
                    "white",
                    Pattern("diamonds", "charcoal", 0.034, 0.4, "charcoal diamonds"),
                    Pattern("windows", "charcoal", 0.036, 0.12, "charcoal grid"),
                    Pattern("rings", "rust", 0.045, 0.35, "rust rings"),
                ),
            ),
        ),
        Family(
            name="Tyra",
            price=44,
            text="On three legs, so that the plant gets the light it wants.",
            shape={
                "height": 0.16,
                "radius": 0.11,
                "foot": 0.095,
                "collar": 0,
                "plant": 1,
                "legs": 0.13,
            },
            accent=OAK,
            variants=(
                *colourways("terrazzo", "white", "blush"),
                *colourways("matt", "charcoal", "sage"),
            ),
        ),
    ),
)
CANDLE = Kind(
    name="candle",
    category="Decoration",
    views=(
        View("front", 10, 16),
        View("turned", -40, 34),
        View("detail", 0, 16, 2.0, (0.5, 0.3, 0.8)),
    ),
    families=(
        Family(
            name="Lys",
            price=9,
            text="A pillar that burns for fifty hours, poured in small batches.",
            shape={"height": 0.15, "radius": 0.035, "ribs": 0, "holder": 0},
            accent=BRASS,
            variants=(
                *colourways("wax", "ivory", "rust", "forest", "plum"),
                *sized(colourways("wax", "ivory"), "small", height=0.08),
            ),
        ),
        Family(
            name="Vida",
            price=14,
            text="Ribbed like a column. Too good to burn, and made for it all the same.",
            shape={"height": 0.17, "radius": 0.034, "ribs": 14, "holder": 0},
            accent=BRASS,
            variants=colourways("wax", "blush", "sky", "mustard", "lilac"),
        ),
        Family(
            name="Ask",
            price=24,
            text="Scented soy wax in a cup that stays: cedar, fig and a little smoke.",
            shape={"height": 0.085, "radius": 0.042, "ribs": 0, "holder": 1},
            accent=Finish("wax", "ivory"),
            variants=(
                *colourways("speckled", "grey", "sand"),
                *colourways("glass", "amber"),
                *patterned(
                    "glazed", "white", Pattern("stripes", "teal", 0.018, 0.5, "teal stripes")
                ),
            ),
        ),
    ),
)
KINDS = (VASE, BOTTLE, POT, CANDLE)
