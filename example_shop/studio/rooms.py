"""Rooms in which products stand about, and the phone that takes a photo of them."""

from __future__ import annotations

import math

import bpy
from mathutils import Vector

from . import stage
from .designs import Finish, View
from .meshes import box, grid


def furnish(size: float, wall: str, top: Finish, *, on_table: bool) -> None:
    """Puts a room around things that stand on z = 0: on a table in it, or on its floor."""
    floor = -0.74 if on_table else 0.0
    if on_table:
        box("table", (max(1.2, size * 4), max(0.7, size * 2.4), 0.03), (0, 0, -0.015), top)
    boards = grid(
        "floor",
        lambda u, v: ((u - 0.5) * 9, (v - 0.5) * 9, floor),
        Finish("wood", "oak") if on_table else top,
        columns=1,
        rows=1,
        extent=(9, 9),
    )
    boards.location.z -= 0.001
    back = max(0.8, size * 1.5)
    box("wall", (9, 0.05, 4), (0, back, floor + 2), Finish("matt", wall))
    box("skirting", (9, 0.08, 0.1), (0, back, floor + 0.05), Finish("lacquer", "white"))
    box("frame", (0.5, 0.03, 0.65), (-0.25, back - 0.03, 0.62), Finish("wood", "walnut"))
    box("print", (0.42, 0.035, 0.57), (-0.25, back - 0.032, 0.62), Finish("linen", "ivory"))
    box("curtain", (0.5, 0.1, 3), (1.5, back - 0.1, floor + 1.6), Finish("linen", "sand"))


def light_room(size: float, around: float, lamp: float, *, side: int) -> None:
    """Lights a room from all around, in the world's units, and by a lamp or window on a side."""
    tree = bpy.context.scene.world.node_tree
    tree.nodes["Background"].inputs["Strength"].default_value = around
    light = bpy.data.lights.new("window", "AREA")
    light.size = size * 1.1
    light.energy = lamp * size * size * 2
    holder = bpy.data.objects.new("window", light)
    holder.location = Vector((side * 2.0, -1.0, 1.9)) * size
    holder.rotation_euler = holder.location.to_track_quat("Z", "Y").to_euler()
    bpy.context.scene.collection.objects.link(holder)


def hold_phone(
    subject: list[Vector],
    azimuth: float,
    elevation: float,
    *,
    fill: float,
    off: tuple[float, float],
    roll: float,
) -> None:
    """Looks at the subject with a phone's wide lens; angles in degrees.

    The subject takes up the share `fill` of the picture and is off its middle by shares of it.
    """
    camera = stage.camera_with(30)
    stage.aim(View("phone", azimuth, elevation), subject)
    low, high = stage.corners(subject)
    centre = (low + high) / 2
    camera.location = centre + (camera.location - centre) * (stage.FILL / fill)
    camera.rotation_euler.rotate_axis("Z", math.radians(roll))
    camera.data.shift_x, camera.data.shift_y = off
    bpy.context.view_layer.update()
