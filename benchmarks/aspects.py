"""What each part of an encoder with aspects is worth: their weights, settling, whitening.

`python benchmarks/aspects.py --data ../shared/data` measures the bundled encoder, or another bundle
of AspectNet, on the validation tasks, and on other shops' catalogues (shops.csv): of the 5 nearest
of a picture, how many are of the same shop and category. Every row is the same network. In the last
rows kind and colour are what fashion's labels say: no network could tell them better, so they show
how far weights alone reach. It needs the extra [torch].
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
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))
from django.conf import settings

settings.configure()
from torch import Tensor

from cardigan_reco.encoders import bundle, networks, quantisation
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
WEIGHTS: list[Weights] = [
    (12, 3, 5), (13, 2, 5), (11, 2, 7), (11, 4, 5), (14, 3, 3), (6, 2, 2), (5, 3, 2), (2, 1, 0),
    (1, 1, 0), (1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1),
]  # fmt: skip
LABELLED: list[Weights] = [(12, 3, 5), (8, 4, 8), (10, 2, 8), (7, 1.2, 11), (6, 1, 13)]


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
        f"{'parts':<16}{'weights':>12}" + "".join(f"{n:>9}" for n in [*FIGURES.values(), "shops"])
    )
    with TemporaryDirectory() as folder:
        for parts, file, none in (
            ("all", options.weights, aspectnet.NONE),
            ("any class", options.weights, -1.0),
            ("unsettled", without("_prototypes", options.weights, Path(folder)), aspectnet.NONE),
            ("unwhitened", without("whitening", options.weights, Path(folder)), aspectnet.NONE),
        ):
            encoder = TorchEncoder(file)
            encode = partial(pictures.encode, encoder, name="", threads=2, progress=False)
            with standing_for_none(none):
                vectors = [encode(examples) for examples in (*(t.examples for t in found), shops)]
            own = encoder.build().weights
            for weights in WEIGHTS:
                line(
                    parts,
                    weights,
                    found,
                    [weighed(v, own, weights) for v in vectors],
                    categories,
                )
            if parts == "all":
                fashion, seen = found[0], vectors[0]
        for weights in LABELLED:
            line("labels", weights, [fashion], [labelled(fashion, seen, weights)])


def without(ending: str, file: Path, folder: Path) -> Path:
    """Writes the same network without the tensors whose names end so, and returns its file."""
    read = bundle.read(file)
    network = networks.build(read.network, trunk=read.trunk, dimensions=read.dimensions)
    tensors = read.tensors()
    network.load_state_dict({key: tensors[key] for key in tensors if not key.endswith(ending)})
    to = folder / f"without{ending}.safetensors"
    bundle.write(
        to,
        quantisation.halve(network.state_dict()),
        network=read.network,
        trunk=read.trunk,
        dimensions=read.dimensions,
        preprocessing=read.preprocessing,
    )
    return to


def other_shops(data: Path) -> tuple[list[Example], NDArray[np.int64]]:
    """Returns the main pictures of other shops' products, and a number for each category."""
    with (data / "shops.csv").open(encoding="utf-8-sig", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["view"] in ("main", "")]
    archive = ZipFile(data / "shops.zip")
    shops = [Example(partial(archive.read, row["file"]), row["file"]) for row in rows]
    names = [f"{r['shop']}|{r['category']}" if r["category"] else "" for r in rows]
    return shops, codes(names)


@contextmanager
def standing_for_none(cosine: float) -> Iterator[None]:
    """Changes the cosine that stands for no class at all."""
    before, aspectnet.NONE = aspectnet.NONE, cosine
    try:
        yield
    finally:
        aspectnet.NONE = before


def weighed(vectors: Vectors, own: Tensor, weights: Weights) -> Vectors:
    """Returns them as the network gives them with other weights than its own, which have no 0."""
    kind, colour, design = aspectnet._parts(vectors.shape[1]).values()
    shares = [weight / sum(weights) for weight in weights]
    parts = [
        vectors[:, part] * (share / float(before)) ** 0.5
        for part, share, before in zip((kind, colour), shares, own, strict=False)
    ]
    left = 1 - sum((part**2).sum(1, keepdims=True) for part in parts)
    alone = vectors[:, design] / np.linalg.norm(vectors[:, design], axis=1, keepdims=True)
    return np.hstack([*parts, alone * np.maximum(left, 0) ** 0.5])


def labelled(trial: Trial, vectors: Vectors, weights: Weights) -> Vectors:
    """Returns them with the labels in place of what the network makes of kind and colour."""
    *_, design = aspectnet._parts(vectors.shape[1]).values()
    alone = vectors[:, design] / np.linalg.norm(vectors[:, design], axis=1, keepdims=True)
    # The second column holds both: "Shirts / Blue".
    kinds, both = (
        [example.labels[column] for example in trial.examples] for column in trial.columns
    )
    told = [codes(kinds), codes([one.rsplit(" / ", 1)[1] for one in both])]
    parts = [np.eye(numbers.max() + 1, dtype=np.float32)[numbers] for numbers in told]
    shares = [weight / sum(weights) for weight in weights]
    return np.hstack(
        [part * share**0.5 for part, share in zip([*parts, alone], shares, strict=True)]
    )


def line(
    parts: str,
    weights: Weights,
    found: Sequence[Trial],
    vectors: Sequence[Vectors],
    categories: NDArray[np.int64] | None = None,
) -> None:
    values: dict[str, float] = {}
    for trial, own in zip(found, vectors, strict=False):
        values = trials.measure(trial, own) | values  # Both have a hinge; fashion's, the first.
    if categories is not None:
        values["shops"] = metrics.agreement(metrics.neighbours(vectors[-1], count=5), categories)
    told = ":".join(f"{weight:g}" for weight in weights)
    shown = [
        f"{values[name]:>9.3f}" if name in values else f"{'':>9}" for name in [*FIGURES, "shops"]
    ]
    print(f"{parts:<16}{told:>12}" + "".join(shown), flush=True)


if __name__ == "__main__":
    main()
