"""Draws the catalogue in this package: `python -m example_shop.drawn_catalogue`.

Homeware in families: a few shapes of each kind, each in several colours and patterns. The same
table always gives the same pictures.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from . import folders

Plane = npt.NDArray[np.float64]
Pattern = Callable[[Plane, Plane], Plane]
"""Coordinates on a surface, both about 0 to 1, -> how much of the second colour there is."""

SIDE = 384
SIZE = 2 * SIDE
"""Drawn at twice the size and scaled down, which smooths the edges."""
QUALITY = 84
Y, X = (plane.astype(float) / SIZE for plane in np.mgrid[0:SIZE, 0:SIZE])

COLOURS = {
    "terracotta": (196, 98, 66),
    "sage": (142, 163, 128),
    "ocean": (44, 95, 128),
    "mustard": (217, 164, 50),
    "blush": (226, 167, 158),
    "charcoal": (66, 66, 70),
    "ivory": (238, 229, 210),
    "plum": (112, 62, 92),
    "forest": (44, 92, 70),
    "sky": (148, 190, 214),
}
SECOND = {"ivory": "terracotta", "blush": "plum", "sky": "ocean", "mustard": "charcoal"}
"""The colour that a pattern is in; ivory where none is named."""
WALLS = {"warm": (236, 226, 214), "cool": (218, 225, 230), "grey": (226, 225, 223)}


def _edge(distance: Plane, softness: float = 0.02) -> Plane:
    return np.clip(0.5 - distance / softness, 0, 1)


PATTERNS: dict[str, Pattern] = {
    "plain": lambda u, v: np.zeros_like(u),
    "striped": lambda u, v: _edge(0.25 - np.abs((u * 9) % 1 - 0.5), 0.12),
    "banded": lambda u, v: _edge(0.22 - np.abs((v * 6) % 1 - 0.5), 0.12),
    "dotted": lambda u, v: _edge(
        np.hypot((u * 7 + 0.5 * (np.floor(v * 7) % 2)) % 1 - 0.5, (v * 7) % 1 - 0.5) - 0.24, 0.1
    ),
    "checked": lambda u, v: (
        0.5
        * (
            _edge(0.25 - np.abs((u * 5) % 1 - 0.5), 0.06)
            + _edge(0.25 - np.abs((v * 5) % 1 - 0.5), 0.06)
        )
    ),
    "dipped": lambda u, v: _edge(0.62 + 0.025 * np.sin(u * 11) - v, 0.015),
    "zigzag": lambda u, v: _edge(
        0.22 - np.abs((v * 5 + 1.1 * np.abs((u * 6) % 1 - 0.5)) % 1 - 0.5), 0.1
    ),
}


@dataclass(frozen=True)
class Surface:
    """A part of an object: where it is, its own coordinates, and how light falls on it."""

    mask: Plane
    u: Plane
    v: Plane
    light: Plane


@dataclass(frozen=True)
class Look:
    """What an object is made of."""

    colour: str
    pattern: str

    @property
    def second(self) -> str:
        return SECOND.get(self.colour, "ivory")


def _studio(wall: str, floor: float, rng: np.random.Generator) -> Plane:
    """Returns a lit backdrop that bends softly into the floor at the height `floor`."""
    colour = np.array(WALLS[wall], float)
    bend = 1 / (1 + np.exp(-(Y - floor) * 22))
    light = 1.04 - 0.1 * bend + 0.1 * (Y - floor) * bend
    light -= 0.16 * np.hypot(X - rng.uniform(0.3, 0.45), (Y - 0.35) * 0.9) ** 1.5
    grain = rng.normal(0, 0.006, X.shape)
    backdrop: Plane = np.clip(colour * (light + grain)[..., None], 0, 255)
    return backdrop


def _shadow(picture: Plane, x: float, y: float, width: float, height: float) -> Plane:
    """Returns the picture with the soft shadow of something that stands at (x, y)."""
    for spread, strength in ((1.25, 0.28), (1.02, 0.35)):
        shape = (((X - x - 0.03 * spread) / (width * spread)) ** 2) + (((Y - y) / height) ** 2)
        dark = np.exp(-(shape**1.2) * 1.1) * strength
        picture = picture * (1 - dark[..., None])
    return picture


def _over(picture: Plane, mask: Plane, colour: Plane) -> Plane:
    return picture + mask[..., None] * (colour - picture)


def _paint(picture: Plane, part: Surface, look: Look, gloss: Plane | float = 0.0) -> Plane:
    share = PATTERNS[look.pattern](part.u, part.v)[..., None]
    first, second = (np.array(COLOURS[name], float) for name in (look.colour, look.second))
    colour = (first + share * (second - first)) * part.light[..., None]
    colour = colour + np.asarray(gloss)[..., None] * (255 - colour)
    return _over(picture, part.mask, np.clip(colour, 0, 255))


def _turned(
    x: float, top: float, bottom: float, radius: Callable[[Plane], Plane], tilt: float = 0.22
) -> tuple[Surface, Plane]:
    """Returns a body of revolution seen from slightly above, and where it shines.

    `radius` takes the height, 0 at the top to 1 at the bottom. `tilt` is the flattening of the
    circles.
    """
    half = np.maximum(radius(np.clip((Y - top) / (bottom - top), 0, 1)), 1e-6)
    u = np.clip((X - x) / half, -1, 1)
    depth = np.sqrt(1 - u**2)
    end = float(radius(np.array([1.0]))[0])
    v = (Y - tilt * half * depth * 0.9 - top) / (bottom - top)
    body = _edge(np.abs(X - x) - half, 0.004) * _edge(top - Y, 0.003) * _edge(Y - bottom, 0.003)
    foot = _edge((np.hypot((X - x) / end, (Y - bottom) / (tilt * end)) - 1) * end, 0.004)
    light = 0.52 + 0.56 * np.clip(-0.55 * u + 0.84 * depth, 0, 1)
    light *= 1.03 - 0.1 * np.clip(v, 0, 1)
    shine = np.exp(-(((u + 0.5) / 0.09) ** 2)) * 0.32 * np.clip(1.1 - v, 0, 1)
    around = np.arcsin(u) / np.pi + 0.5
    return Surface(np.maximum(body, foot), around, v, light), shine


def _disc(x: float, y: float, radius: float, tilt: float, grow: float = 0.0) -> Plane:
    size = radius + grow
    height = tilt * radius + grow * 0.8
    return _edge((np.hypot((X - x) / size, (Y - y) / height) - 1) * size * 0.6, 0.004)


def _mouth(picture: Plane, x: float, y: float, radius: float, look: Look, tilt: float) -> Plane:
    """Returns the picture with the rim and the dark inside of an open vessel."""
    colour = np.array(COLOURS[look.colour], float)
    picture = _over(picture, _disc(x, y, radius, tilt, 0.002), np.clip(colour * 1.16, 0, 255))
    inside = 0.34 + 0.42 * np.clip((X - x) / radius * 0.6 + (Y - y) / (tilt * radius) * 0.4, 0, 1)
    return _over(picture, _disc(x, y, radius, tilt, -0.011), colour * inside[..., None])


def _ring(x: float, y: float, width: float, height: float, thick: float) -> Plane:
    distance = np.abs(np.hypot((X - x) / width, (Y - y) / height) - 1) * min(width, height)
    return _edge(distance - thick, 0.004)


def _mug(picture: Plane, look: Look, shape: int) -> Plane:
    radius, top, bottom, tilt = ((0.17, 0.36, 0.70, 0.24), (0.205, 0.45, 0.70, 0.24))[shape]
    x = 0.46
    taper = 0.03 if shape else 0.0
    picture = _shadow(picture, x + 0.03, bottom + 0.035, radius * 1.35, 0.05)
    middle = (top + bottom) / 2 + 0.01
    handle = _ring(x + radius + 0.035, middle, 0.085, 0.105 if shape == 0 else 0.085, 0.018)
    light = 0.72 + 0.35 * np.clip((middle + 0.05 - Y) * 5, -0.6, 1)
    picture = _paint(picture, Surface(handle, X, Y, light), Look(look.colour, "plain"))
    body, shine = _turned(x, top, bottom, lambda v: radius - taper * v**3 + 0 * v, tilt)
    picture = _paint(picture, body, look, shine)
    return _mouth(picture, x, top, radius, look, tilt)


def _vase(picture: Plane, look: Look, shape: int) -> Plane:
    profiles: tuple[Callable[[Plane], Plane], ...] = (
        lambda v: 0.055 + 0.125 * np.sin(np.pi * np.clip(v * 0.93 + 0.02, 0, 1)) ** 1.6 + 0.035 * v,
        lambda v: 0.075 + 0.05 * np.exp(-(v * 7)) + 0.075 * v**1.4,
        lambda v: 0.06 + 0.16 * np.exp(-(((v - 0.62) / 0.24) ** 2)) - 0.02 * v,
    )
    top, bottom = ((0.2, 0.76), (0.17, 0.77), (0.3, 0.74))[shape]
    radius = profiles[shape]
    end = float(radius(np.array([1.0]))[0])
    picture = _shadow(picture, 0.53, bottom + 0.02, max(end, 0.11) * 1.5, 0.045)
    body, shine = _turned(0.5, top, bottom, radius, 0.2)
    picture = _paint(picture, body, look, shine)
    return _mouth(picture, 0.5, top, float(radius(np.array([0.0]))[0]), look, 0.2)


def _bowl(picture: Plane, look: Look, shape: int) -> Plane:
    radius, top, bottom = ((0.29, 0.47, 0.67), (0.33, 0.53, 0.66))[shape]
    picture = _shadow(picture, 0.53, bottom + 0.015, 0.24, 0.05)

    def profile(v: Plane) -> Plane:
        rounded: Plane = radius * (0.38 + 0.62 * np.sqrt(np.clip(1 - v**2.2, 0, 1)))
        return rounded

    body, shine = _turned(0.5, top, bottom, profile, 0.27)
    picture = _paint(picture, body, look, shine)
    return _mouth(picture, 0.5, top, radius, look, 0.27)


def _lamp(picture: Plane, look: Look, shape: int) -> Plane:
    picture = _shadow(picture, 0.53, 0.815, 0.17, 0.035)
    wood = Look("charcoal" if look.colour != "charcoal" else "mustard", "plain")
    profiles: tuple[Callable[[Plane], Plane], ...] = (
        lambda v: 0.014 + 0.1 * np.exp(-(((v - 1) / 0.06) ** 2)),
        lambda v: 0.022 + 0.085 * np.exp(-(((v - 0.68) / 0.24) ** 2)) + 0.03 * v**8,
    )
    foot, shine = _turned(0.5, 0.46, 0.8, profiles[shape], 0.2)
    picture = _paint(picture, foot, wood if shape == 0 else Look(look.colour, "plain"), shine)
    shade_looks = look if shape == 0 else Look("ivory", look.pattern)
    top, bottom = 0.17, 0.47
    if shape == 0:
        shade, _ = _turned(0.5, top, bottom, lambda v: 0.11 + 0.12 * v, 0.16)
    else:
        shade, _ = _turned(0.5, top, bottom, lambda v: 0.2 + 0 * v, 0.16)
    glow = 0.2 * np.exp(-(((X - 0.5) / 0.13) ** 2) - (((Y - 0.38) / 0.13) ** 2))
    lit = Surface(shade.mask, shade.u, shade.v, shade.light * 0.55 + 0.5)
    picture = _paint(picture, lit, shade_looks, glow)
    return _mouth(picture, 0.5, top, 0.11 if shape == 0 else 0.2, shade_looks, 0.16)


def _cushion(picture: Plane, look: Look, shape: int) -> Plane:
    picture = _shadow(picture, 0.52, 0.755, 0.3, 0.05)
    half_x, half_y = ((0.29, 0.27), (0.35, 0.21))[shape]
    x, y = (X - 0.5) / half_x, (Y - 0.5) / half_y
    turn = -0.07
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    # A pillow's edges bend inwards between its corners.
    across, along = 1 - 0.11 * (1 - y**2), 1 - 0.11 * (1 - x**2)
    u, v = x / across, y / along
    mask = _edge((np.maximum(np.abs(u), np.abs(v)) - 1) * half_y, 0.008)
    dome = np.clip((1 - u**2) * (1 - v**2), 0, 1) ** 0.35
    light = 0.58 + 0.42 * dome - 0.1 * u - 0.12 * v
    light += 0.05 * np.sin(9 * u * v + 2 * u) * (1 - dome)
    picture = _paint(picture, Surface(mask, u / 2 + 0.5, v / 2 + 0.5, light), look)
    seam = _edge(np.abs(np.maximum(np.abs(u), np.abs(v)) - 0.975) * half_y - 0.004, 0.004)
    return _over(picture, seam * mask * 0.35, np.array(COLOURS[look.second], float) * 0.8)


def _bag(picture: Plane, look: Look, shape: int) -> Plane:
    top, bottom = ((0.4, 0.8), (0.46, 0.78))[shape]
    picture = _shadow(picture, 0.53, bottom + 0.005, 0.3, 0.04)
    v = (Y - top) / (bottom - top)
    half = 0.21 + 0.05 * v if shape == 0 else 0.29 - 0.035 * v
    u = (X - 0.5) / half
    strap = Look("charcoal" if look.colour != "charcoal" else "mustard", "plain")
    for shift, dark in ((0.02, 0.7), (0.0, 1.0)):
        height = 0.24 if shape == 0 else 0.15
        handle = _ring(0.5 + shift, top + 0.015, 0.11, height, 0.013) * _edge(Y - top - 0.05, 0.01)
        light = dark * (0.95 + 0.3 * np.clip(0.45 - X, -0.3, 0.3))
        picture = _paint(picture, Surface(handle, X, Y, light), strap)
    corner = np.clip(np.abs(u) - 0.9, 0, 1) * half * 2.4
    mask = _edge(np.abs(X - 0.5) - half, 0.005) * _edge(top + 0.012 * np.cos(u * 2) - Y, 0.005)
    mask = mask * _edge(Y - bottom + corner**1.3, 0.005)
    light = 1.0 - 0.16 * u - 0.18 * np.abs(u) ** 3 - 0.12 * v**2
    light += 0.035 * np.sin(u * 7 + 3 * v) * (1 - v) + 0.02 * np.sin(u * 17 - 2 * v)
    picture = _paint(picture, Surface(mask, u / 2 + 0.5, v, light), look)
    hem = mask * _edge(np.abs(v - 0.09) - 0.008, 0.008)
    return _over(picture, hem * 0.4, np.array(COLOURS[look.second], float) * 0.75)


def _rug(picture: Plane, look: Look, shape: int) -> Plane:
    if shape == 1:
        y = (Y - 0.62) / 0.2
        x = (X - 0.5) / 0.4
        distance = np.hypot(x, y)
        picture = _shadow(picture, 0.5, 0.645, 0.41, 0.2)
        mask = _edge((distance - 1) * 0.25, 0.005)
        around = np.arctan2(y, x) / (2 * np.pi) + 0.5
        light = 1.0 - 0.08 * x + 0.04 * np.sin(distance * 90)
        return _paint(picture, Surface(mask, around * 2, distance, light), look)
    top, bottom = 0.42, 0.8
    v = (Y - top) / (bottom - top)
    half = 0.26 + 0.14 * np.clip(v, -0.1, 1.1)
    u = (X - 0.5) / half
    # Perspective: what is further away is pressed together.
    far = np.log1p(np.clip(v, -0.2, 1.2) * 0.9) / np.log(1.9)
    picture = _shadow(picture, 0.51, 0.63, 0.41, 0.23)
    strands = (np.sin(u * 150) > -0.2) * _edge(np.abs(X - 0.5) - half, 0.004)
    for line in (-0.035, 1.035):
        fringe = strands * _edge(np.abs(v - line) - 0.045, 0.01)
        picture = _over(picture, fringe, np.array(COLOURS["ivory"], float) * 0.92)
    mask = _edge(np.abs(X - 0.5) - half, 0.004) * _edge(-v, 0.008) * _edge(v - 1, 0.008)
    light = 0.98 - 0.08 * u + 0.05 * v + 0.03 * np.sin(far * 240)
    picture = _paint(picture, Surface(mask, u / 2 + 0.5, far, light), look)
    border = _edge(np.abs(np.maximum(np.abs(u), np.abs(2 * far - 1)) - 0.9) - 0.02, 0.01)
    return _over(picture, border * mask * 0.8, np.array(COLOURS[look.second], float) * 0.95)


@dataclass(frozen=True)
class Kind:
    """A kind of product: how it is drawn, named and priced."""

    draw: Callable[[Plane, Look, int], Plane]
    noun: str
    category: str
    lines: tuple[str, ...]
    """A name for each shape."""
    prices: tuple[float, ...]
    text: str
    floor: float
    looks: tuple[tuple[int, str, str], ...]
    """Shape, colour and pattern of each product."""
    margin: float = 0.09
    """Share of each side that is cut off."""


KINDS = (
    Kind(
        _mug,
        "mug",
        "Kitchen",
        ("Alma", "Bodil"),
        (14.0, 16.5),
        "Thrown by hand and glazed inside and out. Holds a generous coffee; dishwasher safe.",
        0.6,
        (
            (0, "terracotta", "plain"),
            (0, "sage", "dipped"),
            (0, "ocean", "banded"),
            (0, "ivory", "dotted"),
            (0, "charcoal", "plain"),
            (1, "mustard", "plain"),
            (1, "blush", "striped"),
            (1, "forest", "dipped"),
        ),
    ),
    Kind(
        _vase,
        "vase",
        "Decoration",
        ("Lund", "Skagen", "Ribe"),
        (39.0, 45.0, 32.0),
        "Stoneware with a satin glaze. Waterproof, and as good empty as with a single branch.",
        0.63,
        (
            (0, "sage", "plain"),
            (0, "ocean", "dipped"),
            (0, "terracotta", "banded"),
            (1, "ivory", "plain"),
            (1, "charcoal", "zigzag"),
            (1, "sky", "striped"),
            (2, "plum", "plain"),
            (2, "mustard", "dipped"),
        ),
    ),
    Kind(
        _bowl,
        "bowl",
        "Kitchen",
        ("Tove", "Freja"),
        (24.0, 34.0),
        "A bowl for salads, fruit or keys. Stoneware, safe for oven and dishwasher.",
        0.5,
        (
            (0, "ocean", "plain"),
            (0, "terracotta", "striped"),
            (0, "sage", "dotted"),
            (0, "ivory", "banded"),
            (1, "charcoal", "plain"),
            (1, "mustard", "striped"),
            (1, "sky", "plain"),
        ),
    ),
    Kind(
        _lamp,
        "lamp",
        "Lighting",
        ("Nova", "Ester"),
        (89.0, 119.0),
        "A table lamp with a shade of linen and a cable of two metres. Takes an E27 bulb.",
        0.68,
        (
            (0, "ivory", "plain"),
            (0, "mustard", "plain"),
            (0, "forest", "striped"),
            (0, "blush", "banded"),
            (1, "ocean", "plain"),
            (1, "terracotta", "plain"),
            (1, "charcoal", "striped"),
        ),
    ),
    Kind(
        _cushion,
        "cushion",
        "Textiles",
        ("Saga", "Liv"),
        (29.0, 35.0),
        "A cover of washed cotton with a hidden zip, filled with feathers.",
        0.55,
        (
            (0, "terracotta", "plain"),
            (0, "ocean", "striped"),
            (0, "mustard", "zigzag"),
            (0, "sage", "checked"),
            (0, "blush", "dotted"),
            (0, "charcoal", "checked"),
            (1, "forest", "banded"),
            (1, "plum", "plain"),
        ),
    ),
    Kind(
        _bag,
        "bag",
        "Bags",
        ("Vega", "Maja"),
        (49.0, 65.0),
        "Heavy canvas with stitched straps and an inside pocket. Carries the market home.",
        0.62,
        (
            (0, "ivory", "striped"),
            (0, "ocean", "plain"),
            (0, "mustard", "dotted"),
            (0, "forest", "plain"),
            (1, "terracotta", "plain"),
            (1, "charcoal", "banded"),
            (1, "sky", "checked"),
        ),
    ),
    Kind(
        _rug,
        "rug",
        "Textiles",
        ("Runa", "Sol"),
        (149.0, 129.0),
        "Woven flat from wool and cotton. Lies still on wooden floors and can be turned over.",
        0.3,
        (
            (0, "terracotta", "zigzag"),
            (0, "ocean", "banded"),
            (0, "sage", "checked"),
            (0, "charcoal", "zigzag"),
            (1, "mustard", "banded"),
            (1, "blush", "striped"),
            (1, "forest", "banded"),
        ),
        margin=0.02,
    ),
)
DETAILED_EVERY = 7
"""Each so-manieth product has a second picture, a detail."""


def draw_all() -> Iterator[tuple[dict[str, str], Image.Image]]:
    """Yields the rows of the catalogue file, each with its picture."""
    number = 0
    for kind in KINDS:
        for shape, colour, pattern in kind.looks:
            rng = np.random.default_rng(number)
            look = Look(colour, pattern)
            wall = list(WALLS)[int(rng.integers(len(WALLS)))]
            drawn = kind.draw(_studio(wall, kind.floor, rng), look, shape)
            picture = Image.fromarray(np.clip(drawn, 0, 255).astype(np.uint8))
            name = f"{kind.lines[shape]} {kind.noun}, {_described(look)}"
            row = {
                "product": f"{kind.noun}-{kind.lines[shape]}-{colour}-{pattern}".lower(),
                "name": name,
                "category": kind.category,
                "brand": "Cardigan Home",
                "price": f"{kind.prices[shape] + (3 if pattern != 'plain' else 0):.2f}",
                "description": kind.text,
                "stock": str(0 if number % 19 == 18 else int(rng.integers(2, 30))),
            }
            file = row["product"]
            whole = _cut(picture, kind.margin, kind.margin, 1 - 2 * kind.margin)
            yield {"file": f"{file}.jpg", "view": "main", **row}, whole
            if number % DETAILED_EVERY == 3:
                detail = _cut(picture, 0.26, 0.3, 0.5)
                yield {"file": f"{file}-detail.jpg", "view": "detail", **row}, detail
            number += 1


def _cut(picture: Image.Image, left: float, top: float, side: float) -> Image.Image:
    box = (SIZE * left, SIZE * top, SIZE * (left + side), SIZE * (top + side))
    return picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)


def _described(look: Look) -> str:
    if look.pattern == "plain":
        return look.colour
    if look.pattern == "dipped":
        return f"{look.colour} dipped in {look.second}"
    return f"{look.colour} {look.pattern} with {look.second}"


def write(folder: Path) -> int:
    """Draws the catalogue into `folder`, in place of what was there; returns the pictures."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = []
    for row, picture in draw_all():
        picture.save(folder / row["file"], quality=QUALITY, optimize=True)
        rows.append(row)
    with (folder / "catalogue.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


if __name__ == "__main__":
    print(f"{write(folders.CATALOGUE)} pictures in {folders.CATALOGUE}")
