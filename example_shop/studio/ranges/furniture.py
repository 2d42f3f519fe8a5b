"""Stools, chairs, side tables and wall clocks."""

from __future__ import annotations

from ..designs import Family, Finish, Kind, Pattern, View, colourways, patterned

OAK = Finish("wood", "oak")
BLACK = Finish("lacquer", "black")
BRASS = Finish("metal", "brass")

STOOL = Kind(
    name="stool",
    category="Seating",
    views=(
        View("front", 20, 18),
        View("turned", 65, 30),
        View("detail", 20, 24, 2.2, (0.4, 0.3, 0.85)),
    ),
    families=(
        Family(
            name="Mio",
            price=79,
            text="Three legs never wobble. Stack it, sit on it, put a lamp on it.",
            shape={"height": 0.45, "radius": 0.17, "thick": 0.03, "legs": 3},
            accent=OAK,
            variants=(
                *colourways("wood", "oak", "walnut"),
                *colourways("lacquer", "red", "sky", "forest"),
            ),
        ),
        Family(
            name="Ulla",
            price=129,
            text="A padded seat on four round legs, for the dressing table or the piano.",
            shape={"height": 0.46, "radius": 0.19, "thick": 0.09, "legs": 4},
            accent=OAK,
            variants=(
                *colourways("velvet", "forest", "rose"),
                *colourways("leather", "cognac"),
                *patterned(
                    "linen",
                    "ivory",
                    Pattern("stripes", "navy", 0.05, 0.3, "navy stripes"),
                ),
            ),
        ),
        Family(
            name="Sten",
            price=149,
            text="A pouf that is seat, footrest and table in one. Firm, with a loose cover.",
            shape={"height": 0.4, "radius": 0.22, "thick": 0.4, "legs": 0},
            accent=OAK,
            variants=(
                *colourways("knit", "grey", "mustard", "blush"),
                *patterned(
                    "canvas",
                    "ivory",
                    Pattern("zigzag", "teal", 0.1, 0.5, "teal zigzag"),
                    Pattern("diamonds", "rust", 0.12, 0.4, "rust diamonds"),
                ),
            ),
        ),
    ),
)
CHAIR = Kind(
    name="chair",
    category="Seating",
    views=(
        View("front", 28, 14),
        View("turned", -55, 22),
        View("back", 155, 16),
        View("detail", 25, 20, 2.4, (0.4, 0.3, 0.5)),
    ),
    families=(
        Family(
            name="Arne",
            price=219,
            text="Seven spindles and a bow: light enough to lift with two fingers.",
            shape={"seat": 0.44, "height": 0.84, "width": 0.44, "spindles": 7},
            accent=OAK,
            variants=(
                *colourways("wood", "oak", "walnut", "ash"),
                *colourways("lacquer", "black", "mint"),
            ),
        ),
        Family(
            name="Tor",
            price=189,
            text="A ladder back and a seat woven by hand. It has been right for two centuries.",
            shape={"seat": 0.45, "height": 0.9, "width": 0.45, "slats": 4},
            accent=Finish("flatweave", "natural"),
            variants=(
                *colourways("wood", "oak", "walnut"),
                *colourways("lacquer", "black", "ocean", accent=Finish("flatweave", "natural")),
            ),
        ),
        Family(
            name="Ines",
            price=159,
            text="One shell for seat and back, on a light frame. Outdoors or in.",
            shape={"seat": 0.44, "height": 0.8, "width": 0.46, "shell": 1},
            accent=BLACK,
            variants=colourways("lacquer", "white", "mustard", "teal", "terracotta", "grey"),
        ),
        Family(
            name="Bo",
            price=289,
            text="Upholstered all over, for dinners that go on until midnight.",
            shape={"seat": 0.46, "height": 0.82, "width": 0.5, "padded": 1},
            accent=Finish("wood", "walnut"),
            variants=(
                *colourways("velvet", "ocean", "plum", "mustard"),
                *colourways("leather", "cognac"),
                *patterned("linen", "oat", Pattern("checks", "forest", 0.07, 0.4, "forest checks")),
            ),
        ),
    ),
)
TABLE = Kind(
    name="side table",
    category="Tables",
    views=(
        View("front", 15, 18),
        View("top", 20, 50),
        View("detail", 20, 26, 2.2, (0.35, 0.3, 0.9)),
    ),
    families=(
        Family(
            name="Lage",
            price=169,
            text="A round top on three raked legs. Just the height of an armrest.",
            shape={"height": 0.5, "radius": 0.24, "legs": 3},
            accent=OAK,
            variants=(
                *colourways("wood", "oak", "walnut"),
                *colourways("lacquer", "white", "forest"),
                *colourways("terrazzo", "blush"),
            ),
        ),
        Family(
            name="Vidar",
            price=249,
            text="A fluted drum. Inside there is room for what shouldn't lie about.",
            shape={"height": 0.48, "radius": 0.21, "drum": 1},
            accent=OAK,
            variants=(
                *colourways("wood", "walnut", "ash"),
                *colourways("matt", "sage", "terracotta"),
            ),
        ),
        Family(
            name="Ylva",
            price=299,
            text="Marble on a single foot of brass. The veins are never the same.",
            shape={"height": 0.52, "radius": 0.2, "pedestal": 1},
            accent=BRASS,
            variants=(
                *colourways("marble", "marble", "forest", "charcoal"),
                *colourways("terrazzo", "white", accent=BLACK),
            ),
        ),
    ),
)
CLOCK = Kind(
    name="wall clock",
    category="Decoration",
    views=(
        View("front", 0, 3),
        View("turned", 38, 8),
        View("detail", -10, 5, 2.2, (0.65, 0.2, 0.65)),
    ),
    families=(
        Family(
            name="Tid",
            price=59,
            text="A plain face in a wooden ring. Runs silently.",
            shape={"radius": 0.15, "ring": 0.012, "marks": 12, "round": 1},
            accent=OAK,
            variants=colourways("lacquer", "white", "sage", "navy", "terracotta", "mustard"),
        ),
        Family(
            name="Kvart",
            price=69,
            text="Square, with four marks only. You'll know the others.",
            shape={"radius": 0.14, "ring": 0.01, "marks": 4, "round": 0},
            accent=BLACK,
            variants=(
                *colourways("wood", "oak", "walnut"),
                *colourways("cork", "natural"),
                *colourways("lacquer", "white"),
            ),
        ),
        Family(
            name="Sunniva",
            price=89,
            text="Rays of brass around a small face: a little sun for a dark hall.",
            shape={"radius": 0.1, "ring": 0.006, "marks": 12, "round": 1, "rays": 24},
            accent=BRASS,
            variants=colourways("lacquer", "white", "black", "forest", "plum"),
        ),
    ),
)
KINDS = (STOOL, CHAIR, TABLE, CLOCK)
