"""What this process measures as it goes: searches, and photos that become vectors.

They are in prometheus-client's own registry, so that a shop that shows that already shows them.
"""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from cardigan_reco import conf
from cardigan_reco.exceptions import Busy, ImageError, InvalidRequest, MissingExtra

Item = TypeVar("Item")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
COUNTS = (0, 1, 2, 4, 8, 16, 24, 48, 100)

logger = logging.getLogger(__name__)


class Answer:
    """What a search has found; `number` is None until it has ended well."""

    number: int | None = None

    def of(self, items: list[Item]) -> list[Item]:
        """Notes how many items there are, and returns them."""
        self.number = len(items)
        return items


@dataclass(frozen=True)
class Instruments:
    """prometheus-client's own. Their labels have few values, whatever shoppers do."""

    searches: Any
    results: Any
    photos: Any
    shelves: Any


@contextmanager
def search(kind: str, collection: str) -> Iterator[Answer]:
    """Measures a search of that kind: "photo", "item" or "picture"."""
    answer = Answer()
    if not is_on():
        yield answer
        return
    instruments = _instruments()
    started = time.perf_counter()
    result = "failed"
    try:
        yield answer
        result = "found" if answer.number else "nothing"
        instruments.results.labels(kind, collection).observe(answer.number or 0)
    except Exception as error:
        result = _ended(error)
        raise
    finally:
        seconds = time.perf_counter() - started
        instruments.searches.labels(kind, collection, result).observe(seconds)


@contextmanager
def photo(encoded_in: str) -> Iterator[None]:
    """Measures how a photo becomes a vector, from its wait for a place on."""
    if not is_on():
        yield
        return
    started = time.perf_counter()
    result = "failed"
    try:
        yield
        result = "encoded"
    except Exception as error:
        result = _ended(error)
        raise
    finally:
        seconds = time.perf_counter() - started
        _instruments().photos.labels(encoded_in, result).observe(seconds)


def shelf(collection: str, result: str) -> None:
    """Counts a shelf by way of the cache: "held", "renewed", or "searched" without its help."""
    if is_on():
        _instruments().shelves.labels(collection, result).inc()


def is_on() -> bool:
    """Whether CARDIGAN_RECO["METRICS"] asks for it, and it can be done."""
    return conf.current().metrics and _is_installed()


@cache
def _is_installed() -> bool:
    installed = importlib.util.find_spec("prometheus_client") is not None
    if not installed:  # A shop without metrics is better than none.
        missing = MissingExtra(f"{conf.SETTING}['METRICS']", "metrics")
        logger.error("%s", missing, extra={"setting": "METRICS"})
    return installed


def _ended(error: Exception) -> str:
    if isinstance(error, Busy):
        return "busy"
    return "refused" if isinstance(error, (ImageError, InvalidRequest)) else "failed"


@cache
def _instruments() -> Instruments:
    # Imported late: it looks for PROMETHEUS_MULTIPROC_DIR just then.
    from prometheus_client import Counter, Histogram

    return Instruments(
        Histogram(
            "cardigan_search_seconds",
            "How long searches take, by what they start from and how they end.",
            ["kind", "collection", "result"],
            buckets=SECONDS,
        ),
        Histogram(
            "cardigan_search_results",
            "How many items searches find.",
            ["kind", "collection"],
            buckets=COUNTS,
        ),
        Histogram(
            "cardigan_photo_seconds",
            "How long it takes until a photo is a vector, by where that is made and how it ends.",
            ["encoded_in", "result"],
            buckets=SECONDS,
        ),
        Counter(
            "cardigan_shelves",
            "Shelves around items, by whether the cache had them.",
            ["collection", "result"],
        ),
    )
