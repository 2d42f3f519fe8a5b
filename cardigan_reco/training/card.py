"""The model card: what a network is, what it learned from, and how good it is."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from ..encoders.bundle import Bundle
from .examples import Example
from .recipe import Recipe
from .trainer import Result


def write(
    file: Path,
    bundle: Bundle,
    recipe: Recipe,
    examples: Sequence[Example],
    result: Result,
    *,
    licence: str,
    started_from: str,
) -> None:
    """Writes the card in Markdown."""
    file.write_text(
        "\n".join(
            [
                f"# {bundle.file.path.name}: model card",
                "",
                *_network(bundle, recipe, started_from),
                *_data(examples, licence),
                *_figures(result),
            ]
        )
        + "\n",
        encoding="utf-8",
    )


def _network(bundle: Bundle, recipe: Recipe, started_from: str) -> list[str]:
    height, width = bundle.preprocessing.resize
    megabytes = bundle.file.path.stat().st_size / 1e6
    lines = [
        f"- **Network.** {bundle.network} on {bundle.trunk}, {bundle.dimensions} dimensions, "
        f"{megabytes:.1f} MB, SHA-256 {bundle.file.sha256}.",
        f"- **Input.** RGB, {width} x {height}, padded to a square with white.",
        f"- **Training.** {date.today().isoformat()}, {_version()}; from {started_from}; loss "
        f"{recipe.loss}, {recipe.epochs} epochs, batches of {recipe.batch_size}, sides "
        f"{', '.join(map(str, recipe.sizes))}, learning rate {recipe.learning_rate:g}, seed "
        f"{recipe.seed}.",
    ]
    if recipe.columns:
        columns = ", ".join(
            f"{name}{f' ({aspect})' if aspect else ''} x {weight:g}"
            for name, aspect, weight in recipe.columns
        )
        lines.append(f"- **Learned.** {columns}.")
    return lines


def _data(examples: Sequence[Example], licence: str) -> list[str]:
    counts = Counter((example.source or "pictures", example.split) for example in examples)
    parts = [f"{count} {source} ({split})" for (source, split), count in sorted(counts.items())]
    return [
        f"- **Data.** {', '.join(parts)}.",
        f"- **Licence of the data.** {licence or 'Not given: add what its owners allow.'}",
        "",
    ]


def _figures(result: Result) -> list[str]:
    if result.figures is None:
        return ["No validation split was given, so nothing is known of how good it is."]
    rows: Mapping[str, float] = result.figures.values
    return [
        f"Measured on the validation split, epoch {result.epoch}:",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value:.3f} |" for name, value in rows.items()),
        "",
        "**Good at, bad at:** look at the report's contact sheet and say it here.",
    ]


def _version() -> str:
    """Returns the package's version, with the commit where it runs from a checkout."""
    from .. import __version__

    try:
        # In a shop's virtual environment the repository is the shop's, and doesn't hold this file.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        described = _git("describe", "--always", "--dirty")
    except (OSError, subprocess.SubprocessError):
        return f"cardigan-reco {__version__}"
    return f"cardigan-reco {__version__} ({described})"


def _git(*arguments: str) -> str:
    return subprocess.run(  # noqa: S603  A command of our own, without input.
        ["git", "-C", str(Path(__file__).parent), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    ).stdout.strip()
