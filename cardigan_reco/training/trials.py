"""What an encoder is measured on: pictures of which it is known what belongs together."""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from .. import images
from . import edits, metrics, tables
from .examples import Example, ExamplesError
from .sampling import codes

NEIGHBOURS = 10
NEAREST = 100
"""Pictures that are ranked for a copy."""
PRECISION = 0.99
"""Share of the pairs that must be right, where the recall of copies is measured."""
GALLERY = "gallery"
"""The split of pictures that queries are looked for among, rather than being queries."""
_FASHION = {"id", "colour_group", "photo_group", "article_type", "base_colour"}
_STREET = {"file", "kind", "sku"}
_COARSE = "coarse_name"
_JOINED = "article_type + base_colour"
_SHOWN = 3


@dataclass(frozen=True)
class Trial:
    """Pictures, and the questions that they answer."""

    name: str
    examples: Sequence[Example]
    """Queries; those of the split "gallery" are what they are looked for among."""
    columns: Sequence[str] = ()
    """Labels whose agreement among neighbours is measured."""
    mates: Sequence[str] | None = None
    """For each example who its positives are, in place of those of its group."""
    triplets: NDArray[np.int64] | None = None
    """(count, 3) rows of the examples, in place of those that are drawn."""


def from_csv(file: Path, pictures: Path, *, split: str = "val") -> Trial:
    """Returns the trial in a CSV, whose columns say which kind it is.

    `id,colour_group,photo_group,article_type,base_colour`: same design, attributes, hinge.
    `file,kind,sku[,coarse_name]`: from pictures of other kinds to those of the kind iconic, hinge.
    `query,positive,negative`: hinge accuracy of these triplets.
    `picture[,group][,item][,split]` and columns of classes: recall, hinge, agreement.

    `pictures`: their folder or a zip file. Rows of another split are left out, unless there is no
    such column. Raises ExamplesError for pictures outside of their folder, with counts for missing
    ones, and where nothing is left.
    """
    if tables.is_triplets(file):
        given = tables.triplets_from_csv(file, pictures)
        rows = np.array(given.rows, np.int64)
        return Trial(file.stem, _found(file, given.examples, pictures), triplets=rows)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        columns = next(csv.reader(lines), [])
    if _FASHION.issubset(columns):
        trial = _fashion(file, split)
    elif _STREET.issubset(columns):
        trial = Trial(file.stem, list(_street(file, split)))
    else:
        chosen = [
            example
            for example in tables.from_csv(file, pictures)
            if example.split == split or "split" not in columns
        ]
        cells = {
            column: [label for example in chosen if (label := example.labels.get(column))]
            for column in columns
        }
        # As in training: the first one gives hard negatives, cells of several classes no figure.
        plain = [name for name, of in cells.items() if of and not any("|" in one for one in of)]
        trial = Trial(file.stem, chosen, plain)
    if not trial.examples:
        raise ExamplesError(f"{file} has no pictures of the split {split!r}.")
    return replace(trial, examples=_found(file, trial.examples, pictures))


def measure(trial: Trial, vectors: NDArray[np.float32]) -> dict[str, float]:
    """Returns the figures by name, from 0 to 1; `vectors`: (examples, dimensions), of length 1."""
    if trial.triplets is not None:
        return {"hinge accuracy": metrics.hinge_accuracy(vectors, trial.triplets)}
    gallery = np.array([example.split == GALLERY for example in trial.examples])
    items = codes([example.design for example in trial.examples])
    if gallery.any():
        classes = codes([next(iter(example.labels.values()), "") for example in trial.examples])
        values = _to_gallery(vectors, items, gallery, classes)
    else:
        values = _among_themselves(vectors, items, trial)
    return {name: value for name, value in values.items() if not math.isnan(value)}


def copied(trial: Trial, *, seed: int) -> list[Example]:
    """Returns an edited copy of each of a trial's pictures."""

    def copy(example: Example) -> bytes:
        return edits.copy(example.load(min_side=None), f"{seed} {example.name}")

    return [
        replace(example, read=partial(copy, example), box=None, size=None)
        for example in trial.examples
    ]


def measure_copies(vectors: NDArray[np.float32], copies: NDArray[np.float32]) -> dict[str, float]:
    """Returns how well an encoder knows a copy's original, among all pairs of a copy and a picture.

    `vectors`, `copies`: (examples, dimensions), of length 1, in the order of `copied()`. Of each
    copy the nearest NEAREST pictures are ranked.
    """
    near = metrics.neighbours(copies, vectors, count=NEAREST)
    scores = np.take_along_axis(copies @ vectors.T, near, axis=1)
    right = near == np.arange(len(copies))[:, None]
    average, recall = metrics.precision_and_recall(
        right.ravel(), scores.ravel(), len(copies), precision=PRECISION
    )
    return {"copies AP": average, f"copies, recall at {PRECISION:.0%}": recall}


def _to_gallery(
    vectors: NDArray[np.float32],
    items: NDArray[np.int64],
    gallery: NDArray[np.bool_],
    classes: NDArray[np.int64],
) -> dict[str, float]:
    queries, candidates = vectors[~gallery], vectors[gallery]
    found = metrics.neighbours(queries, candidates, count=NEIGHBOURS)
    labels, among = items[~gallery], items[gallery]
    values = {f"to gallery R@{at}": metrics.recall(found, labels, among, at=at) for at in (1, 5)}
    values["to gallery mAP"] = metrics.mean_average_precision(queries, labels, candidates, among)
    return values | _hinge(vectors, items, classes)


def _among_themselves(
    vectors: NDArray[np.float32], groups: NDArray[np.int64], trial: Trial
) -> dict[str, float]:
    found = metrics.neighbours(vectors, count=NEIGHBOURS)
    values = {f"same group R@{at}": metrics.recall(found, groups, at=at) for at in (1, NEIGHBOURS)}
    values["same group mAP"] = metrics.mean_average_precision(vectors, groups)
    labels = {
        column: codes([example.labels.get(column, "") for example in trial.examples])
        for column in trial.columns
    }
    for column, numbers in labels.items():
        values[f"{column} @{NEIGHBOURS}"] = metrics.agreement(found, numbers)
    mates = groups if trial.mates is None else codes(trial.mates)
    return values | _hinge(vectors, mates, next(iter(labels.values()), None))


def _hinge(
    vectors: NDArray[np.float32], mates: NDArray[np.int64], classes: NDArray[np.int64] | None
) -> dict[str, float]:
    """Returns the hinge accuracies, hard where classes are known."""
    drawn = {"hinge accuracy, easy": metrics.triplets(mates)}
    if classes is not None:
        drawn = {"hinge accuracy, hard": metrics.triplets(mates, classes), **drawn}
    return {name: metrics.hinge_accuracy(vectors, triplets) for name, triplets in drawn.items()}


def _fashion(file: Path, split: str) -> Trial:
    rows = [
        row
        for row in _rows(file)
        # What isn't large is a thumbnail in a file of its own, for training alone.
        if row.get("split", split) == split and row.get("large") != "0"
    ]
    examples = [
        _example(
            f"{row['id']}.jpg",
            {
                "article_type": row["article_type"],
                _JOINED: f"{row['article_type']} / {row['base_colour']}",
            },
            row["colour_group"],
            split,
        )
        for row in rows
    ]
    colours = {
        row["photo_group"]: row["colour_group"]
        for row in rows
        if row["photo_group"] and row["colour_group"]
    }
    mates = [
        row["colour_group"]
        or colours.get(row["photo_group"])
        or (row["photo_group"] and f"photo {row['photo_group']}")
        for row in rows
    ]
    return Trial(file.stem, examples, ("article_type", _JOINED), mates)


def _street(file: Path, split: str) -> Iterator[Example]:
    for row in _rows(file):
        labels = {name: row[name] for name in (_COARSE,) if row.get(name)}
        if row["kind"] == "iconic":
            yield _example(row["file"], labels, row["sku"], GALLERY)
        elif row.get("split", split) == split:
            yield _example(row["file"], labels, row["sku"], split)


def _example(name: str, labels: Mapping[str, str], group: str, split: str) -> Example:
    return Example(Path(name).read_bytes, name, labels, group=group, split=split)


def _rows(file: Path) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        yield from csv.DictReader(lines)


def _found(file: Path, examples: Sequence[Example], pictures: Path) -> list[Example]:
    """Returns the examples, each reading from where its picture is."""
    readers = _zipped(pictures) if pictures.suffix == ".zip" else _in_folder(pictures)
    found = [(example, readers(example.name)) for example in examples]
    missing = [example.name for example, reader in found if reader is None]
    if missing:
        raise ExamplesError(
            f"{len(missing)} of {len(examples)} pictures that {file.name} names aren't in "
            f"{pictures}: {', '.join(missing[:_SHOWN])}{' ...' if len(missing) > _SHOWN else ''}. "
            "Name their folder or zip file with --pictures."
        )
    return [replace(example, read=reader) for example, reader in found if reader is not None]


def _in_folder(folder: Path) -> Callable[[str], Callable[[], bytes] | None]:
    def reader(name: str) -> Callable[[], bytes] | None:
        path = tables.inside(folder, name)
        return partial(tables.read, path) if path.is_file() else None

    return reader


def _zipped(file: Path) -> Callable[[str], Callable[[], bytes] | None]:
    try:
        archive = ZipFile(file)
    except (OSError, BadZipFile) as error:
        raise ExamplesError(f"{file} can't be read as a zip file ({error}).") from error
    names = set(archive.namelist())

    def reader(name: str) -> Callable[[], bytes] | None:
        return partial(_unzipped, archive, name) if name in names else None

    return reader


def _unzipped(archive: ZipFile, name: str) -> bytes:
    # Of the others, Python unpacks gigabytes before it returns the first byte.
    if archive.getinfo(name).compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise OSError(f"{archive.filename} isn't packed with deflate. Pack it again with that.")
    try:
        with archive.open(name) as opened:
            return images.read(opened)
    except (BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        # RuntimeError: encrypted.
        raise OSError(f"{archive.filename} can't be read: {error}") from error
