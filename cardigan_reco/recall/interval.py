"""The interval in which a recall lies."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z = 1.96
"""Of 95 %."""


def wilson(shares: Sequence[float], limit: int) -> tuple[float, float]:
    """Returns the 95 % interval of the mean of `shares`, each of `limit` answers to one query.

    Wilson's, on the effective number of answers: those of one query are right or wrong together,
    so they count for fewer, as the spread between the queries tells (the design effect of cluster
    samples; Korn and Graubard, Survey Methodology 24, 1998). Without any spread each query counts
    for one answer only.
    """
    queries = len(shares)
    mean = math.fsum(shares) / queries
    spread = math.fsum((share - mean) ** 2 for share in shares) / max(queries - 1, 1) / queries
    count = min(mean * (1 - mean) / spread, queries * limit) if spread else float(queries)
    centre = (mean + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * math.sqrt(mean * (1 - mean) / count + Z**2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)
