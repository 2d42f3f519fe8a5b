"""The log of a run: a line of JSON for each thing that happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

FILE = "log.jsonl"


class History:
    """What happened so far, in memory and, where a folder is given, in its file."""

    def __init__(
        self,
        folder: Path | None,
        on_scalars: Callable[[int, dict[str, float]], None] | None = None,
    ) -> None:
        """`on_scalars` is called with the step and a line's numbers."""
        self.lines: list[dict[str, object]] = []
        self._file = None if folder is None else folder / FILE
        self._on_scalars = on_scalars

    def add(self, step: int, epoch: int, **values: object) -> None:
        """Adds a line."""
        line: dict[str, object] = {"step": step, "epoch": epoch, **values}
        self.lines.append(line)
        if self._file is None:
            return
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._on_scalars is not None:
            self._on_scalars(step, dict(_numbers(values)))

    def resume(self, lines: list[dict[str, object]]) -> None:
        """Goes back to these lines; later ones of the file will be written again."""
        self.lines = lines
        if self._file is not None:
            text = "".join(json.dumps(line) + "\n" for line in lines)
            self._file.write_text(text, encoding="utf-8")


def _numbers(values: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    """Yields a line's numbers; those of a dict below its name."""
    for name, value in values.items():
        if isinstance(value, float):
            yield name, value
        elif isinstance(value, Mapping):
            yield from ((f"{name}/{key}", number) for key, number in _numbers(value))
