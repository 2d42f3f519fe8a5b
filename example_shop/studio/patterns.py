"""Decorations: where on a surface the second colour goes.

A surface is measured in metres, u across or around and v up or along. Each motif turns the place
in its repeat into 1 for the second colour and 0 for the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from bpy.types import ShaderNodeTree

from .designs import Pattern
from .expressions import Expression

Motif = Callable[[Expression, Expression, float], Expression]


def _bands(u: Expression, v: Expression, share: float) -> Expression:
    return v.fraction() < share


def _stripes(u: Expression, v: Expression, share: float) -> Expression:
    return u.fraction() < share


def _diagonals(u: Expression, v: Expression, share: float) -> Expression:
    return (u + v).fraction() < share


def _checks(u: Expression, v: Expression, share: float) -> Expression:
    # As woven: half as strong where only one of the threads is coloured.
    return ((u.fraction() < share) + (v.fraction() < share)) * 0.5


def _chess(u: Expression, v: Expression, share: float) -> Expression:
    return abs((u.fraction() < share) - (v.fraction() < share))


def _windows(u: Expression, v: Expression, share: float) -> Expression:
    return (u.fraction() < share).largest(v.fraction() < share)


def _dots(u: Expression, v: Expression, share: float) -> Expression:
    across, along = _brick(u, v)
    return across.hypotenuse(along) < math.sqrt(share / math.pi)


def _rings(u: Expression, v: Expression, share: float) -> Expression:
    across, along = _brick(u, v)
    return abs(across.hypotenuse(along) - 0.3) < share / 4


def _diamonds(u: Expression, v: Expression, share: float) -> Expression:
    across, along = _brick(u, v)
    return (abs(across) + abs(along)) < math.sqrt(share / 2)


def _zigzag(u: Expression, v: Expression, share: float) -> Expression:
    return (v + abs(u.fraction() - 0.5)).fraction() < share


def _waves(u: Expression, v: Expression, share: float) -> Expression:
    return (v + (u * math.tau).sine() * 0.16).fraction() < share


def _scales(u: Expression, v: Expression, share: float) -> Expression:
    across, along = _brick(u, v)
    return (across.hypotenuse(along - 0.5) * 3).fraction() < share


def _leaves(u: Expression, v: Expression, share: float) -> Expression:
    across, along = _brick(u, v)
    flip = v.floor().modulo(2.0) * 2 - 1
    lean, rise = across * 0.8 + along * flip * 0.6, along * 0.8 - across * flip * 0.6
    half = 0.2 * math.sqrt(share / 0.5)
    blade = abs(lean) < (0.2 - rise * rise) * (half * 5)
    return blade * (abs(lean) > 0.014)


def _blossoms(u: Expression, v: Expression, share: float) -> Expression:
    across, along = _brick(u, v)
    petals = (along.angle(across) * 5).cosine() * 0.08 + 0.3 * math.sqrt(share / 0.5)
    distance = across.hypotenuse(along)
    return (distance < petals) * (distance > 0.07)


def _crosses(u: Expression, v: Expression, share: float) -> Expression:
    across, along = _brick(u, v)
    arm = share / 5
    upright = (abs(across) < arm) * (abs(along) < 0.3)
    return upright.largest((abs(along) < arm) * (abs(across) < 0.3))


def _brick(u: Expression, v: Expression) -> tuple[Expression, Expression]:
    """Returns the place from the middle of the repeat; every other row is moved by a half."""
    return (u + v.floor().modulo(2.0) * 0.5).fraction() - 0.5, v.fraction() - 0.5


MOTIFS: dict[str, Motif] = {
    "bands": _bands,
    "stripes": _stripes,
    "diagonals": _diagonals,
    "checks": _checks,
    "chess": _chess,
    "windows": _windows,
    "dots": _dots,
    "rings": _rings,
    "diamonds": _diamonds,
    "zigzag": _zigzag,
    "waves": _waves,
    "scales": _scales,
    "leaves": _leaves,
    "blossoms": _blossoms,
    "crosses": _crosses,
}


def second_colour(tree: ShaderNodeTree, pattern: Pattern, girth: float) -> Expression:
    """Returns where the pattern's colour is, from 0 to 1.

    `girth` is the length in metres after which the surface's u meets itself, so that a pattern
    goes round without a seam; 0 for a surface that doesn't.
    """
    u, v, height = place(tree)
    if pattern.motif == "dipped":
        return height < pattern.share
    across = pattern.spacing
    if girth:
        across = girth / max(2 * round(girth / pattern.spacing / 2), 2)
    return MOTIFS[pattern.motif](u / across, v / pattern.spacing, pattern.share)


def place(tree: ShaderNodeTree) -> tuple[Expression, Expression, Expression]:
    """Returns u and v in metres, and the height as a fraction of the object's."""
    coordinates = tree.nodes.new("ShaderNodeTexCoord")
    flat = tree.nodes.new("ShaderNodeSeparateXYZ")
    tree.links.new(coordinates.outputs["UV"], flat.inputs[0])
    solid = tree.nodes.new("ShaderNodeSeparateXYZ")
    tree.links.new(coordinates.outputs["Generated"], solid.inputs[0])
    u, v, _ = (Expression(tree, socket) for socket in flat.outputs)
    return u, v, Expression(tree, solid.outputs[2])
