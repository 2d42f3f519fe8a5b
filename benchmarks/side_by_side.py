"""Two ways to do one thing, timed turn by turn, and the table of their ratios."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Figure:
    """What we need beside what a peer needs, and how far it should be."""

    what: str
    ours: float
    peer: float
    unit: str
    ratio: float | None = None
    """Ours through the peer's, if it is not given."""
    at_least: float | None = None
    at_most: float | None = None
    against: str = ""

    def __post_init__(self) -> None:
        if self.ratio is None:
            object.__setattr__(self, "ratio", self.ours / self.peer if self.peer else 0.0)

    @property
    def reach(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"

    @property
    def is_met(self) -> bool | None:
        """Whether it is reached; None where nothing is asked."""
        assert self.ratio is not None
        if self.at_least is not None:
            return self.ratio >= self.at_least
        return None if self.at_most is None else self.ratio <= self.at_most


def parser(description: str | None, *, rows: int | None = None) -> argparse.ArgumentParser:
    """Returns the parser that all benchmarks share."""
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    if rows is not None:
        made.add_argument("--rows", type=int, default=rows, help=f"Vectors; {rows:,} by default.")
    made.add_argument("--json", action="store_true", help="Print JSON in place of the table.")
    return made


def in_turns(
    ways: Mapping[str, Callable[[Thing], object]], things: Iterable[Thing], *, turn: int = 10
) -> dict[str, list[float]]:
    """Times each way on each thing, in milliseconds; the order changes from turn to turn.

    In a turn a way has so many things, so that what a peer leaves in the processor's caches isn't
    what is measured.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    names, rest = list(ways), list(things)
    for number, first in enumerate(range(0, len(rest), turn)):
        place = number % len(names)
        for name in names[place:] + names[:place]:
            for thing in rest[first : first + turn]:
                start = time.perf_counter()
                ways[name](thing)
                times[name].append(1000 * (time.perf_counter() - start))
    return times


def median(times: list[float]) -> float:
    return statistics.median(times)


def p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]


def show(name: str, figures: list[Figure], notes: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints the figures as a table, or as JSON with all that is known."""
    if as_json:
        rows = [
            {**asdict(figure), "reach": figure.reach, "is_met": figure.is_met} for figure in figures
        ]
        print(json.dumps({"benchmark": name, "figures": rows, "notes": dict(notes)}, indent=2))
        return
    for key, value in notes.items():
        if not isinstance(value, (list, dict)):
            shown = f"{value:.4g}" if isinstance(value, float) else value
            print(f"{key}: {shown}")
    width = max(len(figure.what) for figure in figures)
    against = max(len("against"), *(len(figure.against) for figure in figures))
    print(
        f"\n{'':<{width}}  {'ours':>10}  {'peer':>10}  {'':<9} {'against':<{against}}"
        f"  {'ratio':>7}  reach"
    )
    for figure in figures:
        met = {True: "yes", False: "NO", None: ""}[figure.is_met]
        print(
            f"{figure.what:<{width}}  {figure.ours:>10.4g}  {figure.peer:>10.4g}  "
            f"{figure.unit:<9} {figure.against:<{against}}  {figure.ratio:>7.3g}  "
            f"{figure.reach:<8} {met}"
        )
