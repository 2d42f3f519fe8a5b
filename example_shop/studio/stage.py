"""The photographer: lights, backdrops, and the camera that takes a product's pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import bpy
from bpy.types import Object, ShaderNodeTree
from mathutils import Vector

from .catalogue import Backdrop
from .designs import Finish, View
from .expressions import Expression
from .meshes import box, grid

SIDE = 416
"""Width and height of a picture in pixels."""
SAMPLES = 9
FILL = 0.8
"""Share of the picture that the product takes up."""


def clear() -> None:
    """Empties the scene and sets the renderer up."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = SAMPLES
    scene.cycles.use_denoising = True
    scene.cycles.denoising_quality = "BALANCED"
    scene.cycles.denoising_prefilter = "FAST"
    scene.cycles.adaptive_threshold = 0.06
    scene.cycles.max_bounces = 10
    scene.cycles.diffuse_bounces = 4
    scene.cycles.glossy_bounces = 4
    scene.cycles.transmission_bounces = 10
    scene.cycles.caustics_reflective = False
    scene.cycles.caustics_refractive = False
    scene.render.resolution_x = scene.render.resolution_y = SIDE
    scene.render.image_settings.file_format = "PNG"
    scene.view_settings.view_transform = "Standard"
    world = bpy.data.worlds.new("world")
    scene.world = world
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (1, 1, 1, 1)


def prepare(backdrop: Backdrop, seed: int) -> None:
    """Puts the backdrop, the lights and a camera around the product that is in the scene."""
    scene = bpy.context.scene
    scene.cycles.seed = seed
    low, high = bounds()
    size = (high - low).length
    white = backdrop.kind == "white"
    _surround(scene.world.node_tree, 0.62 if white else 0.45, seen=1.3 if white else 0.45)
    if white:
        # Bright enough for the ground to be pure white outside of the shadow.
        _sheet(size * 60, Finish("seamless", "white"))
        sun = bpy.data.lights.new("sun", "SUN")
        sun.energy, sun.angle = 1.75, math.radians(35)
        above = bpy.data.objects.new("sun", sun)
        above.rotation_euler = (math.radians(28), math.radians(-30), 0)
        scene.collection.objects.link(above)
    elif backdrop.kind == "paper":
        _sweep(size, Finish("lacquer", backdrop.wall), high.y)
    else:
        _sheet(size * 8, backdrop.floor)
        wall = box(
            "wall",
            (size * 16, 0.02, size * 8),
            (0, high.y + size * 0.55, size * 4),
            Finish("matt", backdrop.wall),
        )
        wall.location.z -= 0.001
        box(
            "skirting",
            (size * 16, 0.02, size * 0.12),
            (0, high.y + size * 0.53, size * 0.06),
            Finish("lacquer", "white"),
        )
    _lights(size, (low + high) / 2, 0.45 if white else 1.0)
    camera_with(75)


def aim(view: View, subject: list[Vector]) -> None:
    """Points the camera at the subject, given by its points, as the view says."""
    scene = bpy.context.scene
    camera = scene.camera
    azimuth, elevation = math.radians(view.azimuth), math.radians(view.elevation)
    away = Vector(
        (
            math.sin(azimuth) * math.cos(elevation),
            -math.cos(azimuth) * math.cos(elevation),
            math.sin(elevation),
        )
    )
    camera.rotation_euler = away.to_track_quat("Z", "Y").to_euler()
    bpy.context.view_layer.update()
    coordinates = [value for point in subject for value in point]
    position, _ = camera.camera_fit_coords(bpy.context.evaluated_depsgraph_get(), coordinates)
    low, high = corners(subject)
    if view.closeness > 1:
        spot = Vector(low[i] + (high[i] - low[i]) * view.aim[i] for i in range(3))
        distance = (position - (low + high) / 2).length / FILL / view.closeness
        camera.location = spot + away * distance
    else:
        distance = (position - (low + high) / 2).length
        camera.location = position + away * distance * (1 / FILL - 1)
    camera.data.clip_start = distance / 100
    camera.data.clip_end = distance * 100


def camera_with(lens: float) -> Object:
    """Adds the camera that renders; the focal length is in millimetres, on 36 mm of film."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.lens = lens
    scene.collection.objects.link(camera)
    scene.camera = camera
    return camera


def render(file: Path) -> None:
    """Writes what the camera sees as a PNG."""
    scene = bpy.context.scene
    scene.render.filepath = str(file)
    bpy.ops.render.render(write_still=True)


def points(bodies: Iterable[Object] | None = None) -> list[Vector]:
    """Returns the points of the bodies, or of all that is in the scene, in metres."""
    bpy.context.view_layer.update()
    depsgraph = bpy.context.evaluated_depsgraph_get()
    found = []
    for body in bpy.context.scene.objects if bodies is None else bodies:
        if body.type == "MESH":
            made = body.evaluated_get(depsgraph)
            found += [made.matrix_world @ vertex.co for vertex in made.data.vertices]
    return found


def corners(spots: list[Vector]) -> tuple[Vector, Vector]:
    """Returns the lowest and the highest corner of the box around the points."""
    return (
        Vector(min(spot[axis] for spot in spots) for axis in range(3)),
        Vector(max(spot[axis] for spot in spots) for axis in range(3)),
    )


def bounds() -> tuple[Vector, Vector]:
    """Returns the lowest and the highest corner of all that is in the scene."""
    return corners(points())


def _surround(tree: ShaderNodeTree, light: float, *, seen: float) -> None:
    """Lights the scene from all around, with another brightness where the camera looks past it."""
    path = tree.nodes.new("ShaderNodeLightPath")
    strength = Expression(tree, path.outputs["Is Camera Ray"]) * (seen - light) + light
    tree.links.new(strength.socket, tree.nodes["Background"].inputs["Strength"])


def _sheet(size: float, finish: Finish) -> Object:
    return grid(
        "ground",
        lambda u, v: ((u - 0.5) * size, (v - 0.5) * size, 0.0),
        finish,
        columns=1,
        rows=1,
        extent=(size, size),
    )


def _sweep(size: float, finish: Finish, back: float) -> Object:
    """Adds paper that runs under the product and bends up behind it."""
    radius, start = size * 0.6, back + size * 0.35

    def surface(u: float, v: float) -> tuple[float, float, float]:
        x, along = (u - 0.5) * size * 14, v * 3
        if along < 1:
            return x, -size * 6 + along * (start + size * 6), 0.0
        if along < 2:
            angle = (along - 1) * math.pi / 2
            return x, start + radius * math.sin(angle), radius * (1 - math.cos(angle))
        return x, start + radius, radius + (along - 2) * size * 6

    return grid("paper", surface, finish, columns=1, rows=60, extent=(size, size))


def _lights(size: float, centre: Vector, strength: float) -> None:
    for name, place, width, power in (
        ("key", (-1.6, -1.5, 2.3), 1.3, 46),
        ("fill", (2.2, -1.4, 1.1), 2.2, 14),
        ("rim", (0.8, 2.0, 1.9), 1.0, 16),
    ):
        lamp = bpy.data.lights.new(name, "AREA")
        lamp.size = width * size
        lamp.energy = power * strength * size * size
        holder = bpy.data.objects.new(name, lamp)
        holder.location = centre + Vector(place) * size
        holder.rotation_euler = (holder.location - centre).to_track_quat("Z", "Y").to_euler()
        bpy.context.scene.collection.objects.link(holder)
