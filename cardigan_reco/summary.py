"""A summary: what became of the sources that a process took from the queue."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Summary:
    """What became of the sources that were taken from the queue."""

    encoded: int = 0
    skipped: int = 0
    """Same picture, same encoder: nothing to do."""
    removed: int = 0
    """No picture any more, so the vector went as well."""
    retried: int = 0
    """Put back to be tried again later."""
    outdated: int = 0
    """Changed or deleted meanwhile; the newer request counts."""
    failed: Counter[str] = field(default_factory=Counter)
    """By state: missing, bad_image, dead."""
    sources: list[Any] = field(default_factory=list)
    """Primary keys of those whose vectors were stored."""
    seconds: float = 0.0

    @property
    def total(self) -> int:
        done = self.encoded + self.skipped + self.removed
        return done + self.retried + self.outdated + self.failed.total()

    @property
    def results(self) -> dict[str, int]:
        """How many there are of each result that occurred."""
        counts = {
            "encoded": self.encoded,
            "skipped": self.skipped,
            "removed": self.removed,
            "retried": self.retried,
            "outdated": self.outdated,
            **self.failed,
        }
        return {result: count for result, count in counts.items() if count}

    def __add__(self, other: Summary) -> Summary:
        return Summary(
            self.encoded + other.encoded,
            self.skipped + other.skipped,
            self.removed + other.removed,
            self.retried + other.retried,
            self.outdated + other.outdated,
            self.failed + other.failed,
            self.sources + other.sources,
            self.seconds + other.seconds,
        )
