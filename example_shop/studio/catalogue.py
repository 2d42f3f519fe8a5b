"""The catalogue as files: a CSV, and the pictures that it lists."""

from __future__ import annotations

import csv
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from . import words
from .designs import Design, Finish, Kind, View, designs
from .palette import COLOURS

BRAND = "Cardigan Home"
LARGEST = 15_000
"""Bytes that a picture may have."""
PAPERS = ("sand", "blush", "sage", "sky", "lilac", "oat", "mint", "mustard")
WALLS = ("oat", "white", "sage", "sky", "blush", "grey")
FLOORS = (Finish("wood", "oak"), Finish("wood", "walnut"), Finish("terrazzo", "white"))
MORE_VIEWS = (1, 1, 1, 2, 2, 3)
"""How many views a product has besides its front, as likely as they stand here."""


Row = dict[str, str]


@dataclass(frozen=True)
class Backdrop:
    """What is behind a product: white, a sheet of coloured paper, or a room."""

    kind: str
    """ "white", "paper" or "room"."""
    wall: str = "white"
    floor: Finish = FLOORS[0]


@dataclass(frozen=True)
class Session:
    """A product before the camera: the pictures to take, and where."""

    design: Design
    views: tuple[View, ...]
    backdrop: Backdrop
    seed: int

    @property
    def reference(self) -> str:
        return words.reference(self.design)

    def file(self, view: View) -> str:
        return f"{self.reference}-{view.name}.jpg"

    def is_in(self, folder: Path) -> bool:
        """Says whether all of the pictures have been taken."""
        return all((folder / self.file(view)).exists() for view in self.views)


def sessions(kinds: Sequence[Kind], seed: int) -> Iterator[Session]:
    """Yields what is to be photographed. A product's session depends on itself and the seed only,
    so that adding others leaves its pictures as they are."""
    for design in designs(kinds):
        own = zlib.crc32(f"{seed} {words.reference(design)}".encode())
        chance = random.Random(own)  # noqa: S311
        first, *others = design.kind.views
        count = min(chance.choice(MORE_VIEWS), len(others))
        chosen = chance.sample(others, count)
        views = (first, *(view for view in others if view in chosen))
        yield Session(design, views, _backdrop(design, views, chance), own)


def _backdrop(design: Design, views: Sequence[View], chance: random.Random) -> Backdrop:
    # What is white itself would vanish before white, and so would a lit shade.
    pale = design.finish.colour in ("white", "marble") or design.finish.material == "paper"
    white = 0.0 if pale else 0.62
    draw = chance.random()
    if draw < white:
        return Backdrop("white")
    # A room's wall would be between the camera and the back of a product.
    behind = any(abs(view.azimuth) > 100 for view in views)
    if draw < white + (1 - white) * 0.6 or behind:
        choices = [paper for paper in PAPERS if paper != design.finish.colour]
        return Backdrop("paper", chance.choice(choices))
    choices = [wall for wall in WALLS if wall != design.finish.colour]
    return Backdrop("room", chance.choice(choices), chance.choice(FLOORS))


def rows(found: Sequence[Session]) -> Iterator[Row]:
    """Yields the rows of the CSV."""
    for session in found:
        design = session.design
        chance = random.Random(session.seed + 1)  # noqa: S311
        stock = 0 if chance.random() < 0.06 else chance.randint(1, 40)
        for view in session.views:
            yield {
                "file": session.file(view),
                "view": words.VIEWS.get(view.name, view.name),
                "product": session.reference,
                "name": words.name(design),
                "category": design.kind.category,
                "brand": BRAND,
                "price": f"{words.price(design):.2f}",
                "description": words.description(design),
                "stock": str(stock),
                "colour": words.colour(design.finish),
                "material": words.material(design.finish),
                "kind": design.kind.name,
                "family": design.family.name,
            }


def write(lines: Sequence[Row], file: Path) -> None:
    """Writes a CSV file with the columns of the first row."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def photograph(session: Session, folder: Path) -> list[Path]:
    """Takes the session's pictures that aren't in the folder yet, and returns them."""
    missing = [view for view in session.views if not (folder / session.file(view)).exists()]
    if not missing:
        return []
    # Blender's package is needed from here on only.
    from . import forms, stage

    stage.clear()
    forms.BUILDERS[session.design.kind.name](session.design)
    subject = stage.points()
    stage.prepare(session.backdrop, session.seed % 2**31)
    taken = []
    with TemporaryDirectory() as scratch:
        for view in missing:
            stage.aim(view, subject)
            shot = Path(scratch) / "shot.png"
            stage.render(shot)
            target = folder / session.file(view)
            with Image.open(shot) as image:
                target.write_bytes(compressed(image.convert("RGB")))
            taken.append(target)
    return taken


def compressed(image: Image.Image, largest: int = LARGEST) -> bytes:
    """Returns the picture as a JPEG file, as good as it can be in so many bytes."""
    for quality in range(88, 30, -4):
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
        if buffer.tell() <= largest:
            break
    return buffer.getvalue()


def check(found: Sequence[Session]) -> None:
    """Raises ValueError where two products share a name, or a wall isn't of the palette."""
    seen: set[str] = set()
    for session in found:
        if session.reference in seen:
            raise ValueError(f"Two products are called {words.name(session.design)!r}.")
        seen.add(session.reference)
        if session.backdrop.wall not in COLOURS:
            raise ValueError(f"{session.backdrop.wall!r} is not a colour of the palette.")
