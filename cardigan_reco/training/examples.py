"""What a network learns from: pictures, with what is known of each."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from django.db.models import F

from .. import decoding, images
from ..exceptions import CardiganError, ImageError

if TYPE_CHECKING:
    from django.db.models.fields.files import FieldFile
    from PIL.Image import Image

    from ..models import Embedding

SPLITS = ("train", "val", "test")
_RESERVED = {"picture", "group", "item", "split", "source", "left", "top", "right", "bottom"}
_SHOWN = 3
_FEW = 50


class ExamplesError(CardiganError):
    """The examples can't be trained on; the message says which, how many and what to do."""


@dataclass(frozen=True)
class Example:
    """One picture."""

    read: Callable[[], bytes] = field(repr=False)
    """Returns the file's bytes; raises OSError or ImageError."""
    name: str
    """What messages call it: a path, as a rule."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Column -> class, of what is known."""
    group: str = ""
    """Pictures of one group show one design, perhaps in other colours; "": nothing known."""
    item: str = ""
    """Pictures of one item show the same thing; "": nothing known."""
    split: str = "train"
    """train, val or test, which no training looks at."""
    source: str = ""
    """Where it comes from, for weights in sampling."""
    box: images.Crop | None = None
    """Left, top, right and bottom of what it shows, as shares of the sides."""
    size: int | None = None
    """Bytes of its file, where they are known, which tell one state of it from the next."""

    @property
    def design(self) -> str:
        """What its mates share: the group, or else the item; "": nothing known."""
        if self.group:
            return f"group {self.group}"
        return f"item {self.item}" if self.item else ""

    def load(self, *, min_side: int | None) -> Image:
        """Returns the decoded picture; of one with a box the square around that, with a quarter of
        its side more, inside the picture.

        `min_side`, pixels: as `images.load()` takes it. Raises OSError and ImageError.
        """
        if self.box is None:
            return images.load(self.read(), min_side=min_side)
        left, top, right, bottom = self.box
        share = max(right - left, bottom - top)
        if min_side is not None:
            min_side = math.ceil(min_side / share)
        image = images.load(self.read(), min_side=min_side)
        return decoding.cropped(image, _around(self.box, image.size))


@dataclass(frozen=True)
class Triplets:
    """Rows of examples: a query, a picture that should be near it and one that should be far."""

    examples: list[Example]
    rows: list[tuple[int, int, int]]


def from_csv(file: Path, pictures: Path) -> list[Example]:
    """Returns the examples of a CSV: `picture`, and any of `group`, `item`, `split`, `source`.

    Four columns `left,top,right,bottom`, shares of the sides, crop a picture to what it shows.
    Every other column holds classes, and may be empty in a row. Paths are relative to `pictures`.
    A row without a group is of the group of its item's other pictures.

    Raises ExamplesError when the file can't be read, lacks `picture`, names an unknown split or a
    picture outside of `pictures`, or has a box that is none.
    """
    rows = _rows(file, {"picture"})
    unknown = Counter(row["split"] for row in rows if row.get("split", "train") not in SPLITS)
    if unknown:
        found = ", ".join(f"{split!r} ({count})" for split, count in unknown.most_common(_SHOWN))
        raise ExamplesError(
            f"{file} has unknown values of split: {found}. Choices are: {', '.join(SPLITS)}."
        )
    examples = [_example(row, pictures, file) for row in rows]
    groups = {one.item: one.group for one in examples if one.item and one.group}
    return [one if one.group else replace(one, group=groups.get(one.item, "")) for one in examples]


def triplets_from_csv(file: Path, pictures: Path) -> Triplets:
    """Returns the triplets of a CSV with the columns `query`, `positive` and `negative`.

    Raises ExamplesError when the file can't be read or lacks a column, a cell is empty or names a
    picture outside of `pictures`.
    """
    columns = ("query", "positive", "negative")
    rows = _rows(file, set(columns))
    if empty := sum(not all(row[column] for column in columns) for row in rows):
        raise ExamplesError(f"{file} has {empty} triplets with an empty cell. Fill or delete them.")
    names = sorted({row[column] for row in rows for column in columns})
    places = {name: place for place, name in enumerate(names)}
    return Triplets(
        [_file(pictures, name) for name in names],
        [(places[row["query"]], places[row["positive"]], places[row["negative"]]) for row in rows],
    )


def from_collection(embedding: type[Embedding], doubles: Mapping[str, str]) -> list[Example]:
    """Returns the pictures of a collection; those of one item are mates.

    `doubles`: item -> the one that stands for all that are the same thing, keys as text. What was
    listed twice is one item here: else a double would be learned as a wrong neighbour.
    """
    sources = embedding.source_model()._default_manager.order_by("pk")
    found = []
    for source in sources.annotate(cardigan_item=F(embedding.item_field or "pk")).iterator():
        file = getattr(source, embedding.image_field)
        if file:
            item = "" if source.cardigan_item is None else str(source.cardigan_item)
            item = doubles.get(item, item)
            found.append(Example(partial(_stored, file), file.name, item=item))
    return found


def inside(folder: Path, name: str) -> Path:
    """Returns where a picture is; raises ExamplesError for one outside of the folder."""
    path = folder / name
    # Links count as what they are in the folder, as whoever made it wanted them there.
    is_below = path.is_relative_to(folder) and ".." not in path.parts[len(folder.parts) :]
    if not (is_below or path.resolve().is_relative_to(folder.resolve())):
        raise ExamplesError(
            f"The picture {name!r} is outside of {folder}. Name the folder that holds all of them "
            "with --pictures, or take its row out."
        )
    return path


def read(path: Path) -> bytes:
    """Returns the bytes of a picture's file; raises OSError and ImageTooLarge."""
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no file, but a folder or device.")
    with path.open("rb") as opened:
        return images.read(opened)


def is_triplets(file: Path) -> bool:
    """Returns whether the CSV's columns are those of triplets."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return "query" in next(csv.reader(lines), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(file, error) from error


def belong(query: Example, other: Example) -> bool | None:
    """Returns whether two pictures share a group, an item or their first label; None: unknown."""
    first = next(iter(query.labels), "")
    pairs = [
        (query.group, other.group),
        (query.item, other.item),
        (query.labels.get(first, ""), other.labels.get(first, "")),
    ]
    known = [one == two for one, two in pairs if one and two]
    return any(known) if known else None


def hold_out(examples: Sequence[Example], *, share: float, seed: int) -> list[Example]:
    """Returns the examples with a share of them in the validation split, unless some are in it.

    Pictures of one group or item stay together, and one with more than the share isn't held out. Of
    fewer than 50 pictures none is.
    """
    if len(examples) < _FEW or any(example.split == "val" for example in examples):
        return list(examples)
    sizes = Counter(example.design or example.name for example in examples)
    names = np.random.default_rng(seed).permutation(sorted(sizes))
    chosen: set[str] = set()
    count = 0
    for name in names.tolist():
        if count + sizes[name] <= share * len(examples):
            chosen.add(name)
            count += sizes[name]
    return [
        replace(example, split="val") if (example.design or example.name) in chosen else example
        for example in examples
    ]


def check(examples: Sequence[Example], columns: Iterable[str], sources: Iterable[str] = ()) -> None:
    """Raises ExamplesError unless the training split has something to learn.

    That is a column of `columns` with two classes, or a group or item with two pictures; and
    pictures of each of `sources`.
    """
    training = [example for example in examples if example.split == "train"]
    if not training:
        raise ExamplesError(
            f"None of the {len(examples)} pictures is in the training split. Set split to 'train', "
            "or leave the column out."
        )
    for column in columns:
        classes = Counter(label for example in training if (label := example.labels.get(column)))
        if not classes:
            known = sorted({name for example in training for name in example.labels})
            raise ExamplesError(
                f"No picture has a class in the column {column!r}. Choices are: "
                f"{', '.join(known) or 'none'}."
            )
        if len(classes) == 1:
            raise ExamplesError(
                f"All {classes.total()} pictures with a class in the column {column!r} are "
                f"{next(iter(classes))!r}. A network needs two classes to tell apart."
            )
    met = {example.source for example in training}
    if unmet := sorted(set(sources) - met):
        raise ExamplesError(
            f"No picture to learn from has the source {unmet[0]!r}. Choices are: "
            f"{', '.join(sorted(met - {''})) or 'none, as the data name no sources'}."
        )
    sizes = Counter(example.design for example in training)
    del sizes[""]
    if not list(columns) and max(sizes.values(), default=0) < 2:
        raise ExamplesError(
            f"There is nothing to learn from {len(training)} pictures: no column of classes was "
            "named and no two pictures share a group or an item."
        )


def _around(box: images.Crop, size: tuple[int, int]) -> images.Crop:
    width, height = size
    left, top, right, bottom = box
    reach = max((right - left) * width, (bottom - top) * height) * 0.625
    x, y = (left + right) / 2, (top + bottom) / 2
    return (
        max(0.0, x - reach / width),
        max(0.0, y - reach / height),
        min(1.0, x + reach / width),
        min(1.0, y + reach / height),
    )


def _unreadable(file: Path, error: Exception) -> ExamplesError:
    return ExamplesError(f"{file} can't be read as CSV in UTF-8 ({error}).")


def _rows(file: Path, needed: set[str]) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            columns = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(file, error) from error
    if missing := needed - set(columns):
        raise ExamplesError(
            f"{file} lacks the column {', '.join(sorted(missing))}. It has: "
            f"{', '.join(columns) or 'none'}."
        )
    if not rows:
        raise ExamplesError(f"{file} has no rows.")
    short = [number for number, row in enumerate(rows, 2) if None in row or None in row.values()]
    if short:
        raise ExamplesError(
            f"{file} has {len(short)} rows with too few or too many cells; the first ends on line "
            f"{short[0]} or after."
        )
    return rows


def _stored(file: FieldFile) -> bytes:
    try:
        with file.open("rb") as opened:
            return images.read(opened)
    except (OSError, ImageError):
        raise
    except Exception as error:  # Storages raise whatever their client libraries raise.
        raise OSError(f"{type(error).__name__}: {error}") from error


def _file(pictures: Path, name: str, **known: Any) -> Example:
    """Returns the example of a file; one that is missing is told of when it is read."""
    path = inside(pictures, name)
    size = path.stat().st_size if path.is_file() else None
    return Example(partial(read, path), name, size=size, **known)


def _example(row: Mapping[str, str], pictures: Path, file: Path) -> Example:
    return _file(
        pictures,
        row["picture"],
        labels={name: label for name, label in row.items() if label and name not in _RESERVED},
        group=row.get("group", ""),
        item=row.get("item", ""),
        split=row.get("split", "train"),
        source=row.get("source", ""),
        box=_box(row, file),
    )


def _box(row: Mapping[str, str], file: Path) -> images.Crop | None:
    edges = [row.get(edge, "") for edge in ("left", "top", "right", "bottom")]
    if not any(edges):
        return None
    try:
        left, top, right, bottom = map(float, edges)
        if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
            return left, top, right, bottom
    except ValueError:
        pass
    raise ExamplesError(
        f"The box of {row['picture']} in {file} is {', '.join(edge or 'empty' for edge in edges)}. "
        "Left, top, right and bottom are shares of the sides, from 0 to 1, left before right and "
        "top before bottom, or all empty."
    )
