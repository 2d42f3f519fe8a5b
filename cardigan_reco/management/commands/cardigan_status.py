"""Says how the encoding goes, for people and for monitoring systems."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandParser
from django.db import DEFAULT_DB_ALIAS, Error

from cardigan_reco import __version__, collection, status
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.heartbeats import Worker
from cardigan_reco.lookout import Lookout, side_by_side, silence
from cardigan_reco.management import arguments
from cardigan_reco.status import CollectionStatus, Level, Limits, Problem, Status

UNKNOWN = 3
"""The exit code with which monitoring systems say that nothing is known."""


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number >= 0:  # Nothing is overdue by more than "nan".
        raise ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


class Command(BaseCommand):
    help = (
        "Says what waits, since when, how fast it is encoded, what failed, which workers are "
        "there, and how the indexes are. It ends with 0 if all is well, 1 for a warning, 2 if "
        "something is critical, and 3 if it is called wrongly."
    )
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        # argparse ends with 2, which would say that something is critical.
        parser.exit = _exit  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print it as JSON.")
        arguments.add_database(parser, "By default all that collections are written to.")
        parser.add_argument(
            "--warn-overdue",
            type=_seconds,
            metavar="SECONDS",
            help="How long a picture may be overdue: CARDIGAN_RECO['HEALTH']['OVERDUE_SECONDS'].",
        )
        parser.add_argument(
            "--critical-overdue", type=_seconds, metavar="SECONDS", help="Six times as long."
        )
        parser.add_argument(
            "--warn-dead", type=_count, metavar="N", help="From so many dead pictures on: 1."
        )
        parser.add_argument(
            "--warn-unusable",
            type=_count,
            metavar="N",
            help="From so many pictures on whose file is missing or bad: 100.",
        )
        parser.add_argument(
            "--workers",
            type=_count,
            metavar="N",
            help="How many should be there: CARDIGAN_RECO['HEALTH']['WORKERS'].",
        )
        arguments.add_timeout(
            parser, "How long it may take to ask the databases: 50. Monitoring often waits for 60."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        answers = _ask(options)
        if options["json"]:
            told = [_as_dict(using, answer) for using, answer in answers.items()]
            self.stdout.write(json.dumps(told if len(told) > 1 else told[0], indent=2))
        else:
            self.stdout.write("\n".join(_lines(list(answers.values()))))
        if level := max(answer.level for answer in answers.values()):
            sys.exit(level)


def _ask(options: dict[str, Any]) -> dict[str, Status | Problem]:
    """Returns how each database is, or why that can't be known; they are asked side by side."""
    chosen, seconds = options["database"], options["timeout"]
    databases = [chosen] if chosen else collection.databases() or [DEFAULT_DB_ALIAS]
    lookouts = {
        using: Lookout(partial(_look, using, options), "cardigan-status") for using in databases
    }
    answers: dict[str, Status | Problem] = {}
    for using, answer in side_by_side(lookouts, seconds):
        try:
            answers[using] = answer()
        except TimeoutError:
            answers[using] = _unknown(silence(using, seconds))
        except Error as error:
            answers[using] = _unknown(
                f"Database {using!r} can't be read. See that it runs and is migrated: {error}"
            )
        except (ImproperlyConfigured, CardiganError) as error:
            answers[using] = _unknown(str(error))
    return answers


def _look(using: str, options: dict[str, Any]) -> Status:
    return status.of(using, _limits(options))


def _unknown(text: str) -> Problem:
    return Problem(Level.CRITICAL, " ".join(text.split()))


def _as_dict(using: str, answer: Status | Problem) -> dict[str, Any]:
    if isinstance(answer, Status):
        return answer.as_dict()
    return {
        "level": answer.level.name.lower(),
        "database": using,
        "release": __version__,
        "problems": [answer.as_dict()],
    }


def _exit(status: int = 0, message: str | None = None) -> NoReturn:
    if message:
        sys.stderr.write(message)
    sys.exit(UNKNOWN if status else 0)


def _limits(options: dict[str, Any]) -> Limits:
    limits = Limits.default()
    if (seconds := options["warn_overdue"]) is not None:
        limits = replace(
            limits, overdue_warning_seconds=seconds, overdue_critical_seconds=6 * seconds
        )
    given = {
        "overdue_critical_seconds": options["critical_overdue"],
        "dead": options["warn_dead"],
        "unusable": options["warn_unusable"],
        "workers": options["workers"],
    }
    return replace(limits, **{key: value for key, value in given.items() if value is not None})


def _lines(answers: Sequence[Status | Problem]) -> Iterator[str]:
    read = [answer for answer in answers if isinstance(answer, Status)]
    problems = [answer for answer in answers if isinstance(answer, Problem)]
    problems += [problem for answer in read for problem in answer.problems]
    # That no worker is there, each database says.
    problems = sorted(dict.fromkeys(problems), key=lambda problem: -problem.level)
    # Monitoring systems show the first line.
    yield _problem(problems[0]) if problems else f"{Level.OK.name}: all is well."
    yield from (_problem(problem) for problem in problems[1:])
    if not read:
        return
    for answer in read:
        for one in answer.collections:
            yield ""
            yield one.collection if len(answers) == 1 else f"{one.collection} in {answer.database}"
            yield from _collection(one)
    yield ""
    workers = {(worker.name, worker.pid): worker for answer in read for worker in answer.workers}
    yield from (_worker(worker) for worker in workers.values())
    if not workers:
        yield "No worker was seen within a day."
    if (broker := read[0].broker) is not None:
        answers_it = "answers" if broker.answers else "doesn't answer"
        yield f"Broker {broker.url} {answers_it}."


def _problem(problem: Problem) -> str:
    return f"{problem.level.name}: {problem.text}"


def _collection(one: CollectionStatus) -> Iterator[str]:
    waits = one.backlog
    yield f"  encoder     {_encoder(one)}"
    yield (
        f"  queue       {waits.waiting} waiting, {waits.retrying} of them after a failure; "
        f"{waits.leased} leased"
    )
    yield (
        f"  oldest      {waits.oldest_seconds:.0f} s since it was saved, "
        f"{waits.overdue_seconds:.0f} s overdue"
    )
    yield (
        f"  rate        {one.per_second_1:.2f} pictures/s in the last minute, "
        f"{one.per_second_5:.2f} in the last five"
    )
    yield (f"  given up    {waits.missing} missing, {waits.bad_image} bad_image, {waits.dead} dead")
    if (error := one.last_error) is not None:
        when = f"{error.at:%Y-%m-%d %H:%M:%S %Z}"
        yield f"  last error  {error.state} {error.source_pk}, {when}: {error.text}"
    yield f"  index       {_index(one)}"


def _encoder(one: CollectionStatus) -> str:
    encoder = one.encoder
    if encoder.problem:
        return f"{encoder.alias}: {encoder.problem}"
    state = encoder.fingerprint[:8] if encoder.fingerprint else "not used yet"
    if encoder.rows is None:
        return f"{encoder.alias} {state}; too many vectors to count in time"
    total = sum(encoder.rows.values())
    return f"{encoder.alias} {state}; {total} vectors, {encoder.stale} of other states"


def _index(one: CollectionStatus) -> str:
    if (locking := one.index.locking_build) is not None:
        return f"one is being built by process {locking.pid}, {locking.read:.0%} read; writes wait"
    if (building := one.index.building) is not None:
        return f"{building.name} is being built, {building.building or 0:.0%} read"
    return one.index.state.name.lower().replace("_", " ")


def _worker(worker: Worker) -> str:
    queues = ", ".join(worker.queues)
    seen = f"seen {worker.silent_seconds:.0f} s ago"
    return f"Worker {worker.name} ({worker.pid}) of {queues}: {seen}"
