"""The HTML report of a training: its curves, its figures, and pictures beside their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from . import contact_sheet, curves, metrics
from . import examples as examples_module
from .contact_sheet import Row, Tile
from .curves import Point
from .examples import Example
from .trainer import Result, Trainer

QUERIES, NEIGHBOURS = 24, 8
_POOL = 5000


def write(file: Path, trainer: Trainer, result: Result, examples: Sequence[Example]) -> None:
    """Writes the report; the contact sheet is of the validation split, or of all without one."""
    sections = [
        _summary(result),
        '<h2>Curves</h2><div class="charts">',
        curves.chart("Loss, of the training batches", {"loss": _points(result, "step", "loss")}),
        *_figure_charts(result),
        curves.chart(
            "Mean distance of random pairs: near 0 the vectors have collapsed",
            {"distance": _points(result, "mined", "mean_distance")},
        ),
        "</div>",
        contact_sheet.section(
            "Queries and their nearest neighbours", _rows(trainer, result, examples)
        ),
    ]
    file.write_text(contact_sheet.page("Training report", *sections), encoding="utf-8")


def _summary(result: Result) -> str:
    if result.figures is None:
        return "<p>There was no validation split, so nothing was measured.</p>"
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{value:.3f}</td></tr>"
        for name, value in result.figures.values.items()
    )
    return f'<p>The best epoch was {result.epoch}.</p><div class="wide"><table>{rows}</table></div>'


def _figure_charts(result: Result) -> list[str]:
    lines: dict[str, list[Point]] = {}
    for line in result.history:
        found = line.get("figures")
        if (
            line["kind"] == "epoch"
            and isinstance(found, dict)
            and isinstance(step := line["step"], int)
        ):
            for name, value in found.items():
                lines.setdefault(name, []).append((step, value))
    return [curves.chart("Figures of the validation split", lines)]


def _points(result: Result, kind: str, name: str) -> list[Point]:
    return [
        (line["step"], line[name])  # type: ignore[misc]  # the trainer writes numbers
        for line in result.history
        if line["kind"] == kind and name in line
    ]


def _rows(trainer: Trainer, result: Result, examples: Sequence[Example]) -> list[Row]:
    random = np.random.default_rng(0)
    shown = [row for row, example in enumerate(examples) if example.split == "val"]
    rows = random.permutation(shown or len(examples))[:_POOL]
    vectors = trainer.encode(result.network, rows)
    queries = np.arange(min(QUERIES, len(rows)))
    found = metrics.neighbours(vectors, count=NEIGHBOURS)[queries]
    return [
        Row(
            _tile(trainer, examples, rows[query]),
            [
                _tile(trainer, examples, rows[place], examples[rows[query]])
                for place in found[query]
            ],
        )
        for query in queries
    ]


def _tile(
    trainer: Trainer, examples: Sequence[Example], row: int, query: Example | None = None
) -> Tile:
    example = examples[row]
    caption = ", ".join(example.labels.values()) or example.group or example.name
    right = None if query is None else examples_module.belong(query, example)
    return Tile(Image.fromarray(trainer.picture(row)), caption, right)
