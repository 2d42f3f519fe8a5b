"""Encodes what waits, in the foreground: after an import, from cron, or to swap an encoder."""

from __future__ import annotations

import time
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from cardigan_reco import conf, database, doorbell, duplicates, encoding, queue, stopping, sweep
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.management.arguments import add_database, embeddings
from cardigan_reco.management.comparing import followed
from cardigan_reco.models import Embedding
from cardigan_reco.summary import Summary
from cardigan_reco.sweep import Kind, Swept

MANY = 1000
"""Vectors after which the planner's statistics are refreshed; searches choose by them."""


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


class Command(BaseCommand):
    help = (
        "Encodes pictures that have no vector yet, with a progress bar. It shares the queue with "
        "the workers, and may be stopped and started at any time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "collection", nargs="?", help="A purpose or a model's label; by default all of them."
        )
        parser.add_argument(
            "--stale",
            action="store_true",
            help="Also pictures that another state of the encoder has encoded.",
        )
        parser.add_argument(
            "--retry", action="store_true", help="Also pictures that were given up before."
        )
        parser.add_argument(
            "--sweep",
            action="store_true",
            help="Encode nothing: only look, by ranges of keys, for pictures that are missing, "
            "stale or removed and for requests of sources that are gone, for the workers.",
        )
        parser.add_argument("--batch-size", type=_positive, help="Pictures at a time.")
        parser.add_argument("--limit", type=_positive, help="Stop after this many pictures.")
        add_database(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            chosen = embeddings(options["collection"], options["database"])
        except LookupError as error:
            raise CommandError(error.args[0]) from error
        if options["sweep"]:
            if options["limit"] or options["batch_size"]:
                raise CommandError(
                    "--limit and --batch-size are of the encoding; --sweep has none."
                )
            for embedding, using in chosen:
                self._sweep(embedding, using, options)
            return
        remaining = options["limit"]
        for embedding, using in chosen:
            summary = self._encode(embedding, using, remaining, options)
            if remaining is not None:
                remaining -= summary.total
                if remaining <= 0:
                    break

    def _encode(
        self, embedding: type[Embedding], using: str, limit: int | None, options: dict[str, Any]
    ) -> Summary:
        if options["retry"]:
            queue.retry(queue.given_up(embedding, using=using))
        kinds = {Kind.MISSING, Kind.STALE} if options["stale"] else {Kind.MISSING}
        try:
            for _step in sweep.run(embedding, using=using, kinds=kinds):
                pass
            return self._drain(embedding, limit, using, options["batch_size"])
        except (CardiganError, ImproperlyConfigured) as error:
            raise CommandError(f"{embedding._meta.label}: {error}") from error

    def _sweep(self, embedding: type[Embedding], using: str, options: dict[str, Any]) -> None:
        if options["retry"]:
            queue.retry(queue.given_up(embedding, using=using))
        swept = Swept()
        try:
            with (
                stopping.at_sigterm(),
                tqdm(
                    total=sweep.estimated_sources(embedding, using=using),
                    desc=embedding._meta.label,
                    unit="source",
                    file=self.stderr,
                ) as bar,
            ):
                for step in sweep.run(embedding, using=using):
                    swept += step
                    bar.update(step.sources)
                    if step.marked:
                        doorbell.ring(using)
                    if stopping.is_asked():
                        break
        except (CardiganError, ImproperlyConfigured) as error:
            raise CommandError(f"{embedding._meta.label}: {error}") from error
        found = ", ".join(f"{swept.found[kind]} {kind}" for kind in Kind)
        self.stdout.write(f"{embedding._meta.label}: {swept.sources} sources, {found}")

    def _drain(
        self, embedding: type[Embedding], limit: int | None, using: str, batch_size: int | None
    ) -> Summary:
        waiting = queue.counts(embedding, using=using)["waiting"]
        summary = Summary()
        start = time.monotonic()
        with (
            stopping.at_sigterm(),
            tqdm(
                total=waiting if limit is None else min(waiting, limit),
                desc=embedding._meta.label,
                unit="picture",
                file=self.stderr,
            ) as bar,
        ):
            for done in encoding.drain(embedding, using=using, batch_size=batch_size, limit=limit):
                summary += done
                bar.update(done.total)
            stopped = stopping.is_asked()
        self._report(embedding, summary, time.monotonic() - start, using)
        if summary.encoded >= MANY:
            database.analyze(embedding._meta.db_table, using)
        if summary.encoded and not stopped:
            self._compare(embedding, using)
        return summary

    def _compare(self, embedding: type[Embedding], using: str) -> None:
        """Compares all at once what workers compare batch by batch: shelves come first."""
        try:
            if duplicates.are_checked(embedding):
                followed(duplicates.find(using=using), self.stderr)
        except Exception as error:  # The shop's own code has a say. The vectors are stored.
            self.stderr.write(
                f"The pictures are encoded, but not compared for duplicates: {error} "
                "find_duplicates does it, once that is mended."
            )

    def _report(
        self, embedding: type[Embedding], summary: Summary, seconds: float, using: str
    ) -> None:
        parts = [f"{summary.encoded} encoded", f"{summary.skipped} unchanged"]
        parts += [f"{summary.removed} without picture"] if summary.removed else []
        parts += [f"{summary.outdated} changed meanwhile"] if summary.outdated else []
        parts += [f"{summary.retried} to be tried again"] if summary.retried else []
        parts += [f"{count} failed ({state})" for state, count in sorted(summary.failed.items())]
        rate = summary.encoded / seconds if seconds else 0
        self.stdout.write(f"{embedding._meta.label}: {', '.join(parts)}; {rate:.1f} pictures/s")
        counts = queue.counts(embedding, using=using)
        if leased := counts[queue.State.LEASED]:
            self.stdout.write(
                f"{leased} are with another worker, or were with one that died; those are free "
                f"again within {conf.current().lease_seconds} s, for workers or another run."
            )
        if given_up := sum(counts[state] for state in queue.Failure):
            self.stdout.write(f"{given_up} are given up; --retry tries them again.")
