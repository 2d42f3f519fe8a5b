"""Compares encoders: figures of labelled pictures, and sheets to judge by eye."""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser
from collections.abc import Mapping
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import router
from numpy.typing import NDArray

from cardigan_reco import collection as collections
from cardigan_reco.duplicates import families
from cardigan_reco.encoders import Encoder, encoders
from cardigan_reco.encoders.torch import TorchEncoder
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.training import contact_sheet, examples, metrics, pictures, trials
from cardigan_reco.training.contact_sheet import Row, Tile
from cardigan_reco.training.examples import Example
from cardigan_reco.training.trials import Trial

NEIGHBOURS = 8

Vectors = NDArray[np.float32]


class Command(BaseCommand):
    help = (
        "Measures encoders on labelled pictures and prints one table; with --html, also a page "
        "with queries beside their nearest neighbours."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "encoders",
            nargs="+",
            metavar="ENCODER",
            help="An alias of CARDIGAN_RECO['ENCODERS'], or the path of a .safetensors file.",
        )
        parser.add_argument(
            "--data",
            type=Path,
            action="append",
            default=[],
            metavar="CSV",
            help="Labelled pictures or triplets; may be repeated, under different names.",
        )
        parser.add_argument(
            "--pictures",
            type=Path,
            help="Folder or zip file of the pictures; by default the CSV's name with .zip, else "
            "the CSV's folder.",
        )
        parser.add_argument("--split", default="val", help="Which of the CSV's rows; val.")
        parser.add_argument(
            "--collection", help="A shop's own pictures: similar, or a model's label."
        )
        parser.add_argument(
            "--copies",
            action="store_true",
            help="Also edits each picture as resellers do, and looks for what it was made from.",
        )
        parser.add_argument("--html", type=Path, help="Writes the table and contact sheets here.")
        parser.add_argument("--json", type=Path, help="Writes the figures here.")
        parser.add_argument("--queries", type=int, default=24, help="Rows of a sheet; 24.")
        parser.add_argument("--seed", type=int, default=0, help="Chooses the sheet's queries.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._compare(options)
        except (CardiganError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error

    def _compare(self, options: dict[str, Any]) -> None:
        for file in (options["html"], options["json"]):
            if file and not file.parent.is_dir():
                raise CommandError(f"{file} can't be written: there is no folder {file.parent}.")
        chosen = {name: _encoder(name) for name in options["encoders"]}
        tried = [_trial(file, options) for file in options["data"]]
        if options["collection"]:
            tried.append(_of_collection(options["collection"]))
        names = [trial.name for trial in tried]
        if doubled := {name for name in names if names.count(name) > 1}:
            raise CommandError(
                f"Several sets of pictures are called {min(doubled)}. Rename the CSV of one."
            )
        if not tried:
            raise CommandError("Give --data CSV or --collection, what to measure on.")
        figures: dict[str, dict[str, dict[str, float]]] = {}
        sections = []
        for trial in tried:
            encode = partial(
                pictures.encode,
                threads=os.cpu_count() or 1,
                progress=options["verbosity"] > 0,
            )
            vectors = {
                name: encode(encoder, trial.examples, name=name) for name, encoder in chosen.items()
            }
            measured = {name: trials.measure(trial, found) for name, found in vectors.items()}
            if options["copies"]:
                copies = trials.copied(trial, seed=options["seed"])
                for name, encoder in chosen.items():
                    found = encode(encoder, copies, name=f"{name}, copies")
                    measured[name] |= trials.measure_copies(vectors[name], found)
            figures[trial.name] = measured
            self.stdout.write(_table(trial, measured))
            if options["html"]:
                sections.append(_html_table(trial, measured))
                sections.append(_sheet(trial, vectors, options["queries"], options["seed"]))
        if options["html"]:
            title = f"Encoders compared: {', '.join(chosen)}"
            options["html"].write_text(contact_sheet.page(title, *sections), encoding="utf-8")
        if options["json"]:
            options["json"].write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _encoder(name: str) -> Encoder:
    if name.endswith(".safetensors"):
        return TorchEncoder(name)
    return encoders[name]


def _of_collection(name: str) -> Trial:
    try:
        embedding = collections.named(name)
    except LookupError as error:
        raise CommandError(error.args[0]) from error
    doubles = families.confirmed(embedding, using=router.db_for_read(embedding))
    found = examples.from_collection(embedding, doubles)
    if not found:
        raise CommandError(f"The collection {name} has no pictures.")
    return Trial(name, found)


def _trial(file: Path, options: dict[str, Any]) -> Trial:
    zipped = file.with_suffix(".zip")
    source = options["pictures"] or (zipped if zipped.exists() else file.parent)
    return trials.from_csv(file, source, split=options["split"])


def _table(trial: Trial, measured: Mapping[str, Mapping[str, float]]) -> str:
    width = max(len(name) for figures in measured.values() for name in [*figures, trial.name]) + 2
    stems = [Path(name).stem if name.endswith(".safetensors") else name for name in measured]
    names = stems if len({*stems}) == len(stems) else list(measured)
    columns = [max(7, len(name)) for name in names]
    lines = [
        f"{trial.name:<{width}}"
        + "  ".join(f"{name:>{column}}" for name, column in zip(names, columns, strict=True))
    ]
    for figure in next(iter(measured.values())):
        values = [figures[figure] for figures in measured.values()]
        cells = [f"{value:>{column}.3f}" for value, column in zip(values, columns, strict=True)]
        lines.append(f"{figure:<{width}}" + "  ".join(cells))
    return "\n".join(lines) + f"\n{len(trial.examples)} pictures\n"


def _html_table(trial: Trial, measured: Mapping[str, Mapping[str, float]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in measured)
    rows = "".join(
        f"<tr><th>{escape(figure)}</th>"
        + "".join(f"<td>{figures[figure]:.3f}</td>" for figures in measured.values())
        + "</tr>"
        for figure in next(iter(measured.values()))
    )
    return (
        f"<h2>{escape(trial.name)}: {len(trial.examples)} pictures</h2>"
        f'<div class="wide"><table><tr><td></td>{head}</tr>{rows}</table></div>'
    )


def _sheet(trial: Trial, vectors: Mapping[str, Vectors], count: int, seed: int) -> str:
    gallery = np.array([example.split == trials.GALLERY for example in trial.examples])
    queries = np.flatnonzero(~gallery)
    chosen = np.random.default_rng(seed).permutation(queries)[:count]
    found = {name: _neighbours(trial, own, chosen, gallery) for name, own in vectors.items()}
    rows = []
    for place, query in enumerate(chosen.tolist()):
        for name, neighbours in found.items():
            rows.append(
                Row(
                    _tile(trial.examples[query], f"{name}: " if len(vectors) > 1 else ""),
                    [
                        _tile(trial.examples[row], "", trial.examples[query])
                        for row in neighbours[place].tolist()
                    ],
                )
            )
    return contact_sheet.section("Queries and their nearest neighbours", rows)


def _neighbours(
    trial: Trial, vectors: Vectors, queries: NDArray[np.int64], gallery: NDArray[np.bool_]
) -> NDArray[np.int64]:
    if gallery.any():
        among = np.flatnonzero(gallery)
        return among[metrics.neighbours(vectors[queries], vectors[among], count=NEIGHBOURS)]
    # A picture is its own nearest; one more is asked for, and it is taken out.
    found = metrics.neighbours(vectors[queries], vectors, count=NEIGHBOURS + 1)
    return np.array(
        [row[row != query][:NEIGHBOURS] for row, query in zip(found, queries, strict=True)]
    )


def _tile(example: Example, prefix: str, query: Example | None = None) -> Tile:
    caption = prefix + (", ".join(example.labels.values()) or example.group or example.name)
    image = example.load(min_side=contact_sheet.SIDE)
    return Tile(image, caption, None if query is None else examples.belong(query, example))
