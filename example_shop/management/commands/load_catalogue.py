from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from example_shop import loading
from example_shop.listings import CatalogueError

SHOWN_BAD_ROWS = 50


class Command(BaseCommand):
    help = "Brings pictures and what a CSV file says of them into the shop. Can be repeated."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("pictures", metavar="FOLDER_OR_ZIP", type=Path)
        parser.add_argument(
            "csv",
            metavar="CSV",
            type=Path,
            help="A row a picture. Columns: file, and if known product (the same for all pictures "
            "of one product), name, category, brand, colour, material, price, description, view, "
            "stock, published.",
        )
        parser.add_argument(
            "--replace",
            action="store_true",
            help="remove the products of former catalogues; those that were ordered are "
            "unpublished instead",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            outcome = loading.load(
                options["pictures"],
                options["csv"],
                replace=options["replace"],
                quiet=options["verbosity"] == 0,
            )
        except CatalogueError as error:
            raise CommandError(str(error)) from error
        for title, counts in (("Products", outcome.products), ("Pictures", outcome.pictures)):
            text = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
            self.stdout.write(f"{title}: {text or 'none'}")
        if bad := outcome.bad_rows:
            self.stderr.write(f"Rows left out: {len(bad)}")
            for row in bad[:SHOWN_BAD_ROWS]:
                self.stderr.write(f"  line {row.line}: {row.file}: {row.reason}")
            if bad[SHOWN_BAD_ROWS:]:
                self.stderr.write(f"  and {len(bad) - SHOWN_BAD_ROWS} more")
