"""What the commands take on their command line, and the collections that they are for then."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError

from django.db import connections

from cardigan_reco import collection as collections
from cardigan_reco.models import Embedding


def add_database(
    parser: ArgumentParser, text: str = "By default the one that a collection is written to."
) -> None:
    """Adds --database, which is None where the routers are to say it."""
    parser.add_argument("--database", choices=list(connections), help=text)


def add_timeout(parser: ArgumentParser, text: str) -> None:
    """Adds --timeout, of 50 seconds by default."""
    parser.add_argument("--timeout", type=seconds, default=50.0, metavar="SECONDS", help=text)


def embeddings(name: str | None, database: str | None) -> list[tuple[type[Embedding], str]]:
    """Returns the embedding models that a command is for, each with its database.

    `name`: a purpose or a label; None: all. Raises LookupError for another.
    """
    if name:
        models: tuple[type[Embedding], ...] = (collections.named(name),)
    else:
        models = collections.models() if database is None else collections.models_in(database)
    return [(model, database or collections.written_to(model)) for model in models]


def databases(name: str | None, database: str | None) -> list[str]:
    """Returns where the models of `embeddings()` are, in order, without asking any of them.

    Raises LookupError as that does.
    """
    if database is not None:
        return [database]
    return sorted({using for _model, using in embeddings(name, None)})


def seconds(text: str) -> float:
    """Returns a time from a millisecond to a day; raises ArgumentTypeError.

    Less than a millisecond is 0 to PostgreSQL's timeouts, and 0 is no limit.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.001 <= number <= 86_400:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds from 0.001 to 86400")
    return number
