"""What a search finds beside what there is: the share, its interval, and both their times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from django.db import OperationalError

from cardigan_reco import database
from cardigan_reco.exceptions import IndexProblem
from cardigan_reco.models import Embedding

from .interval import wilson

QUERY_CANCELED = "57014"
SAME = 1e-6
"""Answers as near as the last of the exact ones are right too: pictures may be alike."""


@dataclass(frozen=True)
class Seconds:
    """How long a search takes."""

    median: float
    p95: float

    @classmethod
    def of(cls, measured: Sequence[float]) -> Seconds:
        ordered = sorted(measured)
        return cls(statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))])


@dataclass(frozen=True)
class Recall:
    """What a search finds, beside the exact answer."""

    name: str
    """What was searched in."""
    queries: int
    limit: int
    """Answers that were wanted of each."""
    recall: float
    """The mean share of the exact answers that it found."""
    low: float
    high: float
    """The 95 % interval; see `wilson()`."""
    full_pages: int
    """Queries that got as many answers as there are, up to the limit."""
    timed_out: int
    """Queries that SEARCH_TIMEOUT_SECONDS ended; nothing was found then."""
    searched: Seconds
    exact: Seconds

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


Near = Sequence[tuple[Any, float]]
"""Keys and their similarities, nearest first."""


@dataclass(frozen=True)
class Answers:
    """What one query brought."""

    found: Near | None
    """None: it was cancelled."""
    seconds: float


def timed(ask: Callable[[], Near]) -> Answers:
    """Returns the answers, and how long they took."""
    start = time.perf_counter()
    found = ask()
    return Answers(found, time.perf_counter() - start)


def search(ask: Callable[[], Answers]) -> Answers:
    """Returns the answers of a search, which PostgreSQL may cancel."""
    start = time.perf_counter()
    try:
        return ask()
    except OperationalError as error:
        if not _is_cancelled(error):
            raise
        return Answers(None, time.perf_counter() - start)


@contextmanager
def comparing(embedding: type[Embedding], *, timeout_seconds: float, using: str) -> Iterator[None]:
    """Opens a transaction for a comparison with all, whose statements may take so long.

    Raises IndexProblem when one takes longer.
    """
    try:
        with database.hurried(using, timeout_seconds):
            yield
    except OperationalError as error:
        if not _is_cancelled(error):
            raise
        raise IndexProblem(
            f"Comparing a picture with all of {embedding._meta.label} took longer than "
            f"{timeout_seconds:g} s. Give it more by --timeout, or ask a replica by --database."
        ) from error


def compare(name: str, limit: int, pairs: Sequence[tuple[Answers, Answers]]) -> Recall:
    """Returns the recall of searches, each beside what there is.

    Queries around which there is nothing don't count; raises IndexProblem when none is left.
    """
    pairs = [(searched, exact) for searched, exact in pairs if exact.found]
    if not pairs:
        raise IndexProblem(f"There is nothing to find in: {name}.")
    shares = [_share(searched.found or [], exact.found or []) for searched, exact in pairs]
    low, high = wilson(shares, limit)
    return Recall(
        name=name,
        queries=len(pairs),
        limit=limit,
        recall=statistics.fmean(shares),
        low=low,
        high=high,
        full_pages=sum(len(it.found or []) >= len(exact.found or []) for it, exact in pairs),
        timed_out=sum(searched.found is None for searched, _exact in pairs),
        searched=Seconds.of([searched.seconds for searched, _exact in pairs]),
        exact=Seconds.of([exact.seconds for _searched, exact in pairs]),
    )


def _share(found: Near, exact: Near) -> float:
    right = {key for key, _similarity in exact}
    # A search says 0 of all that point away, so that 0 tells nothing.
    enough = max(exact[-1][1] - SAME, 1e-9)
    return sum(key in right or similarity >= enough for key, similarity in found) / len(exact)


def _is_cancelled(error: OperationalError) -> bool:
    return getattr(error.__cause__, "sqlstate", None) == QUERY_CANCELED
