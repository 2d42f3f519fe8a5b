"""What each idea of the bundled encoder's training gives: short trainings, one change each.

`python benchmarks/training_data.py DATA --data ../shared/data`, then `python benchmarks/ablation.py
RUNS --training DATA/training.csv --data ../shared/data` trains the recipe of docs/encoders.md and
its variants for a few epochs on small pictures, with one seed, and measures each on the validation
tasks. Compare its rows with each other alone: a short run is far from a long one. A variant whose
folder in RUNS is finished isn't trained again. It needs the extras [train] and [embedded].
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import aspects
import torch

from cardigan_reco.encoders.torch import TorchEncoder
from cardigan_reco.training import pictures, trials
from cardigan_reco.training.run import BUNDLE
from cardigan_reco.training.trials import Trial

HOME = Path(__file__).parent.parent
FIXED = [
    *("--source-weight", "phone=0.7", "--source-weight", "grocery=4"),
    *("--source-weight", "iconic=3", "--source-weight", "street=2"),
    *("--batch-size", "132", "--verbosity", "0"),
]
KIND, COLOUR = ["--column", "kind=kind"], ["--column", "colour=colour:0.5"]
DESIGN, WORDS = ["--column", "design=design:0.2"], ["--column", "words=design:0.2"]
WEIGHTS = [
    *("--aspect-weight", "kind=4", "--aspect-weight", "colour=1", "--aspect-weight", "design=5"),
]
RECIPE = [*KIND, *COLOUR, *DESIGN, *WEIGHTS]
VARIANTS = {
    "the recipe": [*RECIPE, *WORDS],
    "without words": RECIPE,
    "without designs": [*KIND, *COLOUR, *WORDS, *WEIGHTS],
    "without colours": [*KIND, *DESIGN, *WORDS, *WEIGHTS],
    "without contrast": [*RECIPE, *WORDS, "--contrast", "1e-6"],
    "softmax twice as warm": [*RECIPE, *WORDS, "--temperature", "0.125"],
    "cosface": [*RECIPE, *WORDS, "--loss", "cosface"],
    "one vector for all": [
        *("--column", "kind", "--column", "colour:0.5"),
        *("--column", "design:0.2", "--column", "words:0.2", "--network", "SmallNet"),
    ],
    "shufflenet_v2_x1_0": [*RECIPE, *WORDS, "--trunk", "shufflenet_v2_x1_0"],
}
"""What a run is told, beside what all are."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="A folder for the trainings.")
    parser.add_argument("--training", type=Path, required=True, help="Of training_data.py.")
    parser.add_argument("--data", type=Path, required=True, help="Folder of the zip files.")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--size", type=int, default=64, help="Side of the pictures.")
    parser.add_argument("--precision", default="bf16", help="Where the CPU is slow in it, fp32.")
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args()
    found = [
        trials.from_csv(options.data / f"{name}.csv", options.data / f"{name}.zip")
        for name in ("fashion", "grocery")
    ]
    print(f"{'':<24}" + "".join(f"{name:>9}" for name in aspects.FIGURES.values()), flush=True)
    for name in options.only:
        folder = options.runs / name.replace(" ", "-")
        if not (folder / BUNDLE).exists():
            train(folder, VARIANTS[name], options)
        values = measured(folder / BUNDLE, found)
        row = "".join(f"{values[figure]:>9.3f}" for figure in aspects.FIGURES)
        print(f"{name:<24}{row}", flush=True)


def train(folder: Path, told: list[str], options: argparse.Namespace) -> None:
    """Trains in a process of its own, so that each begins with the same seeds."""
    size = str(options.size)
    subprocess.run(
        [
            *[sys.executable, str(HOME / "manage.py"), "train_encoder", str(folder)],
            *["--data", str(options.training), "--epochs", str(options.epochs)],
            *["--sizes", size, "--precision", options.precision],
            *["--threads", str(torch.get_num_threads()), *FIXED, *told],
        ],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(HOME)},
        check=True,
    )


def measured(weights: Path, found: list[Trial]) -> dict[str, float]:
    encoder = TorchEncoder(weights)
    encode = partial(pictures.encode, encoder, name="", threads=2, progress=False)
    values: dict[str, float] = {}
    for trial in found:
        values |= trials.measure(trial, encode(trial.examples))
    return values


if __name__ == "__main__":
    main()
