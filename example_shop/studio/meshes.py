"""Forms that products are put together from. Metres; z is up; u and v of a surface too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import bpy
from bpy.types import Object
from mathutils import Matrix, Vector

from .designs import Finish
from .materials import material

Point = tuple[float, float, float]
Corner = tuple[float, float]


def grid(
    name: str,
    surface: Callable[[float, float], Point],
    finish: Finish,
    *,
    columns: int,
    rows: int,
    extent: tuple[float, float],
    girth: float = 0.0,
) -> Object:
    """Adds the surface that maps u and v, each from 0 to 1, to a point.

    `extent` is the surface's width and height in metres, for patterns. A `girth` closes it: u = 1
    meets u = 0.
    """
    around = columns if girth else columns + 1
    points = [
        surface(column / columns, row / rows) for row in range(rows + 1) for column in range(around)
    ]
    faces, places = [], []
    for row in range(rows):
        for column in range(columns):
            corners = ((column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1))
            faces.append([y * around + x % around for x, y in corners])
            places += [(x / columns * extent[0], y / rows * extent[1]) for x, y in corners]
    return _add(name, points, faces, places, material(finish, girth))


def lathe(
    name: str,
    profile: Sequence[Corner],
    finish: Finish,
    *,
    segments: int = 96,
    lobes: int = 0,
    depth: float = 0.0,
) -> Object:
    """Adds the body that the profile, points (radius, z), describes when turned around z.

    `lobes` flutes it with so many ribs, `depth` metres deep. u goes around, measured at the widest
    place; v along the profile.
    """
    girth = math.tau * max(radius for radius, _ in profile)
    lengths = [0.0]
    for start, end in pairwise(profile):
        lengths.append(lengths[-1] + math.dist(start, end))
    points = []
    for radius, z in profile:
        for step in range(segments):
            angle = math.tau * step / segments
            reach = radius
            if lobes:
                reach -= depth * min(radius / depth / 4, 1) * (0.5 + 0.5 * math.cos(lobes * angle))
            points.append((reach * math.sin(angle), -reach * math.cos(angle), z))
    faces, places = [], []
    for row in range(len(profile) - 1):
        for step in range(segments):
            after = (step + 1) % segments
            below, above = row * segments, (row + 1) * segments
            faces.append([below + step, below + after, above + after, above + step])
            left, right = girth * step / segments, girth * (step + 1) / segments
            bottom, top = lengths[row], lengths[row + 1]
            places += [(left, bottom), (right, bottom), (right, top), (left, top)]
    return _add(name, points, faces, places, material(finish, girth))


def tube(
    name: str,
    path: Sequence[Point],
    radius: float | Sequence[float],
    finish: Finish,
    *,
    closed: bool = False,
    sides: int = 20,
    flat: float = 1.0,
) -> Object:
    """Adds a rod along the path. `radius` is one for all of it or one for each of its points.

    `flat` presses the section: 0.3 makes a strap of it, thin across the path's bend.
    """
    radii = [radius] * len(path) if isinstance(radius, float) else list(radius)
    spots = [Vector(point) for point in path]
    count = len(spots)
    girth = math.tau * max(radii)
    points, lengths = [], [0.0]
    normal = _any_normal(spots)
    for index, spot in enumerate(spots):
        before = spots[index - 1] if index or closed else spot
        after = spots[(index + 1) % count] if index + 1 < count or closed else spot
        along = (after - before).normalized()
        normal = (normal - along * normal.dot(along)).normalized()
        side = along.cross(normal)
        for step in range(sides):
            angle = math.tau * step / sides
            reach = normal * math.cos(angle) * flat + side * math.sin(angle)
            points.append(tuple(spot + reach * radii[index]))
        if index:
            lengths.append(lengths[-1] + (spot - spots[index - 1]).length)
    faces, places = [], []
    for row in range(count if closed else count - 1):
        below, above = row * sides, (row + 1) % count * sides
        start = lengths[row]
        end = lengths[row + 1] if row + 1 < count else start + (spots[0] - spots[row]).length
        for step in range(sides):
            after_step = (step + 1) % sides
            faces.append([below + step, below + after_step, above + after_step, above + step])
            left, right = girth * step / sides, girth * (step + 1) / sides
            places += [(left, start), (right, start), (right, end), (left, end)]
    if not closed:
        for start_at, turn in ((0, -1), ((count - 1) * sides, 1)):
            faces.append([start_at + step for step in range(sides)][::turn])
            places += [(0.0, 0.0)] * sides
    return _add(name, points, faces, places, material(finish))


def box(
    name: str, size: Point, centre: Point, finish: Finish, *, rounding: float = 0.004
) -> Object:
    """Adds a block with rounded edges; its u and v run along the two longer sides of each face."""
    x, y, z = (side / 2 for side in size)
    points = [(i * x, j * y, k * z) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)]
    faces = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    places = []
    for face, dropped in zip(faces, (0, 0, 1, 1, 2, 2), strict=True):
        for corner in face:
            u, v = (points[corner][axis] for axis in range(3) if axis != dropped)
            places.append((u + x, v + z))
    body = _add(name, points, faces, places, material(finish), smooth=False)
    body.location = centre
    bevel = body.modifiers.new("rounding", "BEVEL")
    bevel.width = min(rounding, min(size) * 0.45)
    bevel.segments = 4
    return body


def arc(
    centre: Point, radius: float, start: float, end: float, *, steps: int = 24, plane: str = "xz"
) -> list[Point]:
    """Returns points on an arc, from one angle in degrees to another; 0 is along the plane's first
    axis."""
    first, second = ("xyz".index(letter) for letter in plane)
    points = []
    for step in range(steps + 1):
        angle = math.radians(start + (end - start) * step / steps)
        point = list(centre)
        point[first] += radius * math.cos(angle)
        point[second] += radius * math.sin(angle)
        points.append((point[0], point[1], point[2]))
    return points


def smooth(points: Sequence[Sequence[float]], steps: int = 8) -> list[tuple[float, ...]]:
    """Returns a curve through the points (Catmull-Rom), `steps` pieces between two of them."""
    curve: list[tuple[float, ...]] = []
    padded = [points[0], *points, points[-1]]
    for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for step in range(steps):
            t = step / steps
            curve.append(
                tuple(
                    0.5
                    * (
                        2 * b
                        + (c - a) * t
                        + (2 * a - 5 * b + 4 * c - d) * t**2
                        + (3 * b - a - 3 * c + d) * t**3
                    )
                    for a, b, c, d in zip(before, start, end, after, strict=True)
                )
            )
    return [*curve, tuple(points[-1])]


def curve(*points: Corner, steps: int = 8) -> list[Corner]:
    """Returns an outline: a smooth curve through the points (radius, z)."""
    return [(max(point[0], 0.0), point[1]) for point in smooth(points, steps)]


def plain(finish: Finish) -> Finish:
    """Returns the finish without its pattern."""
    return replace(finish, pattern=None)


def vessel(
    name: str,
    outline: Sequence[Corner],
    finish: Finish,
    *,
    thickness: float,
    inside: Finish | None = None,
    floor: float | None = None,
    lobes: int = 0,
    depth: float = 0.0,
) -> None:
    """Adds a hollow body: the outline, from the foot (radius, z) to the rim, with an inside.

    The inside is of the same material without its pattern, unless another finish is given; its
    floor lies `floor` metres above the foot, or as thick as the wall.
    """
    radius, z = outline[-1]
    lip = [(radius - thickness / 2, z + thickness * 0.4), (radius - thickness, z)]
    bottom = outline[0][1] + (thickness if floor is None else floor)
    wall = [(max(r - thickness, 0.0), z) for r, z in outline[:-1] if z > bottom + thickness / 2]
    below = [(0.0, outline[0][1]), (outline[0][0] * 0.97, outline[0][1])]
    lathe(name, [*below, *outline, *lip], finish, lobes=lobes, depth=depth)
    floor_radius = wall[0][0] if wall else radius - thickness
    hollow = [lip[-1], *reversed(wall), (floor_radius * 0.9, bottom), (0.0, bottom)]
    lining = inside or plain(finish)
    lathe(f"{name} inside", hollow, lining, lobes=lobes, depth=depth)


def width_at(outline: Sequence[Corner], height: float) -> float:
    """Returns the radius of an outline at a height, in metres."""
    for (start, low), (end, high) in pairwise(outline):
        if low <= height <= high and high > low:
            return start + (end - start) * (height - low) / (high - low)
    return outline[-1][0]


def handle(
    name: str,
    outline: Sequence[Corner],
    centre: float,
    size: float,
    thickness: float,
    finish: Finish,
    *,
    turn: float = 0.0,
) -> Object:
    """Adds an ear to a vessel: half a ring of radius `size` around the height `centre`."""
    low, high = width_at(outline, centre - size), width_at(outline, centre + size)
    bow = arc((max(low, high), 0.0, centre), size, -90, 90)
    path = [
        (low - thickness * 0.3, 0.0, centre - size),
        *bow,
        (high - thickness * 0.3, 0.0, centre + size),
    ]
    ear = tube(name, path, thickness, finish, flat=0.75)
    return move(ear, turn=(0.0, 0.0, turn))


def move(part: Object, *, by: Point = (0, 0, 0), turn: Point = (0, 0, 0)) -> Object:
    """Turns the part around the origin, by degrees about x, y and z, then moves it by metres."""
    angles = [math.radians(angle) for angle in turn]
    rotation = Matrix.Identity(4)
    for angle, axis in zip(angles, "XYZ", strict=True):
        rotation = Matrix.Rotation(angle, 4, axis) @ rotation
    part.matrix_world = Matrix.Translation(by) @ rotation @ part.matrix_basis
    return part


def _any_normal(spots: Sequence[Vector]) -> Vector:
    """Returns a direction across the path, in the plane of its bend where it has one."""
    along = spots[1] - spots[0]
    for spot in spots[2:]:
        across = along.cross(spot - spots[0])
        if across.length > 1e-6:
            return across.cross(along).normalized()
    return along.orthogonal().normalized()


def _add(
    name: str,
    points: Sequence[Point],
    faces: Sequence[Sequence[int]],
    places: Sequence[Corner],
    made_of: bpy.types.Material,
    *,
    smooth: bool = True,
) -> Object:
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(points, [], faces)
    layer = mesh.uv_layers.new()
    layer.data.foreach_set("uv", [value for corner in places for value in corner])
    if smooth:
        mesh.shade_smooth()
        mesh.set_sharp_from_angle(angle=math.radians(50))
    mesh.materials.append(made_of)
    body = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(body)
    return body
