"""Rows as CSV that a spreadsheet can open, and run nothing of."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the start of a formula."""
BYTE_ORDER_MARK = "\ufeff"
"""Tells Excel that the file is UTF-8."""


class _Line:
    """A file that holds nothing: csv.writer's write() returns what this returns."""

    def write(self, text: str) -> str:
        return text


def stream(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yields the lines of the file, one a row.

    Cells that a spreadsheet would run as a formula get an apostrophe in front.
    """
    write = csv.writer(_Line()).writerow
    start = BYTE_ORDER_MARK
    for row in rows:
        yield start + str(write([_safe(cell) for cell in row]))
        start = ""


def _safe(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
