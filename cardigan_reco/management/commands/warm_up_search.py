"""Loads what the first search by photo would load, and says how long that took."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from cardigan_reco import collection, conf, photos
from cardigan_reco.exceptions import CardiganError


class Command(BaseCommand):
    help = (
        "Encodes an empty photo twice, as a search would: in a worker, which then has the network "
        "loaded, or in this process, to see that it works and how long it takes. To warm up web "
        "processes, call cardigan_reco.photos.warm_up() when they start."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "collection", nargs="?", default="similar", help="A purpose or a model's label."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            encoder = collection.named(options["collection"]).encoder
            first, second = self._seconds(encoder), self._seconds(encoder)
        except LookupError as error:
            raise CommandError(error.args[0]) from error
        except (CardiganError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        where = conf.current().photo_search.encode_in
        self.stdout.write(
            f"Encoder {encoder!r} in a {where}: {first:.2f} s for the first photo, {second:.3f} s "
            "for the next."
        )

    def _seconds(self, encoder: str) -> float:
        start = time.perf_counter()
        photos.warm_up(encoder)
        return time.perf_counter() - start
