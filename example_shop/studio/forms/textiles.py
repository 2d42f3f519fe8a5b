"""Cushions, rugs, tote bags and baskets."""

from __future__ import annotations

import math

from ..designs import Design, Finish
from ..meshes import Point, arc, box, curve, grid, lathe, move, tube, vessel


def cushion(design: Design) -> None:
    shape = design.shape
    width, height, thickness = shape["width"], shape["height"], shape["thickness"]

    def outline(u: float, v: float) -> tuple[float, float]:
        # The edges bend inwards between the corners.
        x, y = u * 2 - 1, v * 2 - 1
        return (
            x * width / 2 * (1 - 0.09 * (1 - y * y)),
            y * height / 2 * (1 - 0.09 * (1 - x * x)) + height / 2,
        )

    def half(side: int) -> None:
        def surface(u: float, v: float) -> Point:
            x, z = outline(u, v)
            a, b = abs(u * 2 - 1), abs(v * 2 - 1)
            dome = ((1 - a**2.6) * (1 - b**2.6)) ** 0.55
            crease = 0.012 * math.sin(u * 9 + v * 4) * math.sin(v * 7 - u * 3) * dome
            return x, -side * (thickness / 2 * dome + crease), z

        grid("half", surface, design.finish, columns=48, rows=48, extent=(width, height))

    half(1)
    half(-1)
    if shape["piping"]:
        steps = [step / 24 for step in range(24)]
        edge = [outline(u, 0) for u in steps] + [outline(1, v) for v in steps]
        edge += [outline(1 - u, 1) for u in steps] + [outline(0, 1 - v) for v in steps]
        tube("piping", [(x, 0.0, z) for x, z in edge], 0.006, design.accent, closed=True, sides=10)


def rug(design: Design) -> None:
    shape = design.shape
    width, depth, fringe = shape["width"], shape["depth"], shape["fringe"]
    thick = 0.035 if design.finish.material == "wool" else 0.014
    if shape["round"]:
        profile = [(width / 2, 0.0), (width / 2, thick), (0.0, thick)]
        lathe("rug", profile[1:][::-1], design.finish, segments=160)
        lathe("edge", profile[:2], Finish(design.finish.material, design.finish.colour))
        return

    def surface(u: float, v: float) -> Point:
        ripple = 0.002 * math.sin(u * 5 + v * 3) + 0.002 * math.sin(v * 8)
        return (u - 0.5) * width, (v - 0.5) * depth, thick + ripple

    grid("rug", surface, design.finish, columns=30, rows=40, extent=(width, depth))
    base = Finish(design.finish.material, design.finish.colour)
    box("edge", (width, depth, thick - 0.005), (0.0, 0.0, thick / 2 - 0.003), base)
    if fringe:
        for end in (-1, 1):
            for number in range(44):
                x = (number / 43 - 0.5) * width * 0.985
                sway = 0.012 * math.sin(number * 2.4)
                path = [
                    (x, end * depth / 2, thick),
                    (x + sway / 2, end * (depth / 2 + fringe * 0.4), thick * 0.5),
                    (x + sway, end * (depth / 2 + fringe), 0.004),
                ]
                tube("fringe", path, 0.007, design.accent, sides=6)


def tote_bag(design: Design) -> None:
    shape = design.shape
    width, height, depth, flare = (shape[key] for key in ("width", "height", "depth", "flare"))

    def section(u: float, v: float, inset: float) -> Point:
        """A rounded rectangle that grows flatter and wider towards the top."""
        x, y = _rounded(u, width / 2 + flare * v - inset, depth / 2 * (1 - 0.25 * v) - inset)
        sag = 0.006 * math.sin(v * 9 + x * 14) * v
        return x, y + sag, v * height

    girth = 2 * (width + depth)
    grid(
        "bag",
        lambda u, v: section(u, v, 0.0),
        design.finish,
        columns=96,
        rows=24,
        extent=(girth, height),
        girth=girth,
    )
    lining = Finish(design.finish.material, design.finish.colour)
    grid(
        "lining",
        lambda u, v: section(u, 1 - v * 0.97, 0.004 + 0.1 * depth * max(v - 0.95, 0)),
        lining,
        columns=96,
        rows=12,
        extent=(girth, height),
        girth=girth,
    )
    box("bottom", (width * 0.97, depth * 0.97, 0.006), (0.0, 0.0, 0.004), lining)
    strap, reach = shape["strap"], width * 0.22
    for side in (-1, 1):
        y = side * (depth / 2 * 0.75 + 0.004)
        bow = [
            (x, y * (1 - 0.15 * (z - height) / strap), z)
            for x, _, z in arc((0.0, 0.0, height), reach, 0, 180, steps=24)
        ]
        bow = [(x, y_, height + (z - height) * strap / reach) for x, y_, z in bow]
        ends = height * 0.78
        path = [(reach, y * 1.06, ends), *bow, (-reach, y * 1.06, ends)]
        tube("strap", path, 0.013, design.accent, flat=0.3)


def _rounded(u: float, half_x: float, half_y: float) -> tuple[float, float]:
    """Returns the point after the share u of the way around a rectangle with rounded corners."""
    radius = half_y * 0.6
    straight_x, straight_y, bend = half_x - radius, half_y - radius, radius * math.pi / 2
    way = u * 4 * (straight_x + straight_y + bend)
    # From the middle of the back, quarter by quarter.
    for turn, (long, short) in enumerate(((straight_x, straight_y), (straight_y, straight_x)) * 2):
        if way <= long:
            x, y = way, short + radius
        elif way <= long + bend:
            angle = (way - long) / radius
            x, y = long + radius * math.sin(angle), short + radius * math.cos(angle)
        elif way <= long + bend + short:
            x, y = long + radius, short - (way - long - bend)
        else:
            way -= long + bend + short
            continue
        for _ in range(turn):
            x, y = y, -x
        return x, y
    return 0.0, half_y


def basket(design: Design) -> None:
    shape = design.shape
    height, radius, foot = shape["height"], shape["radius"], shape["foot"]
    outline = curve(
        (foot, 0.0),
        ((foot + radius) / 2 + shape["belly"], height * 0.4),
        (radius + shape["belly"] * 0.5, height * 0.75),
        (radius, height),
    )
    inside = Finish(design.finish.material, design.finish.colour)
    vessel("basket", outline, design.finish, thickness=0.01, inside=inside, floor=0.01)
    rim = [
        (radius, height - 0.008),
        (radius + 0.006, height),
        (radius - 0.004, height + 0.008),
        (radius - 0.014, height),
        (radius - 0.01, height - 0.008),
    ]
    lathe("rim", rim, inside)
    if shape.get("ears"):
        for turn in (0, 180):
            bow = arc((radius * 0.98, 0.0, height * 0.9), radius * 0.32, -20, 200, plane="yz")
            ear = tube("ear", bow, radius * 0.05, design.accent)
            move(ear, turn=(0.0, 0.0, turn))
    if shape.get("bow"):
        bow = arc((0.0, 0.0, height * 0.9), radius * 0.97, 0, 180, steps=40)
        tube(
            "bow",
            [(x, y, height * 0.9 + (z - height * 0.9) * 1.25) for x, y, z in bow],
            radius * 0.06,
            design.accent,
        )


BUILDERS = {"cushion": cushion, "rug": rug, "tote bag": tote_bag, "basket": basket}
