"""Installs and removes the triggers that mark what any program writes to the shop's tables."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS

from cardigan_reco import capture
from cardigan_reco import collection as collections
from cardigan_reco.capture import Feed
from cardigan_reco.exceptions import CaptureError
from cardigan_reco.management.arguments import add_database, seconds
from cardigan_reco.models import Embedding


class Command(BaseCommand):
    help = (
        "Installs triggers on the tables with the pictures, or brings them up to date, so that "
        "the pictures of bulk_create(), update(), raw SQL and other programs are marked too."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "collection", nargs="?", help="A purpose or a model's label; by default all of them."
        )
        action = parser.add_mutually_exclusive_group()
        action.add_argument("--remove", action="store_true", help="Remove the triggers.")
        action.add_argument("--status", action="store_true", help="Only say what is installed.")
        parser.add_argument(
            "--lock-seconds",
            type=seconds,
            default=capture.LOCK_SECONDS,
            help="How long to wait for those who write the table, while others wait behind.",
        )
        add_database(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            databases = [options["database"]] if options["database"] else _databases(options)
            for using in databases:
                self._act_in(using, options)
        except LookupError as error:
            raise CommandError(error.args[0]) from error
        except CaptureError as error:
            raise CommandError(str(error)) from error

    def _act_in(self, using: str, options: dict[str, Any]) -> None:
        captured = set(capture.collections_captured(using=using))
        known = {model._meta.label_lower: model for model in collections.models_in(using)}
        name = options["collection"]
        if not name:
            labels = sorted(captured | set(known))
        elif options["remove"] and name.lower() in captured:
            labels = [name.lower()]  # Also where its model is gone.
        else:
            embedding = collections.named(name)
            labels = [embedding._meta.label_lower]
            known = {labels[0]: embedding}
        for label in labels:
            self._act(label, known.get(label), using, options)

    def _act(
        self, label: str, embedding: type[Embedding] | None, using: str, options: dict[str, Any]
    ) -> None:
        lock_seconds = options["lock_seconds"]
        if options["remove"]:
            was_there = capture.remove(label, using=using, lock_seconds=lock_seconds)
            outcome = "removed" if was_there else "not installed"
        elif embedding is None:
            outcome = (
                f"installed, but there is no such model; capture_writes {label} --remove removes it"
            )
        elif options["status"]:
            outcome = capture.state(Feed.of(embedding), using=using).value
        else:
            was_due = capture.install(Feed.of(embedding), using=using, lock_seconds=lock_seconds)
            outcome = "installed" if was_due else "installed already"
        self.stdout.write(f"{embedding._meta.label if embedding else label}: {outcome}")


def _databases(options: dict[str, Any]) -> list[str]:
    """Returns where the collections are written to; for one, also where it was."""
    everywhere, name = collections.databases() or [DEFAULT_DB_ALIAS], options["collection"]
    if not name:
        return everywhere
    captured = [
        using for using in everywhere if name.lower() in capture.collections_captured(using=using)
    ]
    return captured or [collections.written_to(collections.named(name))]
