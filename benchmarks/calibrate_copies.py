"""Fits the probability that two pictures are one photo; see cardigan_reco/copies/calibration.py.

`python benchmarks/calibrate_copies.py --data ../shared/data` prints, for pictures that were not
fitted on (each half by the other), what is found at which probability, and how often what is said
to be so probable is true; `--write` writes the constants. Validation pictures are never read. It
needs the extras [torch] and [duplicates], and scikit-learn.
"""

# ruff: noqa: E402  Django is set up before the package is used.

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from multiprocessing import Pool
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))
from django.conf import settings

settings.configure()
import copy_pairs
from copy_pairs import Pair
from sklearn.linear_model import LogisticRegression

from cardigan_reco.copies import calibration, comparison, fitted
from cardigan_reco.copies.description import view
from example_shop import folders

REGULARISATION = 0.03
PRECISION = 0.99
BANDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.001)

Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="Folder of the zip files.")
    parser.add_argument("--pictures", type=int, default=1500, help="Of fashion that are edited.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="Write the constants.")
    options = parser.parse_args()
    # Processes that are forked after torch has run hang: these come first.
    with Pool(2, initializer=cv2.setNumThreads, initargs=(1,)) as processes:
        pairs = [
            *copy_pairs.fashion_pairs(options.data, options.pictures, options.seed),
            *copy_pairs.home_pairs(folders.CATALOGUE, options.seed),
        ]
        measured = processes.map(measure, pairs, chunksize=100)
    seen = [place for place, values in enumerate(measured) if values is not None]
    values = np.array([measured[place] for place in seen])
    true = np.array([pair.are_copies for pair in pairs])
    folds = np.array([pairs[place].fold for place in seen])
    said = np.zeros(len(pairs))
    for fold in (0, 1):
        means, deviations, weights = fit(values[folds != fold], true[seen][folds != fold])
        rows = calibration.products(values[folds == fold], means, deviations)
        said[np.array(seen)[folds == fold]] = 1 / (1 + np.exp(-(rows @ weights)))
    report(pairs, true, said)
    if options.write:
        write(*fit(values, true[seen]))


def measure(pair: Pair) -> tuple[float, ...] | None:
    found = comparison.examine(view(pair.first.data), view(pair.second.data))
    return calibration.measures(*found) if found else None


def fit(values: Floats, true: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    means, deviations = values.mean(axis=0), values.std(axis=0)
    rows = calibration.products(values, means, deviations)
    # The products have scales of their own, which the penalty on weights must not see.
    scales = rows.std(axis=0)
    scales[0] = np.inf
    model = LogisticRegression(C=REGULARISATION, max_iter=5000).fit(rows / scales, true)
    weights = model.coef_[0] / scales
    weights[0] = model.intercept_[0]
    return means, deviations, weights


def report(pairs: Sequence[Pair], true: NDArray[np.bool_], said: Floats) -> None:
    order = np.argsort(-said, kind="stable")
    precision = np.cumsum(true[order]) / np.arange(1, len(order) + 1)
    last = int(np.flatnonzero(precision >= PRECISION)[-1])
    least = said[order[last]]
    found = np.cumsum(true[order])[last] / true.sum()
    print(f"{len(pairs)} pairs, {true.sum()} of them copies; held out by halves:")
    print(f"recall at precision {PRECISION}: {found:.4f}, from probability {least:.3f} on")
    kinds = list(dict.fromkeys(pair.kind for pair in pairs))
    print(f"\n{'kind':32}{'pairs':>7}{'>= 0.5':>9}{f'>= {least:.2f}':>9}")
    for kind in kinds:
        own = np.array([pair.kind == kind for pair in pairs])
        shares = [float((said[own] >= level).mean()) for level in (0.5, least)]
        print(f"{kind:32}{own.sum():>7}" + "".join(f"{share:>9.3f}" for share in shares))
    print(f"\n{'probability':16}{'pairs':>7}{'true':>8}")
    for low, high in pairwise(BANDS):
        own = (said >= low) & (said < high)
        print(f"{low:.2f} to {min(high, 1):.2f}{own.sum():>11}{true[own].mean():>8.3f}")


def write(means: Floats, deviations: Floats, weights: Floats) -> None:
    lines = [
        '"""The constants of calibration.py, written by benchmarks/calibrate_copies.py."""\n',
        _constant("MEANS", means, "Of each measure."),
        _constant("DEVIATIONS", deviations, "Standard deviations."),
        _constant("WEIGHTS", weights, "Of 1, the measures and their products, row by row."),
    ]
    Path(fitted.__file__).write_text("\n".join(lines))


def _constant(name: str, values: Floats, text: str) -> str:
    numbers = [f"{value:.4g}," for value in values]
    rows = [" ".join(numbers[place : place + 10]) for place in range(0, len(numbers), 10)]
    inner = "".join(f"    {row}\n" for row in rows)
    return f'{name} = (\n{inner})  # fmt: skip\n"""{text}"""\n'


if __name__ == "__main__":
    main()
