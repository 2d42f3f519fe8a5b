"""Photos as shoppers take them at home: clutter, poor light, a shaky hand."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageFilter

from .catalogue import Row, Session, compressed
from .designs import Design, Finish

FOLDER = "street"
WIDTH, HEIGHT = 360, 480
LARGEST = 26_000
ON_THE_TABLE = ("mug", "bowl", "plate", "vase", "bottle", "plant pot", "candle", "table lamp")
ON_THE_FLOOR = ("stool", "chair", "side table", "cushion", "rug", "basket", "tote bag")
FLAT = ("rug", "plate")
"""What only shows from above."""
WALLS = ("oat", "white", "sky", "sage", "grey", "blush", "sand", "teal")
TOPS = (
    Finish("wood", "oak"),
    Finish("wood", "walnut"),
    Finish("lacquer", "white"),
    Finish("marble", "marble"),
    Finish("wood", "ash"),
)


@dataclass(frozen=True)
class StreetPhoto:
    """A photo to be taken: what it shows, and what else lies about."""

    number: int
    target: Session
    others: tuple[Session, ...]

    @property
    def file(self) -> str:
        return f"{FOLDER}/{self.number:02d}.jpg"


@dataclass(frozen=True)
class Light:
    """How a room is lit, and how a phone shows that."""

    around: float
    lamp: float
    tint: tuple[float, float, float]


LIGHTS = (
    Light(0.7, 40, (1.0, 1.0, 1.0)),
    Light(0.25, 60, (1.1, 0.98, 0.8)),
    Light(0.18, 34, (1.14, 0.96, 0.72)),
    Light(0.9, 15, (0.93, 0.99, 1.1)),
    Light(0.4, 90, (1.02, 1.0, 0.95)),
)


def plan(found: Sequence[Session], count: int, seed: int) -> Iterator[StreetPhoto]:
    """Yields photos whose targets are spread over the kinds."""
    chance = random.Random(seed)  # noqa: S311
    by_kind: dict[str, list[Session]] = {}
    for session in found:
        by_kind.setdefault(session.design.kind.name, []).append(session)
    for sessions in by_kind.values():
        chance.shuffle(sessions)
    kinds = [kind for kind in (*ON_THE_TABLE, *ON_THE_FLOOR) if kind in by_kind]
    for number in range(count):
        kind = kinds[number % len(kinds)]
        target = by_kind[kind][number // len(kinds) % len(by_kind[kind])]
        place = ON_THE_TABLE if kind in ON_THE_TABLE else ON_THE_FLOOR
        around = [
            session
            for name in place
            if name not in (kind, "rug")
            for session in by_kind.get(name, [])
        ]
        yield StreetPhoto(number + 1, target, tuple(chance.sample(around, chance.randint(2, 4))))


def photograph(photo: StreetPhoto, folder: Path) -> Row:
    """Takes the photo and returns its row of the CSV: the item, and its box as fractions."""
    import bpy
    from bpy_extras.object_utils import world_to_camera_view
    from mathutils import Vector

    from . import forms, rooms, stage

    chance = random.Random(photo.target.seed)  # noqa: S311
    stage.clear()
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = WIDTH, HEIGHT
    table = photo.target.design.kind.name in ON_THE_TABLE

    def build(design: Design, x: float, y: float, turn: float) -> list[Vector]:
        before = set(scene.objects)
        forms.BUILDERS[design.kind.name](design)
        holder = bpy.data.objects.new(design.kind.name, None)
        scene.collection.objects.link(holder)
        parts = [part for part in scene.objects if part not in before and part is not holder]
        for part in parts:
            part.parent = holder
        holder.location = (x, y, 0.0)
        holder.rotation_euler = (0.0, 0.0, math.radians(turn))
        return stage.points(parts)

    subject = build(photo.target.design, 0.0, 0.0, chance.uniform(-50, 50))
    low, high = stage.corners(subject)
    size = (high - low).length
    azimuth = chance.uniform(-35, 35)
    for place, other in enumerate(photo.others):
        # The first stands before the item and hides a part of it, the others beside and behind.
        bearing = azimuth + (
            chance.choice((-1, 1)) * chance.uniform(38, 55)
            if place == 0
            else chance.uniform(80, 280)
        )
        own = other.design.shape
        width = max(own.get("radius", 0), own.get("width", 0) / 2, own.get("belly", 0), 0.05)
        away = size * chance.uniform(0.4, 0.55) + width
        angle = math.radians(bearing)
        build(other.design, away * math.sin(angle), -away * math.cos(angle), chance.uniform(0, 360))
    rooms.furnish(size, chance.choice(WALLS), chance.choice(TOPS), on_table=table)
    light = chance.choice(LIGHTS)
    rooms.light_room(size, light.around, light.lamp, side=chance.choice((-1, 1)))
    elevation = (
        chance.uniform(35, 55)
        if photo.target.design.kind.name in FLAT
        else (chance.uniform(14, 38))
    )
    rooms.hold_phone(
        subject,
        azimuth,
        elevation,
        fill=chance.uniform(0.42, 0.68),
        off=(chance.uniform(-0.14, 0.14), chance.uniform(-0.12, 0.12)),
        roll=chance.uniform(-7, 7),
    )
    spots = [world_to_camera_view(scene, scene.camera, point) for point in subject]
    left, right = min(spot.x for spot in spots), max(spot.x for spot in spots)
    top, bottom = 1 - max(spot.y for spot in spots), 1 - min(spot.y for spot in spots)
    with TemporaryDirectory() as scratch:
        shot = Path(scratch) / "shot.png"
        stage.render(shot)
        with Image.open(shot) as image:
            taken = _develop(image.convert("RGB"), light, chance)
    target = folder / photo.file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(compressed(taken, LARGEST))
    box = (left, top, right, bottom)
    return {
        "file": photo.file,
        "product": photo.target.reference,
        **{
            side: f"{min(max(value, 0.0), 1.0):.3f}"
            for side, value in zip(("left", "top", "right", "bottom"), box, strict=True)
        },
        "others": " ".join(other.reference for other in photo.others),
    }


def _develop(image: Image.Image, light: Light, chance: random.Random) -> Image.Image:
    """Returns the picture as a phone gives it: tinted, a little soft, and noisy."""
    image = image.filter(ImageFilter.GaussianBlur(chance.choice((0.0, 0.5, 0.8, 1.4))))
    noise = np.random.default_rng(chance.randrange(2**31))
    values = np.asarray(image, np.float32) * np.array(light.tint, np.float32)
    values = values * chance.uniform(0.85, 1.15)
    grain = noise.normal(0, chance.uniform(2, 7), values.shape)
    return Image.fromarray(np.clip(values + grain, 0, 255).astype(np.uint8))
