"""Measures what similar vectors and words say of two listings; see duplicates/calibration.py.

`python benchmarks/calibrate_evidence.py --data ../shared/data` fits the weights of "same thing in
another photo" on several photos of one thing (the rendered catalogue, the grocery photos and the
shops' catalogues) against the nearest pictures of other things, five of these for each. Then it
prints, in logarithms of odds, what the likeness of titles, brands and prices says of listings with
one photo against those of the nearest other pictures (fashion, training split). It needs the extras
[torch] and [duplicates], and scikit-learn.
"""

# ruff: noqa: E402  Django is set up before the package is used.

from __future__ import annotations

import argparse
import csv
import math
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))
import django
from django.conf import settings

settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "cardigan_reco"])
django.setup()
import copy_pairs
from copy_pairs import Row
from sklearn.linear_model import LogisticRegression

from cardigan_reco.duplicates import text
from example_shop import folders

NEIGHBOURS = 16
"""As in cardigan_reco/duplicates/candidates.py."""
OTHERS = 4
"""Nearest pictures of other things that a picture is set against."""
ODDS = 5
"""Pictures of other things for each of the same."""
GROCERIES = 700
TITLES = (0.0, 0.6, 0.8, 0.95, 1.01)
PRICES = (0.0, 0.5, 0.8, 0.98, 1.01)

Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Folder of the zip files.")
    options = parser.parse_args()
    another_photo(options.data)
    words(options.data)


def another_photo(data: Path) -> None:
    sets = {"rendered": home(), "grocery": grocery(data), "shops": shops(data)}
    values, true, weights, names = [], [], [], []
    for name, (vectors, items) in sets.items():
        same, other = measured(vectors, np.array(items))
        values += [*same, *other]
        true += [1] * len(same) + [0] * len(other)
        weights += [1 / len(same)] * len(same) + [ODDS / len(other)] * len(other)
        names += [name] * (len(same) + len(other))
    scale = len(true) / sum(weights)
    model = LogisticRegression(C=1e3).fit(values, true, sample_weight=np.array(weights) * scale)
    above, similarity = model.coef_[0]
    print(f"above level {above:.2f}, similarity {similarity:.2f}, bias {model.intercept_[0]:.2f}")
    said = model.predict_proba(np.array(values))[:, 1]
    print(f"{'':12}{'same: median':>14}{'>= 0.5':>8}{'others: median':>16}{'>= 0.5':>8}")
    for name in sets:
        own = np.array(names) == name
        row = f"{name:12}"
        for label, width in ((1, 14), (0, 16)):
            found = said[own & (np.array(true) == label)]
            row += f"{np.median(found):>{width}.3f}{(found >= 0.5).mean():>8.3f}"
        print(row)


def measured(vectors: NDArray[np.float32], items: NDArray[np.str_]) -> tuple[Floats, Floats]:
    """Returns similarity above the level, and similarity, of pairs of one thing and of others."""
    similarities = vectors @ vectors.T
    levels = []
    for row, item in zip(similarities, items, strict=True):
        levels.append(float(np.sort(row[items != item])[-NEIGHBOURS:].mean()))
    same, other = [], []
    for place, row in enumerate(similarities):

        def values(near: int, place: int = place, row: NDArray[np.float32] = row) -> list[float]:
            return [float(row[near]) - max(levels[place], levels[near]), float(row[near])]

        mates = [near for near in np.flatnonzero(items == items[place]) if near != place]
        if mates:
            same.append(max(map(values, mates)))
        others = [near for near in np.argsort(-row) if items[near] != items[place]][:OTHERS]
        other += [values(near) for near in others]
    return np.array(same), np.array(other)


def home() -> tuple[NDArray[np.float32], list[str]]:
    with (folders.CATALOGUE / "catalogue.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["product"].startswith("double-")]
    pictures = [copy_pairs.opened((folders.CATALOGUE / row["file"]).read_bytes()) for row in rows]
    return copy_pairs.vectors(pictures), [row["product"] for row in rows]


def grocery(data: Path) -> tuple[NDArray[np.float32], list[str]]:
    rows = [
        row
        for row in table(data / "grocery.csv")
        if row["kind"] == "natural" and row["split"] == "train"
    ]
    rows = random.Random(1).sample(rows, GROCERIES)
    return copy_pairs.vectors(archived(data / "grocery.zip", rows)), [row["sku"] for row in rows]


def shops(data: Path) -> tuple[NDArray[np.float32], list[str]]:
    rows = table(data / "shops.csv")
    return copy_pairs.vectors(archived(data / "shops.zip", rows)), [row["product"] for row in rows]


def table(path: Path) -> list[Row]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def archived(path: Path, rows: Sequence[Row]) -> list[copy_pairs.Image.Image]:
    with ZipFile(path) as archive:
        names = archive.namelist()
        return [
            copy_pairs.opened(archive.read(next(n for n in names if n.endswith(row["file"]))))
            for row in rows
        ]


def words(data: Path) -> None:
    rows, pictures = copy_pairs.fashion(data, "train")
    groups: dict[str, list[str]] = defaultdict(list)
    for pk, row in rows.items():
        if row["photo_group"]:
            groups[row["photo_group"]].append(pk)
    doubles = [pair for group in groups.values() for pair in combinations(group, 2)]
    keys = list(rows)
    vectors = copy_pairs.vectors([pictures[pk] for pk in keys])
    others = []
    for place in random.Random(1).sample(range(len(keys)), 2000):
        row = vectors[place] @ vectors.T
        row[place] = -1
        near = keys[int(np.argmax(row))]
        if not copy_pairs.are_known_doubles(keys[place], near, rows, pictures):
            others.append((keys[place], near))
    found = [[said(rows, *pair) for pair in pairs] for pairs in (doubles, others)]
    print(f"\n{len(doubles)} pairs with one photo, {len(others)} others; logarithms of odds")
    for name, edges in (("title", TITLES), ("brand", (0.0, 0.9, 1.01)), ("price", PRICES)):
        for low, high in pairwise(edges):
            shares = []
            for facts in found:
                values = [getattr(one, name) for one in facts]
                known = [value for value in values if value is not None]
                shares.append((sum(low <= value < high for value in known) + 1) / (len(known) + 2))
            weight = math.log(shares[0] / shares[1])
            print(f"{name:6} from {low:.2f}{shares[0]:>8.3f}{shares[1]:>8.3f}{weight:>8.2f}")


def said(rows: dict[str, Row], one: str, other: str) -> text.Facts:
    first, second = (
        {"title": row["name"], "brand": row["brand"], "price": row["price"]}
        for row in (rows[one], rows[other])
    )
    return text.facts(first, second)


if __name__ == "__main__":
    main()
