"""Mugs, bowls and plates."""

from __future__ import annotations


from ..designs import Design
from ..meshes import curve, handle, plain, vessel


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


BUILDERS = {"mug": mug}
