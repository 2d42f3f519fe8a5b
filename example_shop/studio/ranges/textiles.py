"""Cushions, rugs, tote bags and baskets."""

from __future__ import annotations

from ..designs import Family, Finish, Kind, Pattern, Variant, View, colourways, patterned, sized

LEATHER = Finish("leather", "cognac")
ROPE = Finish("canvas", "ivory")
COTTON = Finish("canvas", "ivory")

CUSHION = Kind(
    name="cushion",
    category="Textiles",
    views=(
        View("front", 12, 8),
        View("turned", -48, 14),
        View("back", 170, 10),
        View("detail", 0, 4, 2.6, (0.35, 0.2, 0.6)),
    ),
    families=(
        Family(
            name="Saga",
            price=29,
            text="A cover of washed linen with a hidden zip, filled with feathers.",
            shape={"width": 0.5, "height": 0.5, "thickness": 0.15, "piping": 0},
            accent=COTTON,
            variants=(
                *colourways("linen", "terracotta", "sage", "oat", "navy"),
                *patterned(
                    "linen",
                    "ivory",
                    Pattern("stripes", "ocean", 0.025, 0.3, "fine ocean stripes"),
                    Pattern("stripes", "ocean", 0.07, 0.5, "wide ocean stripes"),
                    Pattern("stripes", "rust", 0.025, 0.3, "fine rust stripes"),
                ),
            ),
        ),
        Family(
            name="Liv",
            price=35,
            text="Long and low, for the small of the back. Velvet with a piped edge.",
            shape={"width": 0.6, "height": 0.35, "thickness": 0.13, "piping": 1},
            accent=Finish("velvet", "charcoal"),
            variants=colourways("velvet", "forest", "plum", "mustard", "rose"),
        ),
        Family(
            name="Maj",
            price=32,
            text="Cotton with a woven pattern that is the same on both sides.",
            shape={"width": 0.45, "height": 0.45, "thickness": 0.14, "piping": 1},
            accent=Finish("canvas", "charcoal"),
            variants=patterned(
                "canvas",
                "white",
                Pattern("checks", "charcoal", 0.06, 0.5, "charcoal checks"),
                Pattern("checks", "red", 0.03, 0.5, "small red checks"),
                Pattern("dots", "mustard", 0.06, 0.25, "mustard dots"),
                Pattern("zigzag", "teal", 0.06, 0.5, "teal zigzag"),
                Pattern("blossoms", "rose", 0.09, 0.45, "rose blossoms"),
                Pattern("leaves", "forest", 0.09, 0.5, "forest leaves"),
            ),
        ),
        Family(
            name="Tuva",
            price=42,
            text="Knitted from thick lambswool. Warm in winter, and good to lean on all year.",
            shape={"width": 0.45, "height": 0.45, "thickness": 0.16, "piping": 0},
            accent=COTTON,
            variants=colourways("knit", "ivory", "grey", "blush", "ocean"),
        ),
    ),
)
RUG = Kind(
    name="rug",
    category="Textiles",
    views=(
        View("front", 0, 34),
        View("turned", 32, 42),
        View("top", 0, 89),
        View("detail", 25, 40, 3.2, (0.25, 0.25, 0.5)),
    ),
    families=(
        Family(
            name="Runa",
            price=149,
            text="Woven flat from wool, with knotted fringes. Lies still, and can be turned over.",
            shape={"width": 1.4, "depth": 2.0, "fringe": 0.09, "round": 0},
            accent=ROPE,
            variants=(
                *patterned(
                    "flatweave",
                    "ivory",
                    Pattern("zigzag", "terracotta", 0.25, 0.5, "terracotta zigzag"),
                    Pattern("diamonds", "navy", 0.35, 0.5, "navy diamonds"),
                    Pattern("bands", "forest", 0.14, 0.4, "fine forest bands"),
                    Pattern("bands", "forest", 0.4, 0.5, "wide forest bands"),
                ),
                *colourways("flatweave", "grey", "rust"),
            ),
        ),
        Family(
            name="Sol",
            price=129,
            text="A round rug, braided from jute. Goes under a table or by a bed.",
            shape={"width": 1.5, "depth": 1.5, "fringe": 0, "round": 1},
            accent=ROPE,
            variants=(
                *colourways("coiled", "natural", "charcoal"),
                *patterned(
                    "coiled",
                    "natural",
                    Pattern("bands", "white", 0.22, 0.5, "white rings"),
                    Pattern("bands", "ocean", 0.22, 0.5, "ocean rings"),
                    Pattern("bands", "black", 0.09, 0.35, "fine black rings"),
                ),
            ),
        ),
        Family(
            name="Embla",
            price=219,
            text="Deep wool pile for bare feet on cold mornings.",
            shape={"width": 1.5, "depth": 2.1, "fringe": 0, "round": 0},
            accent=ROPE,
            variants=(
                *colourways("wool", "ivory", "sage", "mustard"),
                *patterned(
                    "wool",
                    "ivory",
                    Pattern("windows", "charcoal", 0.4, 0.08, "a charcoal grid"),
                    Pattern("chess", "sand", 0.6, 0.5, "sand squares"),
                ),
            ),
        ),
    ),
)
TOTE = Kind(
    name="tote bag",
    category="Bags & baskets",
    views=(
        View("front", 8, 8),
        View("turned", 48, 16),
        View("detail", 0, 6, 2.4, (0.4, 0.2, 0.4)),
    ),
    families=(
        Family(
            name="Vega",
            price=39,
            text="Heavy canvas, stitched twice, with an inside pocket. Carries the market home.",
            shape={"width": 0.38, "height": 0.36, "depth": 0.12, "strap": 0.2, "flare": 0.02},
            accent=COTTON,
            variants=(
                *colourways("canvas", "ivory", "navy", "mustard", "forest"),
                *patterned(
                    "canvas",
                    "ivory",
                    Pattern("stripes", "navy", 0.03, 0.4, "fine navy stripes"),
                    Pattern("stripes", "navy", 0.09, 0.5, "wide navy stripes"),
                    Pattern("stripes", "red", 0.03, 0.4, "fine red stripes"),
                ),
            ),
        ),
        Family(
            name="Maja",
            price=145,
            text="Vegetable-tanned leather that grows more beautiful with the years.",
            shape={"width": 0.4, "height": 0.28, "depth": 0.14, "strap": 0.14, "flare": -0.03},
            accent=LEATHER,
            variants=(
                *colourways("leather", "cognac"),
                *colourways(
                    "leather", "black", "forest", "plum", accent=Finish("leather", "black")
                ),
            ),
        ),
        Family(
            name="Ronja",
            price=34,
            text="A printed shopper that folds into its own corner.",
            shape={"width": 0.36, "height": 0.4, "depth": 0.07, "strap": 0.24, "flare": 0.0},
            accent=Finish("canvas", "charcoal"),
            variants=patterned(
                "canvas",
                "oat",
                Pattern("dots", "charcoal", 0.05, 0.25, "charcoal dots"),
                Pattern("scales", "teal", 0.08, 0.4, "teal scales"),
                Pattern("blossoms", "terracotta", 0.08, 0.45, "terracotta blossoms"),
                Pattern("waves", "ocean", 0.06, 0.45, "ocean waves"),
                Pattern("crosses", "black", 0.05, 0.4, "black crosses"),
            ),
        ),
    ),
)
BASKET = Kind(
    name="basket",
    category="Bags & baskets",
    views=(
        View("front", 10, 20),
        View("turned", 60, 32),
        View("top", 20, 60),
        View("detail", 0, 14, 2.6, (0.4, 0.2, 0.6)),
    ),
    families=(
        Family(
            name="Hedda",
            price=45,
            text="Coiled from seagrass by hand. For blankets, toys or a tall plant.",
            shape={"height": 0.34, "radius": 0.2, "foot": 0.17, "belly": 0.04, "ears": 1},
            accent=Finish("coiled", "natural"),
            variants=(
                *colourways("coiled", "natural", "charcoal"),
                *patterned(
                    "coiled",
                    "natural",
                    Pattern("dipped", "white", 1, 0.45, "dipped in white"),
                    Pattern("dipped", "rose", 1, 0.45, "dipped in rose"),
                    Pattern("zigzag", "black", 0.16, 0.35, "black zigzag"),
                ),
            ),
        ),
        Family(
            name="Unni",
            price=38,
            text="Woven willow with a high handle, for apples, bread and picnics.",
            shape={"height": 0.18, "radius": 0.19, "foot": 0.15, "belly": 0.01, "bow": 1},
            accent=Finish("wicker", "honey"),
            variants=[
                Variant(Finish("wicker", "honey")),
                Variant(Finish("wicker", "natural"), Finish("wicker", "natural")),
                Variant(Finish("wicker", "white"), Finish("wicker", "white")),
                Variant(Finish("wicker", "charcoal"), Finish("wicker", "charcoal")),
            ],
        ),
        Family(
            name="Yrsa",
            price=26,
            text="Felted wool that stands by itself. Two leather grips.",
            shape={"height": 0.26, "radius": 0.17, "foot": 0.17, "belly": 0.0, "ears": 1},
            accent=LEATHER,
            variants=(
                *colourways("wool", "grey", "charcoal", "olive", "rust"),
                *sized(colourways("wool", "grey"), "small", height=0.16, radius=0.11, foot=0.11),
            ),
        ),
    ),
)
KINDS = (CUSHION, RUG, TOTE, BASKET)
