"""How the vector indexes are: rows, dead rows, sizes, builds, and what to do."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import datetime
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils.timesince import timesince

from cardigan_reco import indexes
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.indexes import Health, Index
from cardigan_reco.lookout import Lookout, side_by_side, silence
from cardigan_reco.management import arguments


class Command(BaseCommand):
    help = (
        "Prints, for each table of vectors, its rows and dead rows, its indexes with their sizes, "
        "when it was last vacuumed, and what is to be done. Reads statistics alone, no rows."
    )
    requires_system_checks = []  # What is wrong elsewhere keeps nobody from this.

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "collection", nargs="?", help="A purpose or a model's label; by default all of them."
        )
        parser.add_argument("--json", action="store_true", help="Prints JSON.")
        arguments.add_database(parser)
        arguments.add_timeout(parser, "How long it may take to ask the databases: 50.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            found, problems = _ask(options)
        except LookupError as error:
            raise CommandError(error.args[0]) from error
        if options["json"]:
            self.stdout.write(json.dumps([one.as_dict() for one in found], indent=1))
        elif found:
            self.stdout.write("\n\n".join(_text(one) for one in found))
        if problems:
            raise CommandError("\n".join(problems))


def _ask(options: dict[str, Any]) -> tuple[list[Health], list[str]]:
    """Returns what the databases tell, side by side, and what is to be said of those that don't."""
    name, chosen, seconds = options["collection"], options["database"], options["timeout"]
    lookouts = {
        using: Lookout(partial(_look, name, chosen, using), "cardigan-index-report")
        for using in arguments.databases(name, chosen)
    }
    found: list[Health] = []
    problems = []
    for using, answer in side_by_side(lookouts, seconds):
        try:
            found += answer()
        except TimeoutError:
            problems.append(silence(using, seconds))
        except DatabaseError as error:
            problems.append(f"Database {using!r}: {error}")
        except CardiganError as error:
            problems.append(str(error))
    return found, problems


def _look(name: str | None, database: str | None, using: str) -> list[Health]:
    chosen = arguments.embeddings(name, database)
    return [indexes.health(model, using=using) for model, its in chosen if its == using]


def _text(health: Health) -> str:
    lines = [
        f"{health.collection}: {health.state.name.lower().replace('_', ' ')}",
        f"  rows      {health.rows:,} and {health.dead_rows:,} dead ({health.dead_share:.1%}), "
        f"{megabytes(health.table_bytes)}",
        *(f"  index     {_index(index)}" for index in health.indexes),
        f"  vacuumed  {_ago(health.last_vacuum)}; analysed {_ago(health.last_analyze)}",
        f"  pgvector  {health.pgvector or 'is not there'}",
        *(f"  to do     {hint}" for hint in health.hints),
    ]
    return "\n".join(lines)


def _index(index: Index) -> str:
    parts = [index.name, index.state.name.lower().replace("_", " "), megabytes(index.bytes)]
    if index.bytes_per_row is not None:
        parts.append(f"{index.bytes_per_row:,.0f} bytes a row")
    parts.append(f"{index.scans:,} scans")
    if index.building is not None:
        parts.append(f"being built, {index.building:.0%} read")
    return ", ".join(parts)


def _ago(moment: datetime | None) -> str:
    return f"{timesince(moment, depth=1)} ago" if moment else "never"


def megabytes(count: int) -> str:
    """Returns a size for people to read."""
    return f"{count / 1e6:,.1f} MB"
