"""What each part of an encoder with aspects is worth: weights of kind, colour and design, settling.

`python benchmarks/aspects.py --data ../shared/data` measures the bundled encoder, or another bundle
of AspectNet, on the validation tasks, and on other shops' catalogues (shops.csv): of the 5 nearest
of a picture, how many are of the same shop and category. Every row is the same network. It needs
the extra [torch].
"""

# ruff: noqa: E402  Django is set up before the package is used.

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))
from django.conf import settings

settings.configure()
import torch

from cardigan_reco.encoders import bundle
from cardigan_reco.encoders.networks import aspectnet
from cardigan_reco.encoders.torch import TorchEncoder
from cardigan_reco.training import metrics, pictures, trials
from cardigan_reco.training.examples import Example
from cardigan_reco.training.sampling import codes
from cardigan_reco.training.trials import Trial

Vectors = NDArray[np.float32]
Weights = tuple[float, float, float]

FIGURES = {
    "article_type @10": "type",
    "article_type + base_colour @10": "+colour",
    "same group R@10": "design",
    "to gallery R@1": "street",
    "hinge accuracy, hard": "hard",
    "hinge accuracy, easy": "easy",
}
SETTLING = {
    "as far as near": (aspectnet.UNKNOWN, aspectnet.KNOWN),
    "always": (-2.0, -1.0),
    "never": (2.0, 3.0),
}
WEIGHTS: list[Weights] = [
    (10, 1, 4), (6, 2, 7), (4, 1, 5), (4, 0.5, 5), (5, 2, 5), (1, 1, 1),
    (1, 0, 0), (0, 1, 0), (0, 0, 1),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Folder of the zip files.")
    parser.add_argument("--weights", type=Path, default=bundle.BUNDLED, help="A bundle.")
    options = parser.parse_args()
    found = [
        trials.from_csv(options.data / f"{name}.csv", options.data / f"{name}.zip")
        for name in ("fashion", "grocery")
    ]
    shops, categories = other_shops(options.data)
    print(
        f"{'settled':<16}{'weights':>12}" + "".join(f"{n:>9}" for n in [*FIGURES.values(), "shops"])
    )
    for settling, limits in SETTLING.items():
        with limited(*limits):
            encoder = TorchEncoder(options.weights)
            encode = partial(pictures.encode, encoder, name="", threads=2, progress=False)
            vectors = [encode(examples) for examples in (*(t.examples for t in found), shops)]
        for weights in WEIGHTS:
            line(settling, weights, found, [weighed(v, weights) for v in vectors], categories)


def other_shops(data: Path) -> tuple[list[Example], NDArray[np.int64]]:
    """Returns the main pictures of other shops' products, and a number for each category."""
    with (data / "shops.csv").open(encoding="utf-8-sig", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["view"] in ("main", "")]
    archive = ZipFile(data / "shops.zip")
    shops = [Example(partial(archive.read, row["file"]), row["file"]) for row in rows]
    names = [f"{r['shop']}|{r['category']}" if r["category"] else "" for r in rows]
    return shops, codes(names)


@contextmanager
def limited(unknown: float, known: float) -> Iterator[None]:
    """Changes how near a class must be for a part to be settled."""
    before = aspectnet.UNKNOWN, aspectnet.KNOWN
    aspectnet.UNKNOWN, aspectnet.KNOWN = unknown, known
    try:
        yield
    finally:
        aspectnet.UNKNOWN, aspectnet.KNOWN = before


def weighed(vectors: Vectors, weights: Weights) -> Vectors:
    parts = aspectnet._parts(vectors.shape[1]).values()
    shares = torch.nn.functional.normalize
    joined = [
        shares(torch.from_numpy(vectors[:, part])) * weight**0.5
        for part, weight in zip(parts, weights, strict=True)
    ]
    return shares(torch.cat(joined, 1)).numpy()


def line(
    settling: str,
    weights: Weights,
    found: Sequence[Trial],
    vectors: Sequence[Vectors],
    categories: NDArray[np.int64],
) -> None:
    values: dict[str, float] = {}
    for trial, own in zip(found, vectors, strict=False):
        values.update(trials.measure(trial, own))
    near = metrics.neighbours(vectors[-1], count=5)
    shown = [*(values[name] for name in FIGURES), metrics.agreement(near, categories)]
    told = ":".join(f"{weight:g}" for weight in weights)
    print(f"{settling:<16}{told:>12}" + "".join(f"{value:>9.3f}" for value in shown), flush=True)


if __name__ == "__main__":
    main()
