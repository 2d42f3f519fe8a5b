"""Rows as CSV that a spreadsheet can open, and run nothing of."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the start of a formula."""
_INSIDE = re.compile(r'([;\t\r\n]"*)(?=[=+\-@＝＋－＠])')
"""A formula after what some spreadsheets end a cell at, whatever quotes are around it: Excel at
semicolons, where the comma is in decimals.
"""
BYTE_ORDER_MARK = "\ufeff"
"""Tells Excel that the file is UTF-8."""


class _Line:
    """A file that holds nothing: csv.writer's write() returns what this returns."""

    def write(self, text: str) -> str:
        return text


def stream(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yields the lines of the file, one a row.

    What a spreadsheet would run as a formula gets an apostrophe in front.
    """
    write = csv.writer(_Line()).writerow
    start = BYTE_ORDER_MARK
    for row in rows:
        yield start + str(write([_safe(cell) for cell in row]))
        start = ""


def _safe(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    start = "'" if cell.startswith(FORMULA) else ""
    return start + _INSIDE.sub(r"\1'", cell)
