"""Prints how right each threshold of the duplicates report was, by the verdicts so far."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cardigan_reco import collection as collections
from cardigan_reco import conf
from cardigan_reco.duplicates import listings, thresholds
from cardigan_reco.duplicates.thresholds import Row
from cardigan_reco.management.arguments import add_database


class Command(BaseCommand):
    help = (
        "Prints, for thresholds of probability, how many pairs each would report and which share "
        "of the judged ones people confirmed, with its 95% interval."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_database(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            shop, settings = listings.current(), conf.current().duplicate_listings
        except (LookupError, ImportError) as error:
            raise CommandError(error.args[0]) from error
        if shop is None or settings is None:
            raise CommandError("CARDIGAN_RECO['DUPLICATES'] is not set: there are no verdicts.")
        using = options["database"] or collections.written_to(shop.embedding)
        rows = thresholds.table(shop.collection, using)
        self.stdout.write("threshold  reported  confirmed  dismissed  precision  95% interval")
        for row in rows:
            self.stdout.write(_line(row))
        self.stdout.write(f"MIN_PROBABILITY is {settings.min_probability}.")
        if not rows[0].confirmed + rows[0].dismissed:
            self.stdout.write("Nothing was judged yet: confirm or dismiss pairs in the admin.")


def _line(row: Row) -> str:
    counts = f"{row.threshold:9.2f}{row.reported:10}{row.confirmed:11}{row.dismissed:11}"
    if row.precision is None:
        return f"{counts}          -"
    return f"{counts}{row.precision:11.3f}  {row.low:.3f} to {row.high:.3f}"
