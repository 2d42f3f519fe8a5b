"""Vases, bottles, plant pots and candles."""

from __future__ import annotations

import math
import random

from ..designs import Design, Finish
from ..meshes import Corner, curve, grid, lathe, move, tube, vessel


def vase(design: Design) -> None:
    shape = design.shape
    height, belly, neck = shape["height"], shape["belly"], shape["neck"]
    outline = curve(
        (shape["foot"], 0.0),
        ((shape["foot"] + belly) / 2 + belly * 0.12, height * shape["shoulder"] * 0.4),
        (belly, height * shape["shoulder"]),
        ((belly + neck) / 2, height * (0.5 + shape["shoulder"] * 0.45)),
        (neck, height * 0.9),
        (shape["mouth"], height),
    )
    vessel(
        "vase",
        outline,
        design.finish,
        thickness=0.004,
        floor=0.01,
        lobes=int(shape.get("lobes", 0)),
        depth=shape.get("depth", 0.0),
    )


def bottle(design: Design) -> None:
    shape = design.shape
    height, body, neck = shape["height"], shape["body"], shape["neck"]
    shoulder = height * shape["shoulder"]
    outline: list[Corner] = [
        (body * 0.93, 0.0),
        (body, height * 0.02),
        *curve(
            (body, shoulder * 0.7),
            (body * 0.98, shoulder),
            (neck * 1.15, (shoulder + height) / 2),
            (neck, height * 0.93),
            (neck, height),
        ),
    ]
    vessel("bottle", outline, design.finish, thickness=0.003, floor=0.008)
    top = shape["stopper"]
    profile = [
        (0.0, height - top * 0.5),
        (neck - 0.003, height - top * 0.5),
        (neck - 0.003, height + 0.002),
        (neck + 0.003, height + 0.003),
        (neck + 0.003, height + top * 0.75),
        (neck + 0.001, height + top * 0.8),
        (0.0, height + top * 0.8),
    ]
    lathe("stopper", profile, design.accent)


def plant_pot(design: Design) -> None:
    shape = design.shape
    height, radius, foot = shape["height"], shape["radius"], shape["foot"]
    legs, collar = shape.get("legs", 0.0), shape["collar"]
    if collar:
        step = radius * 0.93 - (radius - foot) * collar / height
        outline = [
            (foot, 0.012),
            (step, height - collar),
            (radius, height - collar + 0.002),
            (radius * 1.03, height),
        ]
        saucer = [
            (0.0, 0.0),
            (foot * 1.1, 0.0),
            (foot * 1.35, 0.024),
            (foot * 1.28, 0.024),
            (foot * 1.08, 0.01),
            (0.0, 0.01),
        ]
        lathe("saucer", saucer, Finish(design.finish.material, design.finish.colour))
    else:
        outline = [
            (foot * 0.96, legs),
            (foot, legs + height * 0.04),
            (radius, legs + height),
        ]
    vessel("pot", outline, design.finish, thickness=0.006, floor=0.012)
    for place in range(3 if legs else 0):
        turn = math.tau * (place / 3 + 0.08)
        top, end = foot * 0.72, foot * 1.02
        path = [
            (top * math.sin(turn), -top * math.cos(turn), legs + 0.01),
            (end * math.sin(turn), -end * math.cos(turn), 0.0),
        ]
        tube("leg", path, [0.011, 0.007], design.accent)
    soil = legs + height * 0.86
    lathe("soil", [(radius * 0.92, soil), (0.0, soil + 0.006)], Finish("wool", "brown"))
    if shape["plant"]:
        _plant(soil, height, random.Random(len(design.family.name) + int(radius * 1000)))  # noqa: S311


def _plant(soil: float, height: float, chance: random.Random) -> None:
    """Adds a handful of long leaves."""
    leaf = Finish("lacquer", "forest")
    for number in range(11):
        turn = number * 137.5
        length, bend = height * chance.uniform(1.0, 1.6), chance.uniform(0.3, 0.9)

        def surface(
            u: float, v: float, length: float = length, bend: float = bend
        ) -> tuple[float, float, float]:
            width = length * 0.1 * math.sin(math.pi * min(v * 0.92 + 0.06, 1.0)) ** 0.8
            across = (u - 0.5) * 2 * width
            reach = length * v * math.sin(bend * v)
            rise = length * v * math.cos(bend * v) + abs(u - 0.5) * width * 0.6
            return across, -reach, rise

        blade = grid("leaf", surface, leaf, columns=4, rows=14, extent=(0.02, length))
        move(blade, by=(0.0, 0.0, soil), turn=(0.0, 0.0, turn))


def candle(design: Design) -> None:
    shape = design.shape
    height, radius = shape["height"], shape["radius"]
    if shape["holder"]:
        vessel(
            "cup",
            [(radius * 0.95, 0.0), (radius, 0.004), (radius, height)],
            design.finish,
            thickness=0.004,
            floor=0.006,
        )
        top = height * 0.8
        lathe("wax", [(radius - 0.004, top), (0.0, top - 0.001)], design.accent)
    else:
        top = height
        profile = [
            (0.0, 0.0),
            (radius, 0.0),
            (radius, height - 0.004),
            (radius - 0.004, height),
            (radius * 0.5, height - 0.003),
            (0.0, height - 0.004),
        ]
        ribs = int(shape["ribs"])
        lathe("wax", profile, design.finish, lobes=ribs, depth=0.006 if ribs else 0.0, segments=168)
    wick = [(0.0, 0.0, top - 0.006), (0.0005, 0.0, top + 0.006), (0.003, 0.0, top + 0.014)]
    tube("wick", wick, 0.0011, Finish("canvas", "charcoal"), sides=8)


BUILDERS = {"vase": vase, "bottle": bottle, "plant pot": plant_pot, "candle": candle}
