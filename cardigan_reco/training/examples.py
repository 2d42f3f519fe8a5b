"""What a network learns from: pictures, with what is known of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from django.db.models import F

from .. import decoding, images
from ..exceptions import CardiganError, ImageError

if TYPE_CHECKING:
    from django.db.models.fields.files import FieldFile
    from PIL.Image import Image

    from ..models import Embedding

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


def from_collection(embedding: type[Embedding], doubles: Mapping[str, str]) -> list[Example]:
    """Returns the pictures of a collection; those of one item are mates.

    `doubles`: item -> the one that stands for all that are the same thing, keys as text. What was
    listed twice is one item here: else a double would be learned as a wrong neighbour.
    """
    sources = embedding.with_pictures(embedding.source_model()._default_manager.order_by("pk"))
    found = []
    for source in sources.annotate(cardigan_item=F(embedding.item_field or "pk")).iterator():
        file = embedding.picture_of(source)
        if file and file.name:
            item = "" if source.cardigan_item is None else str(source.cardigan_item)
            item = doubles.get(item, item)
            found.append(Example(partial(_stored, file), file.name, item=item))
    return found


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


def _stored(file: FieldFile) -> bytes:
    try:
        with file.open("rb") as opened:
            return images.read(opened)
    except (OSError, ImageError):
        raise
    except Exception as error:  # Storages raise whatever their client libraries raise.
        raise OSError(f"{type(error).__name__}: {error}") from error
