"""From measures of agreement to a probability: a logistic regression, fitted on edited photos.

`python benchmarks/calibrate_copies.py --data ../shared/data --write` fits it anew: on edited copies
of fashion photos of the training split and of the rendered catalogue, against the pictures that are
nearest by their vectors, the same shots in other colours, and colourways.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from . import fitted
from .agreement import Agreement
from .alignment import Alignment, stretch

MAX_DEVIATION = 4.0
"""Standard deviations to which each measure is cut, so that no odd one decides alone."""
MAX_LOG_ODDS = 12.0

_MEANS, _DEVIATIONS = np.array(fitted.MEANS), np.array(fitted.DEVIATIONS)
_WEIGHTS = np.zeros((len(_MEANS) + 1,) * 2)
_WEIGHTS[np.triu_indices(len(_MEANS) + 1)] = fitted.WEIGHTS


def measures(aligned: Alignment, agreed: Agreement) -> tuple[float, ...]:
    """Returns what the probability is made of."""
    details = agreed.first_detail, agreed.second_detail
    shares = agreed.first_share, agreed.second_share
    return (
        -math.log(1.02 - min(agreed.correlation, 1.0)),
        -math.log(1.03 - max(details)),
        min(details),
        math.log1p(agreed.detail_hue / 3),
        math.log1p(agreed.most_detail_hue / 4),
        math.log1p(agreed.hue / 2),
        math.log1p(agreed.brightness / 3),
        agreed.recoloured,
        agreed.flat_difference,
        min(agreed.relative_hue, 1.0),
        math.log1p(agreed.coloured / 5),
        math.log1p(agreed.detailed / 5),
        min(max(shares), 1.0),
        math.sqrt(min(shares)),
        min(stretch(aligned.matrix, aligned.first, aligned.second), 1.2) - 1,
    )


def products(
    values: NDArray[np.float64], means: NDArray[np.float64], deviations: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns 1, the measures and their products of two, as the upper triangle of a matrix each;
    `values` has a row for each pair of pictures.
    """
    usual = np.clip((values - means) / deviations, -MAX_DEVIATION, MAX_DEVIATION)
    rows = np.hstack([np.ones((len(usual), 1)), usual])
    first, second = np.triu_indices(rows.shape[1])
    return rows[:, first] * rows[:, second]


def probability(values: tuple[float, ...]) -> float:
    """Returns the probability that two pictures with these measures are one photo."""
    usual = np.clip((np.array(values) - _MEANS) / _DEVIATIONS, -MAX_DEVIATION, MAX_DEVIATION)
    row = np.concatenate([[1.0], usual])
    log_odds = float(row @ _WEIGHTS @ row)
    return 1 / (1 + math.exp(-min(max(log_odds, -MAX_LOG_ODDS), MAX_LOG_ODDS)))
