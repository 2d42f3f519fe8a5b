"""Table lamps and pendant lamps."""

from __future__ import annotations

import math

from ..designs import Design, Finish
from ..meshes import Corner, curve, lathe, tube

WALL = 0.002


def table_lamp(design: Design) -> None:
    shape = design.shape
    height, foot, belly, waist = (shape[key] for key in ("height", "foot", "belly", "waist"))
    # The finish that shoppers choose is the shade's, but for a foot that is a ball.
    ball = bool(shape.get("ball"))
    base, shade = (design.finish, design.accent) if ball else (design.accent, design.finish)
    neck = height - shape["shade"] * (0.98 if shape.get("globe") else 0.75)
    if ball:
        outline = curve(
            (foot, 0.0),
            (foot * 1.25, 0.012),
            (belly, neck * 0.45),
            (waist * 1.6, neck * 0.88),
            (waist, neck),
        )
    else:
        outline = [
            (foot, 0.0),
            (foot, 0.012),
            *curve(
                (foot * 0.9, 0.017),
                (belly, 0.03),
                (belly, neck * 0.4),
                (waist, neck * 0.8),
                (waist, neck),
            ),
        ]
    lathe("foot", [(0.0, 0.0), *outline, (0.0, neck)], base)
    tube(
        "stem",
        [(0.0, 0.0, neck - 0.01), (0.0, 0.0, height - 0.02)],
        0.006,
        Finish("metal", "brass"),
        sides=12,
    )
    low = height - shape["shade"]
    if shape.get("globe"):
        radius = shape["shade"] / 2
        lathe("shade", _ball(radius, low + radius), shade)
    elif shape.get("dome"):
        _hollow("shade", _bell(shape["low"], 0.012, shape["shade"], low, 1.0), shade)
    else:
        _hollow("shade", [(shape["low"], low), (shape["high"], height)], shade)


def pendant_lamp(design: Design) -> None:
    shape = design.shape
    low, high, deep = shape["low"], shape["high"], shape["shade"]
    bottom = 0.25
    if shape["curve"]:
        outline = _bell(low, high, deep, bottom, shape["curve"])
    else:
        outline = [(low, bottom), (high, bottom + deep)]
        bar = bottom + deep * 0.9
        tube("bar", [(-high, 0.0, bar), (high, 0.0, bar)], 0.003, design.accent, sides=8)
    _hollow("shade", outline, design.finish)
    top = bottom + deep
    cap = [
        (max(high if high < 0.1 else 0.03, 0.02) + 0.002, top - 0.004),
        (0.022, top + 0.03),
        (0.008, top + 0.045),
        (0.0, top + 0.045),
    ]
    lathe("cap", cap, design.accent)
    tube(
        "cord",
        [(0.0, 0.0, top - deep * 0.1), (0.0, 0.0, top + 0.24)],
        0.004,
        Finish("canvas", "charcoal"),
        sides=10,
    )
    lathe("bulb", _ball(0.035, top - deep * 0.45), Finish("paper", "white"))


def _hollow(name: str, outline: list[Corner], finish: Finish) -> None:
    """Adds a thin shade, white inside where it is of metal."""
    inside = finish if finish.material in ("paper", "wicker") else Finish("lacquer", "white")
    lathe(name, outline, finish)
    lathe(f"{name} inside", [(max(r - WALL, 0.001), z) for r, z in outline], inside)


def _bell(low: float, high: float, deep: float, bottom: float, curve_: float) -> list[Corner]:
    steps = 24
    outline = []
    for step in range(steps + 1):
        share = step / steps
        straight = 1 - share
        bow = math.sqrt(max(1 - share**2, 0.0))
        reach = high + (low - high) * (straight * (1 - curve_) + bow * curve_)
        outline.append((reach, bottom + deep * share))
    return outline


def _ball(radius: float, centre: float) -> list[Corner]:
    return [
        (radius * math.sin(math.pi * step / 32), centre - radius * math.cos(math.pi * step / 32))
        for step in range(33)
    ]


BUILDERS = {"table lamp": table_lamp, "pendant lamp": pendant_lamp}
