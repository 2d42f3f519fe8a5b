"""Mugs, bowls and plates."""

from __future__ import annotations

import math

from ..designs import Design
from ..meshes import curve, handle, lathe, plain, vessel


def mug(design: Design) -> None:
    shape = design.shape
    height, radius, foot, belly = (shape[key] for key in ("height", "radius", "foot", "belly"))
    outline = curve(
        (foot, 0.0),
        (foot + (radius - foot) * 0.5 + belly * 0.7, height * 0.18),
        (radius + belly, height * 0.5),
        (radius, height),
    )
    vessel("body", outline, design.finish, thickness=0.0035, floor=0.006)
    size = shape["handle"]
    handle("handle", outline, height * 0.52, size, size * 0.22, plain(design.finish))
    if design.finish.material == "lacquer":
        lathe("rim", _ring(radius - 0.0015, height, 0.0028), design.accent)


def bowl(design: Design) -> None:
    shape = design.shape
    height, radius, foot = shape["height"], shape["radius"], shape["foot"]
    steps = 24
    outline = [
        (foot + (radius - foot) * math.sin(math.pi / 2 * step / steps) ** shape["curve"], 0.0)
        for step in range(steps + 1)
    ]
    outline = [
        (reach, height * (1 - math.cos(math.pi / 2 * step / steps)))
        for step, (reach, _) in enumerate(outline)
    ]
    vessel(
        "body",
        outline,
        design.finish,
        thickness=shape.get("wall", 0.005),
        floor=0.008,
        lobes=int(shape.get("lobes", 0)),
        depth=shape.get("depth", 0.0),
    )


def plate(design: Design) -> None:
    shape = design.shape
    radius, height, rim = shape["radius"], shape["height"], shape["rim"]
    well = radius - rim
    above = curve(
        (0.0, 0.006),
        (well * 0.5, 0.006),
        (well * 0.9, 0.0065),
        (well, height * 0.55),
        (radius, height),
    )
    below = [(radius - 0.001, height - 0.004), (well, height * 0.3), (well * 0.7, 0.0), (0.0, 0.0)]
    lobes, depth = int(shape.get("lobes", 0)), shape.get("depth", 0.0)
    lathe("plate", above, design.finish, lobes=lobes, depth=depth)
    lathe("back", [above[-1], *below], plain(design.finish), lobes=lobes, depth=depth)


def _ring(radius: float, height: float, thickness: float) -> list[tuple[float, float]]:
    return [
        (
            radius + thickness * math.cos(math.tau * step / 12),
            height + thickness * math.sin(math.tau * step / 12),
        )
        for step in range(13)
    ]


BUILDERS = {"mug": mug, "bowl": bowl, "plate": plate}
