"""Photos from homes that show products of the catalogue: the samples of the photo search."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from PIL import Image, UnidentifiedImageError

from . import folders

FILE = "street.csv"
MOST_PHOTOS = 24


@dataclass(frozen=True)
class Sighting:
    """A product in a photo. The box is in fractions of the photo's width and height."""

    reference: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def inset(self) -> str:
        """The box as CSS has it: how far its sides are from the photo's."""
        sides = (self.top, 1 - self.right, 1 - self.bottom, self.left)
        return " ".join(f"{side:.2%}" for side in sides)


@dataclass(frozen=True)
class StreetPhoto:
    file: str
    """Relative to the catalogue's folder."""
    width: int
    height: int
    sightings: tuple[Sighting, ...]


def read() -> list[StreetPhoto]:
    """Returns the sample photos of the catalogue; none where it has none."""
    try:
        with (folders.CATALOGUE / FILE).open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    sightings: dict[str, list[Sighting]] = {}
    for row in rows:
        if sighting := _sighting(row):
            sightings.setdefault(row["file"], []).append(sighting)
    photos = (_photo(file, tuple(found)) for file, found in sightings.items())
    return list(islice((photo for photo in photos if photo), MOST_PHOTOS))


def path(file: str) -> Path | None:
    """Returns where a photo lies; None for one that isn't among the samples."""
    return _path(file) if any(photo.file == file for photo in read()) else None


def _sighting(row: dict[str, str]) -> Sighting | None:
    try:
        left, top, right, bottom = (float(row[side]) for side in ("left", "top", "right", "bottom"))
        reference = row["product"]
    except (KeyError, TypeError, ValueError):
        return None
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        return None
    return Sighting(reference, left, top, right, bottom)


def _photo(file: str, sightings: tuple[Sighting, ...]) -> StreetPhoto | None:
    found = _path(file)
    if found is None:
        return None
    try:
        with Image.open(found) as image:
            return StreetPhoto(file, image.width, image.height, sightings)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def _path(file: str) -> Path | None:
    name = PurePosixPath(file)
    folder = folders.CATALOGUE.resolve()
    found = (folder / name).resolve()
    return found if found.is_relative_to(folder) and found.is_file() else None
