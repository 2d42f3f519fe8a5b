"""Which threshold to report from: how often people confirmed what lies above each."""

from __future__ import annotations

import math
from typing import NamedTuple

from django.db.models import Count, Func, IntegerField, Q, QuerySet, Value

from cardigan_reco.models import DuplicateGroup, DuplicatePair, DuplicateState

THRESHOLDS = (*(step / 20 for step in range(1, 20)), 0.97, 0.99)
CONFIDENCE = 1.959964
"""Standard deviations to each side that hold 95 % of a normal distribution."""
CONFIRMED = (DuplicateState.CONFIRMED, DuplicateState.MERGED)


class Row(NamedTuple):
    """What is known of the pairs from a threshold up."""

    threshold: float
    reported: int
    """Pairs that it would report, judged or not."""
    confirmed: int
    """Of these, what people confirmed or merged."""
    dismissed: int
    precision: float | None
    """Share of the judged pairs that were confirmed; None: none was judged."""
    low: float | None
    """Ends of its 95 % interval."""
    high: float | None


def table(
    collection: str, using: str, *, within: QuerySet[DuplicateGroup] | None = None
) -> list[Row]:
    """Returns what each threshold would report, and its precision by the verdicts so far.

    `collection`: the name of its pictures, as pairs hold it. `within`: the groups whose pairs are
    counted; without it, all. One statement. The precision is of the pairs that were judged: where
    people judge the surest first, it flatters low thresholds, and says nothing of those below what
    was ever reported.
    """
    pairs = DuplicatePair.objects.using(using).filter(collection=collection)
    if within is not None:
        pairs = pairs.filter(group__in=within.using(using).order_by().values("pk"))
    bucket = Func(
        "probability",
        Value(list(THRESHOLDS)),
        function="width_bucket",
        output_field=IntegerField(),
    )
    counted = (
        pairs.annotate(bucket=bucket)
        .values_list("bucket")
        .annotate(
            reported=Count("pk"),
            confirmed=Count("pk", filter=Q(state__in=CONFIRMED)),
            dismissed=Count("pk", filter=Q(state=DuplicateState.DISMISSED)),
        )
    )
    buckets = {place: counts for place, *counts in counted}
    rows = []
    reported = confirmed = dismissed = 0
    for place in range(len(THRESHOLDS), 0, -1):
        more = buckets.get(place, (0, 0, 0))
        reported, confirmed, dismissed = (
            reported + more[0],
            confirmed + more[1],
            dismissed + more[2],
        )
        judged = confirmed + dismissed
        low, high = interval(confirmed, judged) if judged else (None, None)
        precision = confirmed / judged if judged else None
        row = Row(THRESHOLDS[place - 1], reported, confirmed, dismissed, precision, low, high)
        rows.append(row)
    return rows[::-1]


def interval(successes: int, trials: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share, by Wilson's score (1927), good for few trials as well.

    Raises ZeroDivisionError without trials.
    """
    share = successes / trials
    z2 = CONFIDENCE**2 / trials
    centre = (share + z2 / 2) / (1 + z2)
    half = CONFIDENCE / (1 + z2) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials))
    return max(0.0, centre - half), min(1.0, centre + half)
