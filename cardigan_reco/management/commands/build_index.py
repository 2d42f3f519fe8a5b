"""Builds what vector indexes are missing, or builds them anew, without stopping the shop."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from django.db import DatabaseError
from tqdm import tqdm

from cardigan_reco import indexes
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.fields import EmbeddingIndex
from cardigan_reco.indexes import Built, Listener, Progress
from cardigan_reco.management.arguments import add_database, embeddings
from cardigan_reco.models import Embedding

_UNITS = {"kB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)\s*(kB|MB|GB|TB)", text)
    if match is None or not 2**20 <= (count := int(match[1]) * _UNITS[match[2]]) < 2**41:
        raise ArgumentTypeError(f"{text!r} is not a size as PostgreSQL writes it, such as 1GB")
    return count


def _workers(text: str) -> int:
    if not text.isdecimal() or int(text) > 1024:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0 to 1024")
    return int(text)


def _links(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 1000:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 2 to 1000")
    return int(text)


def _name(text: str) -> str:
    longest = EmbeddingIndex(fields=["vector"], name="unnamed").max_name_length
    if len(text) > longest or not re.match(r"[^\W\d_]", text):
        raise ArgumentTypeError(
            f"{text!r} is not a name that a Meta can have for an index: choose one of at most "
            f"{longest} characters that begins with a letter"
        )
    return text


class Command(BaseCommand):
    help = (
        "Builds vector indexes that are not there or that a broken-off build has left invalid, "
        "while the shop goes on; indexes that are valid are left alone. Connect to PostgreSQL "
        "itself, not to PgBouncer in transaction mode."
    )
    requires_system_checks = []  # What is wrong elsewhere keeps nobody from this.

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "collection",
            nargs="?",
            help="A purpose or a model's label; by default all models whose Meta names an index.",
        )
        parser.add_argument(
            "--rebuild",
            action="store_true",
            help="Also replaces valid indexes by new ones, then vacuums their tables.",
        )
        parser.add_argument(
            "--memory",
            type=_bytes,
            help="maintenance_work_mem, such as 4GB; what the graph needs, up to 1GB.",
        )
        parser.add_argument(
            "--workers",
            type=_workers,
            help="max_parallel_maintenance_workers; the server's. 0 needs no shared memory.",
        )
        group = parser.add_argument_group("for a model whose Meta names no index yet")
        group.add_argument(
            "--name", type=_name, help="The index's name; the one that Django would choose."
        )
        group.add_argument("--m", type=_links, help="Links of a vector in the graph; 16.")
        group.add_argument(
            "--ef-construction", type=_links, help="Candidates while building; 128, at least 2 m."
        )
        add_database(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["collection"] and (options["name"] or options["m"]):
            raise CommandError("--name and --m are for one collection: name it.")
        name, using = options["collection"], options["database"]
        try:
            for embedding, using in embeddings(name, options["database"]):
                if name or indexes.declared(embedding):
                    self._build(embedding, using, options)
        except LookupError as error:
            raise CommandError(error.args[0]) from error
        except CardiganError as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(f"Database {using!r}: {str(error).strip()}") from error
        except KeyboardInterrupt:
            raise CommandError("Stopped. The shop's searches go on as before.") from None

    def _build(self, embedding: type[Embedding], using: str, options: dict[str, Any]) -> None:
        verb = indexes.rebuild if options["rebuild"] else indexes.build
        for index in indexes.chosen(
            embedding,
            using=using,
            name=options["name"],
            m=options["m"],
            ef_construction=options["ef_construction"],
        ):
            with Bar(f"{embedding._meta.label}: {index.name}", self.stderr) as bar:
                built = verb(
                    embedding,
                    index,
                    using=using,
                    memory_bytes=options["memory"],
                    workers=options["workers"],
                    listener=bar,
                )
            self._report(embedding, built)
            if not indexes.declared(embedding) and built.action != "kept":
                self.stdout.write(
                    f"Now let {embedding._meta.label}.Meta say so, and makemigrations; the "
                    f"migration finds it built:\n    indexes = [{_source(index)}]"
                )

    def _report(self, embedding: type[Embedding], built: Built) -> None:
        name = f"{embedding._meta.label}: {built.name}"
        if built.dropped:
            self.stdout.write(f"Dropped what was left behind: {', '.join(built.dropped)}.")
        if built.action == "kept":
            self.stdout.write(f"{name} is there and valid.")
            return
        before = f"{built.bytes_before / 1e6:,.1f} MB before, " if built.bytes_before else ""
        self.stdout.write(
            f"{name} {built.action} in {built.seconds:.1f} s; {before}{built.bytes / 1e6:,.1f} MB."
        )


def _source(index: Any) -> str:
    _path, _arguments, keywords = index.deconstruct()
    keywords.pop("opclasses")
    return f"EmbeddingIndex({', '.join(f'{key}={value!r}' for key, value in keywords.items())})"


class Bar(Listener):
    """A progress bar of the table's blocks, which starts anew with each phase."""

    def __init__(self, title: str, stream: OutputWrapper) -> None:
        self._stream = stream
        self._bar = tqdm(
            desc=title,
            file=stream,
            bar_format="{desc}: {percentage:3.0f}% {bar} {elapsed} {postfix}",
            total=1,
        )

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def progress(self, progress: Progress) -> None:
        self._bar.total = max(progress.total, 1)
        self._bar.n = progress.done
        told = [progress.phase] if progress.phase else []
        if progress.blockers:
            told.append(f"waits for process {', '.join(map(str, progress.blockers))} to end")
        self._bar.set_postfix_str(", ".join(told))

    def note(self, text: str) -> None:
        self._bar.clear()
        self._stream.write(text)
