"""Finds listings that were entered twice, in the foreground: from cron, or after an import."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Model, QuerySet

from cardigan_reco import collection as collections
from cardigan_reco import duplicates
from cardigan_reco.duplicates import Progress, listings
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.management.arguments import add_database
from cardigan_reco.management.comparing import followed


def _probability(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 1:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


class Command(BaseCommand):
    help = (
        "Compares pictures that are new or have changed with all the others, and reports listings "
        "that are likely one thing. It may be stopped and started at any time, and run twice at "
        "once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--full", action="store_true", help="Compare all pictures again; verdicts are kept."
        )
        parser.add_argument(
            "--min-probability",
            type=_probability,
            help="Report pairs from this probability up, in place of the setting's.",
        )
        parser.add_argument(
            "--within",
            action="append",
            default=[],
            metavar="FIELD=VALUE[,VALUE]",
            help="Compare only pictures of items with this value, such as category=7 or pk=1,2,3, "
            "with those of all items. May be repeated: all must hold.",
        )
        parser.add_argument("--json", action="store_true", help="Print the figures as JSON.")
        add_database(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            shop = listings.current()
            chosen = None
            if shop is not None:
                options["database"] = options["database"] or collections.written_to(shop.embedding)
            if options["within"] and shop is not None:
                items = shop.embedding.item_model()._default_manager.using(options["database"])
                chosen = _within(items.all(), options["within"])
            progress = self._find(options, chosen)
        except LookupError as error:
            raise CommandError(error.args[0]) from error
        except (CardiganError, ImproperlyConfigured, ImportError) as error:
            raise CommandError(str(error)) from error
        self._report(progress, as_json=options["json"])

    def _find(self, options: dict[str, Any], chosen: QuerySet[Any] | None) -> Progress:
        found = duplicates.find(
            full=options["full"],
            within=chosen,
            min_probability=options["min_probability"],
            using=options["database"],
        )
        return followed(found, self.stderr)

    def _report(self, progress: Progress, *, as_json: bool) -> None:
        troubles = {str(trouble): count for trouble, count in sorted(progress.troubles.items())}
        if as_json:
            figures = {
                "compared": progress.compared,
                "found": progress.found,
                "gone": progress.gone,
                "troubles": troubles,
            }
            self.stdout.write(json.dumps(figures))
            return
        parts = [f"{progress.compared} pictures compared", f"{progress.found} pairs found"]
        parts += [f"{progress.gone} no longer found"] if progress.gone else []
        self.stdout.write(", ".join(parts) + ".")
        if troubles:
            of_each = ", ".join(f"{count} {trouble}" for trouble, count in troubles.items())
            self.stdout.write(f"{sum(troubles.values())} couldn't be compared yet: {of_each}.")


def _within(items: QuerySet[Any], conditions: Sequence[str]) -> QuerySet[Any]:
    """Returns the items that meet each "field=value,value"; raises CommandError."""
    for condition in conditions:
        name, equals, text = condition.partition("=")
        if not equals:
            raise CommandError(f"--within takes FIELD=VALUE, got {condition!r}.")
        fields = _fields(items.model)
        if name not in fields:
            raise CommandError(
                f"{name!r} is not a field of {items.model._meta.label}. Choices are: "
                f"{', '.join(fields)}."
            )
        try:
            values = [fields[name].to_python(value) for value in text.split(",")]
        except ValidationError as error:
            raise CommandError(f"--within {condition}: {' '.join(error.messages)}") from error
        items = items.filter(**{f"{name}__in": values})
    return items


def _fields(model: type[Model]) -> dict[str, Any]:
    """Returns what --within may name: the columns of the model, foreign keys by their keys."""
    fields = {field.name: field for field in model._meta.concrete_fields}
    targets = {name: getattr(field, "target_field", field) for name, field in fields.items()}
    return {"pk": model._meta.pk, **targets}
