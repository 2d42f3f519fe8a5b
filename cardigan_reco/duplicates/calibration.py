"""How much each kind of evidence weighs, in logarithms of odds (0 says nothing, 2.3 ten to one).

`python benchmarks/calibrate_evidence.py --data ../shared/data` measures what similar vectors say,
on several photos of one thing against the nearest of others, and what words say, on listings with
one photo against the nearest others. What isn't measured is chosen: in a whole shop a thing has
more lookalikes than in these sets, so that similar vectors weigh a point less; what sellers do to
words on purpose isn't in them, so that differences weigh less, down to a third; and they have
neither SKUs nor listings of variants that carry one photo.
"""

from __future__ import annotations

import math

ONE_PHOTO = 3.0
"""That two listings with one photo, edited, are one thing; as long as words say nothing else."""
ONE_FILE = 3.5
"""The same of one file."""
ABOVE_LEVEL, SIMILARITY, ANOTHER_PHOTO = 10.15, 3.7, -6.5
"""Weights of how similar two pictures are, above the level of those around them and in all, and
what is added: that they show one thing."""
MAX_TWIN = 0.1
"""Probability at most that two pictures show one thing which are one shape in different colours."""

TITLES = ((0.95, 2.2), (0.8, 0.0), (0.6, -0.4), (0.0, -0.9))
"""From which likeness of the titles how much is added."""
TITLES_OF_ONE_BRAND = ((0.95, 2.2), (0.88, 0.0), (0.0, -1.5))
"""The same for listings of one brand or seller, who words what is one alike."""
SAME_BRAND, OTHER_BRAND = 0.7, -0.4
PRICES = ((0.8, 0.4), (0.5, 0.0), (0.0, -1.0))
"""From which share that the lower price is of the higher how much is added."""
SAME_SKU, OTHER_SKU = 3.0, -0.2
VARIANTS = -6.0
"""What is added instead, where the titles name different sizes, colours, materials or numbers."""


def sigmoid(logarithm_of_odds: float) -> float:
    """Returns the probability with these odds."""
    return 1 / (1 + math.exp(-logarithm_of_odds))


def log_odds(probability: float) -> float:
    """Returns the logarithm of the odds of a probability, bounded where it is 0 or 1."""
    bounded = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(bounded / (1 - bounded))


def step(steps: tuple[tuple[float, float], ...], value: float) -> float:
    """Returns what is added from the first step that the value reaches."""
    return next(added for least, added in steps if value >= least)
