"""Measures how many of the nearest items the searches find, on the shop's own data."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.db.models import QuerySet
from django.http import QueryDict
from tqdm import tqdm

from cardigan_reco import collection as collections
from cardigan_reco import conf, indexes, neighbours, recall
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.filters import Filters
from cardigan_reco.indexes import Health
from cardigan_reco.management.arguments import add_database, embeddings, seconds
from cardigan_reco.models import Embedding
from cardigan_reco.recall import IndexScan, Picture, Recall

SHARES = (0.1, 0.01, 0.001)
LOW = 2
"""The exit code when recall is below the floor."""


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ArgumentTypeError(f"{text!r} is not a number above 0 and up to 1")
    return share


def _up_to(most: int) -> Any:
    def count(text: str) -> int:
        if not text.isdecimal() or not 0 < int(text) <= most:
            raise ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most}")
        return int(text)

    return count


class Command(BaseCommand):
    help = (
        "Compares the searches of shelves with all pictures compared one by one: around pictures "
        "drawn by chance, among everything, the model's candidates(), filters of your own, and "
        "parts of the catalogue. Writes nothing, and may run on a replica. Exits with 2 when a "
        "recall is below the floor, and says what to do."
    )
    requires_system_checks = []  # What is wrong elsewhere keeps nobody from this.

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "collection",
            nargs="?",
            help="A purpose or a model's label; by default what COLLECTIONS names.",
        )
        parser.add_argument("--queries", type=_up_to(100_000), default=200, help="Pictures; 200.")
        parser.add_argument("--limit", type=_up_to(100), default=20, help="Items wanted; 20.")
        parser.add_argument("--seed", type=int, default=0, help="Another draws others; 0.")
        parser.add_argument(
            "--filter",
            action="append",
            default=[],
            metavar="FIELD=VALUE",
            help="Also among the candidates that fit, such as 'category=3&price__lte=20'; may be "
            "repeated.",
        )
        parser.add_argument(
            "--share",
            action="append",
            type=_share,
            metavar="SHARE",
            help="Also in such a part of the candidates; may be repeated; 0.1, 0.01 and 0.001, as "
            "far as they fill a page.",
        )
        parser.add_argument(
            "--floor", type=_share, default=0.95, help="What is too low, 0 to 1; 0.95."
        )
        parser.add_argument(
            "--timeout",
            type=seconds,
            default=60.0,
            help="Seconds for one comparison with all pictures; 60.",
        )
        parser.add_argument("--json", action="store_true", help="Prints JSON.")
        add_database(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        using = options["database"]
        checked = []
        try:
            for embedding, using in _chosen(options["collection"], options["database"]):
                checked.append(self._check(embedding, using, options))
        except LookupError as error:
            raise CommandError(error.args[0]) from error
        except CardiganError as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(f"Database {using!r}: {str(error).strip()}") from error
        reports = [one for one in checked if one is not None]
        if options["json"]:
            self.stdout.write(json.dumps([report for report, _low in reports], indent=1))
        if low := [text for _report, text in reports if text]:
            raise CommandError("\n".join(low), returncode=LOW)

    def _check(
        self, embedding: type[Embedding], using: str, options: dict[str, Any]
    ) -> tuple[dict[str, Any], str] | None:
        """Returns the report and, where something is too low, what that is.

        None: the table is empty, and nobody asked for this one in particular.
        """
        health = indexes.health(embedding, using=using)
        if health.state is indexes.IndexState.NO_TABLE:
            raise CommandError(f"{health.collection}: {health.hints[0]}")
        pictures = recall.sample(embedding, options["queries"], seed=options["seed"], using=using)
        if not pictures:
            empty = f"{health.collection} has no vectors yet: run encode_images."
            if options["collection"]:
                raise CommandError(empty)
            self.stderr.write(empty)
            return None
        common = {
            "limit": options["limit"],
            "timeout_seconds": options["timeout"],
            "using": using,
        }
        scan = IndexScan(embedding, self._bar(pictures, "index alone"), **common)
        alone = scan.measure() if health.serving else None
        measured = [
            recall.served(embedding, candidates, self._bar(pictures, name), name=name, **common)
            for name, candidates in _searched(embedding, using, options)
        ]
        advice = recall.advise(measured, alone, health, floor=options["floor"], scan=scan.measure)
        everything = [*([alone] if alone else []), *measured]
        low = [one for one in everything if one.recall < options["floor"]]
        if not options["json"]:
            self.stdout.write(_table(embedding, health, everything, options))
            for hint in advice:
                self.stdout.write(f"To do: {hint}")
        text = "; ".join(f"{one.recall:.3f} in {one.name}" for one in low)
        return (
            {
                **health.as_dict(),
                "ef_search": neighbours.least_ef_search(embedding),
                "floor": options["floor"],
                "seed": options["seed"],
                "measured": [one.as_dict() for one in everything],
                "advice": advice,
            },
            f"{health.collection}: recall is below {options['floor']:g}: {text}." if low else "",
        )

    def _bar(self, pictures: Sequence[Picture], name: str) -> Iterable[Picture]:
        return tqdm(pictures, desc=name, unit="query", file=self.stderr, leave=False)


def _chosen(name: str | None, database: str | None) -> list[tuple[type[Embedding], str]]:
    if name:
        return embeddings(name, database)
    purposes = conf.current().collections
    if not purposes:
        raise CommandError("COLLECTIONS names no collection. Name a model: app.Model.")
    there = dict(embeddings(None, database))
    serving = dict.fromkeys(collections.serving(purpose) for purpose in purposes)
    found = [(embedding, there[embedding]) for embedding in serving if embedding in there]
    if not found:
        raise CommandError(f"No collection of COLLECTIONS is in database {database!r}.")
    return found


def _searched(
    embedding: type[Embedding], using: str, options: dict[str, Any]
) -> Iterator[tuple[str, QuerySet[Any]]]:
    yield "everything", embedding.item_model()._base_manager.using(using)
    candidates = embedding.candidates().using(using)
    yield "candidates()", candidates
    for text in options["filter"]:
        yield text, _filtered(candidates, text)
    for share in options["share"] or SHARES:
        part = recall.stretch(candidates, share, seed=options["seed"])
        if options["share"] or part[: options["limit"] + 1].count() > options["limit"]:
            yield f"{100 * share:g}% of candidates()", part


def _filtered(candidates: QuerySet[Any], text: str) -> QuerySet[Any]:
    given = QueryDict(text)
    if not given or "=" not in text:
        raise CommandError(f"--filter {text!r} is not FIELD=VALUE, such as category=3.")
    try:
        return Filters({name: name for name in given}).apply(candidates, given)
    except (FieldDoesNotExist, FieldError) as error:
        fields = ", ".join(sorted(f.name for f in candidates.model._meta.fields))
        raise CommandError(
            f"--filter {text!r}: {error} Fields of {candidates.model._meta.label}: {fields}."
        ) from error


def _table(
    embedding: type[Embedding], health: Health, measured: Sequence[Recall], options: dict[str, Any]
) -> str:
    limit = options["limit"]
    width = max(len(one.name) for one in measured)
    index = health.serving.name if health.serving else "no index"
    lines = [
        f"{health.collection}: {health.rows:,} pictures, {index}, EF_SEARCH "
        f"{neighbours.least_ef_search(embedding)}; {measured[0].queries} queries",
        f"{'searched in':<{width}}  recall@{limit:<3} 95% interval   full pages  "
        "p50 ms  p95 ms  exact p50     p95",
    ]
    lines += [
        f"{one.name:<{width}}  {one.recall:10.4f}  {one.low:.4f}-{one.high:.4f}  "
        f"{one.full_pages:>10}  {1000 * one.searched.median:6.1f}  {1000 * one.searched.p95:6.1f}  "
        f"{1000 * one.exact.median:9.1f}  {1000 * one.exact.p95:6.1f}"
        + (f"  {one.timed_out} timed out" if one.timed_out else "")
        for one in measured
    ]
    return "\n".join(lines)
