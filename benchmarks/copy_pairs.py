"""Pictures that are copies of one another, and pictures that only look alike, for calibrating."""

from __future__ import annotations

import csv
import io
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cardigan_reco import copies
from cardigan_reco.copies import Descriptor
from cardigan_reco.encoders.torch import TorchEncoder
from cardigan_reco.training import edits

Row = dict[str, str]
Pictures = dict[str, Image.Image]
EDITS_EACH = 2
"""Edited copies of a chosen picture."""
COPY_NEAR, NEAR, HOME_NEAR = 3, 2, 6
"""Nearest other pictures that a copy, an original, a rendered picture is set against."""
VISIBLE, VISIBLE_SHARE = 40, 0.04
"""Levels by which so much of a picture changes, at least, for it to be another colourway."""
EQUAL_LEVELS = 6
"""Levels by which 90% of two thumbnails differ at most where both are one photo in any case."""


@dataclass(frozen=True)
class Pair:
    """Two pictures, and whether they are one photo."""

    first: Descriptor
    second: Descriptor
    are_copies: bool
    kind: str
    fold: int
    """0 or 1, the same in all pairs of a picture."""


def fashion(folder: Path, split: str) -> tuple[dict[str, Row], Pictures]:
    """Returns the rows and the pictures of a split, by their numbers."""
    with (folder / "fashion.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    rows = {pk: row for pk, row in rows.items() if row["large"] == "1" and row["split"] == split}
    with ZipFile(folder / "fashion.zip") as archive:
        names = {Path(name).stem: name for name in archive.namelist()}
        pictures = {pk: opened(archive.read(names[pk])) for pk in rows}
    return rows, pictures


def opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def saved(image: Image.Image) -> Image.Image:
    """Returns what is left of a picture after it is saved as a JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=edits.QUALITY)
    return opened(file.getvalue())


def vectors(images: Sequence[Image.Image]) -> NDArray[np.float32]:
    encoder = TorchEncoder()
    batches = range(0, len(images), 64)
    return np.concatenate([encoder.encode(images[place : place + 64]) for place in batches])


def fashion_pairs(folder: Path, chosen: int, seed: int) -> Iterator[Pair]:
    """Yields pairs of the training split of fashion."""
    chance = random.Random(seed)
    rows, pictures = fashion(folder, "train")
    keys = list(rows)
    described = {pk: copies.describe(picture) for pk, picture in pictures.items()}
    own = vectors([pictures[pk] for pk in keys])
    edited: list[tuple[str, str, Image.Image]] = []
    for pk in chance.sample(keys, chosen):
        for _number in range(EDITS_EACH):
            kind = edits.KINDS[len(edited) % len(edits.KINDS)]
            edited.append((pk, kind, saved(edits.edited(pictures[pk], kind, chance))))
    near = vectors([image for *_, image in edited]) @ own.T
    for (pk, kind, image), similarities in zip(edited, near, strict=True):
        copy, fold = copies.describe(image), int(pk) % 2
        yield Pair(copy, described[pk], True, kind, fold)
        for other in _nearest(keys, similarities, COPY_NEAR + 4, pk, rows, pictures)[:COPY_NEAR]:
            yield Pair(copy, described[other], False, "near a copy", fold)
    for place in chance.sample(range(len(keys)), chosen):
        pk = keys[place]
        for other in _nearest(keys, own[place] @ own.T, NEAR + 4, pk, rows, pictures)[:NEAR]:
            yield Pair(described[pk], described[other], False, "near", int(pk) % 2)
    for pk in chance.sample(keys, chosen * 3 // 5):
        twin = recoloured(pictures[pk], chance)
        if is_recoloured(pictures[pk], twin):
            if is_edited := chance.random() < 0.6:
                twin = edits.edited(twin, chance.choice(edits.KINDS), chance)
            kind = "recoloured, edited" if is_edited else "recoloured"
            yield Pair(copies.describe(twin), described[pk], False, kind, int(pk) % 2)
    groups: dict[str, list[str]] = defaultdict(list)
    for pk, row in rows.items():
        if row["colour_group"]:
            groups[row["colour_group"]].append(pk)
    colourways = [pair for group in groups.values() for pair in combinations(group, 2)]
    for one, other in chance.sample(colourways, min(len(colourways), chosen * 5 // 3)):
        if not are_known_doubles(one, other, rows, pictures):
            fold = int(one) % 2
            yield Pair(described[one], described[other], False, "colourway", fold)


def home_pairs(folder: Path, seed: int) -> Iterator[Pair]:
    """Yields pairs of the rendered catalogue, without the doubles that are planted in it."""
    chance = random.Random(seed)
    with (folder / "catalogue.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["product"].startswith("double-")]
    pictures = [opened((folder / row["file"]).read_bytes()) for row in rows]
    described = [copies.describe(picture) for picture in pictures]
    own = vectors(pictures)
    families = list(dict.fromkeys(row["family"] for row in rows))
    folds = [families.index(row["family"]) % 2 for row in rows]
    sizes = _sizes(folder)
    for place, row in enumerate(rows):
        for kind in chance.sample(edits.KINDS, EDITS_EACH):
            copy = copies.describe(saved(edits.edited(pictures[place], kind, chance)))
            yield Pair(copy, described[place], True, f"rendered, {kind}", folds[place])
        others = [
            other
            for other in np.argsort(-(own[place] @ own.T))[: 6 * HOME_NEAR]
            if rows[other]["product"] != row["product"]
            and frozenset((rows[other]["product"], row["product"])) not in sizes
        ]
        for other in others[:HOME_NEAR]:
            pair = described[place], described[other]
            yield Pair(*pair, False, "rendered, near", folds[place])


def is_recoloured(image: Image.Image, twin: Image.Image) -> bool:
    """Returns whether a person sees the difference: grey things have no hue to turn."""
    levels = np.abs(np.asarray(image, int) - np.asarray(twin, int)).max(axis=2)
    return bool((levels > VISIBLE).mean() >= VISIBLE_SHARE)


def are_known_doubles(one: str, other: str, rows: dict[str, Row], pictures: Pictures) -> bool:
    """Returns whether two listings have one photo: by the data, or almost no pixel differs."""
    group = rows[one]["photo_group"]
    if one == other or (group and group == rows[other]["photo_group"]):
        return True
    own, theirs = (
        np.asarray(pictures[pk].resize((48, 64), Image.Resampling.BOX), int) for pk in (one, other)
    )
    return any(
        np.percentile(np.abs(own - turned).mean(axis=2), 90) < EQUAL_LEVELS
        for turned in (theirs, theirs[:, ::-1])
    )


def _nearest(
    keys: Sequence[str],
    similarities: NDArray[np.float32],
    count: int,
    pk: str,
    rows: dict[str, Row],
    pictures: Pictures,
) -> list[str]:
    found = [keys[place] for place in np.argsort(-similarities)[:count]]
    return [other for other in found if not are_known_doubles(pk, other, rows, pictures)]


def _sizes(folder: Path) -> set[frozenset[str]]:
    """Returns the pairs of products that differ in their size alone, which no picture shows."""
    with (folder / "problems.csv").open(newline="") as file:
        return {
            frozenset((row["product"], row["other"]))
            for row in csv.DictReader(file)
            if row["how"] == "size"
        }


def recoloured(image: Image.Image, chance: random.Random) -> Image.Image:
    """Returns the picture with its hues turned: another colourway of the same shot, no copy."""
    hue, saturation, value = image.convert("HSV").split()
    turn = chance.randint(40, 216)
    hue = hue.point([(level + turn) % 256 for level in range(256)])
    strength = chance.uniform(0.9, 1.3)
    saturation = saturation.point([min(255, round(level * strength)) for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")
