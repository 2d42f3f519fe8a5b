"""Examples from a CSV beside a folder of pictures."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .. import images
from .examples import Example, ExamplesError, Triplets

SPLITS = ("train", "val", "test")
_RESERVED = {"picture", "group", "item", "split", "source", "left", "top", "right", "bottom"}
_SHOWN = 3


def is_triplets(file: Path) -> bool:
    """Returns whether the CSV's columns are those of triplets."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return "query" in next(csv.reader(lines), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(file, error) from error


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
