"""Writes what people said of duplicates to a CSV that an encoder learns from."""

from __future__ import annotations

import csv
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cardigan_reco import collection as collections
from cardigan_reco.duplicates import labels, listings
from cardigan_reco.duplicates.labels import Label
from cardigan_reco.management.arguments import add_database

TRIPLETS, PAIRS = "triplets", "pairs"


class Command(BaseCommand):
    help = (
        "Writes the verdicts on duplicate listings to a CSV: confirmed pictures as positives, "
        "dismissed ones as hard negatives. Paths are relative to MEDIA_ROOT, as in: train_encoder "
        "FOLDER --data FILE --pictures MEDIA_ROOT --loss hinge."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="The CSV; it is overwritten.")
        parser.add_argument(
            "--form",
            choices=[TRIPLETS, PAIRS],
            default=TRIPLETS,
            help="triplets: query,positive,negative, which train_encoder reads. pairs: every "
            "verdict, first,second,same,kind,probability.",
        )
        add_database(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            shop = listings.current()
        except (LookupError, ImportError) as error:
            raise CommandError(str(error)) from error
        if shop is None:
            raise CommandError("CARDIGAN_RECO['DUPLICATES'] is not set: there are no verdicts.")
        using = options["database"] or collections.written_to(shop.embedding)
        found = list(labels.judged(shop, using=using))
        if options["form"] == PAIRS:
            rows = _write(options["file"], PAIR_COLUMNS, map(_pair, found))
        else:
            made = labels.triplets(found)
            rows = _write(
                options["file"],
                ["query", "positive", "negative"],
                ([one.query, one.positive, one.negative] for one in made),
            )
        same = sum(label.same for label in found)
        self.stdout.write(
            f"{rows} {options['form']} from {same} confirmed and {len(found) - same} dismissed "
            f"pairs of pictures, in {options['file']}."
        )
        if not rows and found:
            self.stdout.write("Triplets need verdicts of both sorts; --form pairs takes any.")


PAIR_COLUMNS = ["first", "second", "same", "kind", "probability"]


def _pair(label: Label) -> list[str]:
    return [*label.pictures, str(int(label.same)), label.kind, f"{label.probability:.4f}"]


def _write(file: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Writes the rows; returns how many. Raises CommandError when the file can't be written."""
    count = 0
    try:
        with file.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(columns)
            for row in rows:
                writer.writerow(row)
                count += 1
    except OSError as error:
        raise CommandError(f"{file} can't be written ({error.strerror}).") from error
    return count
