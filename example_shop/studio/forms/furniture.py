"""Stools, chairs, side tables and wall clocks."""

from __future__ import annotations

import math

from ..designs import Design, Finish
from ..meshes import Point, box, curve, grid, lathe, move, tube


def _slab(name: str, radius: float, bottom: float, top: float, finish: Finish, soft: float) -> None:
    """Adds a round plate whose edge is rounded by `soft` metres."""
    quarter = [
        (radius - soft + soft * math.cos(angle), soft * math.sin(angle))
        for angle in (math.pi / 2 * step / 6 for step in range(7))
    ]
    profile = [
        (0.0, bottom),
        *((r, bottom + soft - z) for r, z in reversed(quarter)),
        *((r, top - soft + z) for r, z in quarter),
        (0.0, top),
    ]
    lathe(name, profile, finish)


def _legs(count: int, top: float, radius: float, end: float, finish: Finish) -> None:
    """Adds legs that stand on the floor `end` metres from the middle, below a seat or top."""
    for number in range(count):
        turn = math.tau * (number + 0.5) / count
        path = [
            (radius * math.sin(turn), -radius * math.cos(turn), top),
            (end * math.sin(turn), -end * math.cos(turn), 0.0),
        ]
        tube("leg", path, [0.017, 0.011], finish)


def stool(design: Design) -> None:
    shape = design.shape
    height, radius, thick = shape["height"], shape["radius"], shape["thick"]
    soft = min(thick * 0.45, 0.035)
    _slab("seat", radius, height - thick, height, design.finish, soft)
    if shape["legs"]:
        hard = design.finish.material in ("wood", "lacquer")
        legs = design.finish if hard else design.accent
        _legs(int(shape["legs"]), height - thick + 0.005, radius * 0.62, radius * 0.98, legs)


def chair(design: Design) -> None:
    shape = design.shape
    if shape.get("shell"):
        _shell(design)
    elif shape.get("padded"):
        _padded(design)
    else:
        _wooden(design)


def _corner_legs(width: float, top: float, finish: Finish, splay: float = 0.04) -> None:
    for x in (-1, 1):
        for y in (-1, 1):
            path = [
                (x * width * 0.38, y * width * 0.36, top),
                (x * (width * 0.42 + splay), y * (width * 0.4 + splay), 0.0),
            ]
            tube("leg", path, [0.018, 0.012], finish)


def _wooden(design: Design) -> None:
    shape = design.shape
    seat, height, width = shape["seat"], shape["height"], shape["width"]
    spindles, slats = int(shape.get("spindles", 0)), int(shape.get("slats", 0))
    frame = design.finish
    if spindles:
        box("seat", (width, width * 0.94, 0.032), (0.0, 0.0, seat - 0.016), frame, rounding=0.014)
        _corner_legs(width, seat - 0.02, frame)
        rise = height - seat
        bow = [
            (
                width * 0.44 * math.cos(angle),
                width * 0.36 + 0.09 * math.sin(angle) ** 0.7,
                seat - 0.01 + rise * math.sin(angle) ** 0.75,
            )
            for angle in (math.pi * step / 40 for step in range(41))
        ]
        tube("bow", bow, 0.012, frame)
        for number in range(spindles):
            share = (number + 1) / (spindles + 1) * 2 - 1
            high = seat + rise * math.sqrt(1 - share**2) ** 0.75 - 0.006
            lean = width * 0.36 + 0.09 * (high - seat) / rise
            path = [
                (share * width * 0.34, width * 0.36, seat - 0.01),
                (share * width * 0.44, lean, high),
            ]
            tube("spindle", path, 0.006, frame, sides=10)
        return
    box("seat", (width * 0.92, width * 0.86, 0.03), (0.0, 0.0, seat), design.accent, rounding=0.014)
    for x in (-1, 1):
        front = [
            (x * width * 0.45, -width * 0.42, seat + 0.012),
            (x * width * 0.45, -width * 0.42, 0),
        ]
        back = [
            (x * width * 0.43, width * 0.5, height),
            (x * width * 0.43, width * 0.42, seat),
            (x * width * 0.43, width * 0.45, 0.0),
        ]
        tube("front leg", front, 0.017, frame)
        tube("back leg", back, 0.017, frame)
        side = [
            (x * width * 0.44, -width * 0.42, seat * 0.45),
            (x * width * 0.44, width * 0.44, seat * 0.45),
        ]
        tube("stretcher", side, 0.009, frame, sides=12)
    for number in range(slats):
        high = seat + (height - seat) * (0.3 + 0.66 * number / (slats - 1)) - 0.02
        lean = width * (0.42 + 0.08 * (high - seat) / (height - seat))
        slat = box("slat", (width * 0.86, 0.012, 0.045), (0.0, lean, high), frame, rounding=0.005)
        slat.rotation_euler = (math.radians(-5), 0.0, 0.0)
    for y in (-0.42, 0.43):
        rail = [(-width * 0.44, width * y, seat * 0.62), (width * 0.44, width * y, seat * 0.62)]
        tube("rail", rail, 0.009, frame, sides=12)


def _shell(design: Design) -> None:
    shape = design.shape
    seat, height, width = shape["seat"], shape["height"], shape["width"]
    section = curve(
        (0.02, seat - 0.02),
        (0.06, seat + 0.006),
        (0.26, seat - 0.012),
        (0.40, seat + 0.03),
        (0.47, seat + 0.16),
        (0.52, height),
        steps=10,
    )

    def surface(u: float, v: float, inset: float = 0.0) -> Point:
        place = v * (len(section) - 1)
        index = min(int(place), len(section) - 2)
        part = place - index
        along, z = (
            a + (b - a) * part for a, b in zip(section[index], section[index + 1], strict=True)
        )
        x = (u - 0.5) * 2
        round_off = 1 - 0.28 * max(v - 0.75, 0) * 4 * 0.6 - 0.12 * max(0.2 - v, 0) * 5
        wing = 0.05 * x * x
        return x * width / 2 * round_off, along - 0.24 - wing * v, z + wing * (1 - v) + inset

    grid("shell", surface, design.finish, columns=24, rows=40, extent=(width, 0.9))
    grid(
        "under",
        lambda u, v: surface(1 - u, v, -0.008),
        design.finish,
        columns=24,
        rows=40,
        extent=(width, 0.9),
    )
    box("frame", (width * 0.6, width * 0.6, 0.014), (0.0, 0.0, seat - 0.045), design.accent)
    _corner_legs(width * 0.8, seat - 0.04, design.accent)


def _padded(design: Design) -> None:
    shape = design.shape
    seat, height, width = shape["seat"], shape["height"], shape["width"]
    box("seat", (width, width * 0.92, 0.1), (0.0, 0.0, seat - 0.04), design.finish, rounding=0.04)

    def surface(side: int) -> None:
        def point(u: float, v: float) -> Point:
            angle = math.radians(-82 + 164 * u)
            reach = width * 0.5 + side * 0.03
            rise = (height - seat + 0.06) * v * (1 - 0.12 * (2 * u - 1) ** 4)
            return (
                reach * math.sin(angle),
                reach * math.cos(angle) * 0.86 + 0.03,
                seat - 0.06 + rise,
            )

        grid("back", point, design.finish, columns=36, rows=16, extent=(width * 1.6, 0.4))

    surface(1)
    surface(-1)
    rim = [
        (
            width * 0.5 * math.sin(angle),
            width * 0.5 * math.cos(angle) * 0.86 + 0.03,
            seat - 0.06 + (height - seat + 0.06) * (1 - 0.12 * (angle / math.radians(82)) ** 4),
        )
        for angle in (math.radians(-82 + 164 * step / 36) for step in range(37))
    ]
    ends = [(rim[0][0], rim[0][1], seat - 0.06), *rim, (rim[-1][0], rim[-1][1], seat - 0.06)]
    plain = Finish(design.finish.material, design.finish.colour)
    tube("rim", ends, 0.031, plain)
    _corner_legs(width * 0.86, seat - 0.08, design.accent)


def side_table(design: Design) -> None:
    shape = design.shape
    height, radius = shape["height"], shape["radius"]
    if shape.get("drum"):
        lathe(
            "drum",
            [(radius * 0.94, 0.0), (radius * 0.94, height - 0.02)],
            design.finish,
            lobes=36,
            depth=0.012,
            segments=216,
        )
        _slab("top", radius, height - 0.026, height, design.finish, 0.008)
        return
    _slab("top", radius, height - 0.024, height, design.finish, 0.008)
    if shape.get("pedestal"):
        foot = curve(
            (radius * 0.7, 0.0),
            (radius * 0.68, 0.012),
            (0.03, 0.03),
            (0.016, 0.09),
            (0.016, height * 0.6),
            (0.02, height - 0.05),
            (0.07, height - 0.022),
        )
        lathe("foot", [(0.0, 0.0), *foot], design.accent)
    else:
        _legs(int(shape["legs"]), height - 0.02, radius * 0.55, radius * 0.95, design.accent)


def wall_clock(design: Design) -> None:
    """Built lying on its back, then set upright."""
    shape = design.shape
    radius, ring = shape["radius"], shape["ring"]
    outer = radius
    parts = []
    if shape["round"]:
        face = [(0.0, 0.0), (radius, 0.0), (radius, 0.024), (0.0, 0.024)]
        parts.append(lathe("face", face, design.finish))
        edge = [
            (radius + ring * math.cos(t), 0.02 + ring * 1.4 * math.sin(t))
            for t in (math.tau * step / 16 for step in range(17))
        ]
        parts.append(lathe("ring", edge, design.accent))
    else:
        parts.append(
            box(
                "face",
                (radius * 2, radius * 2, 0.024),
                (0.0, 0.0, 0.012),
                design.finish,
                rounding=0.01,
            )
        )
    for number in range(int(shape.get("rays", 0))):
        turn = math.tau * (number + 0.5) / shape["rays"]
        outer = radius * (1.95 if number % 2 else 1.6)
        path = [
            (radius * math.sin(turn), radius * math.cos(turn), 0.012),
            (outer * math.sin(turn), outer * math.cos(turn), 0.012),
        ]
        parts.append(tube("ray", path, [0.004, 0.002], design.accent, sides=8))
    dark = design.finish.colour in ("navy", "black", "forest", "plum", "walnut", "terracotta")
    ink = Finish("lacquer", "ivory" if dark else "black")
    marks = int(shape["marks"])
    for number in range(marks):
        turn = math.tau * number / marks
        start, end = radius * 0.78, radius * 0.9
        path = [
            (start * math.sin(turn), start * math.cos(turn), 0.0255),
            (end * math.sin(turn), end * math.cos(turn), 0.0255),
        ]
        parts.append(tube("mark", path, 0.0028, ink, sides=8))
    for angle, length, width in ((305, 0.5, 0.0042), (60, 0.74, 0.003)):
        turn = math.radians(angle)
        path = [
            (-0.15 * radius * math.sin(turn), -0.15 * radius * math.cos(turn), 0.029),
            (length * radius * math.sin(turn), length * radius * math.cos(turn), 0.029),
        ]
        parts.append(tube("hand", path, width, ink, sides=8))
    parts.append(lathe("pin", [(0.0, 0.034), (0.006, 0.034), (0.006, 0.024)], ink))
    lift = radius * (2.0 if shape.get("rays") else 1.1)
    for part in parts:
        move(part, by=(0.0, 0.0, lift), turn=(90.0, 0.0, 0.0))


BUILDERS = {"stool": stool, "chair": chair, "side table": side_table, "wall clock": wall_clock}
