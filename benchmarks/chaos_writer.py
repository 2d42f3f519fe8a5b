"""One of the shop's processes in chaos.py: creates, replaces and deletes pictures, and counts.

What the database interrupts by its own end is done again; any other error is one too many.
"""

# ruff: noqa: E402  Django is set up before its models are imported.

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import django

django.setup()

from django.core.files.base import ContentFile
from django.db import Error, InterfaceError, OperationalError, connection, transaction

import tests.celery  # noqa: F401  Where wake-ups go.
from tests.pictures import encoded, plain
from tests.testapp.catalogue.models import Product, ProductImage

ITS_OWN_ENDS = {"57P01", "57P02", "57P03"}
"""PostgreSQL's states for a backend that is told to end, a crash, and a server that starts."""


class Writer:
    """Does a number of saves at an even pace, so that they last as long as the chaos does."""

    def __init__(self, number: int, seed: int) -> None:
        self.random = random.Random(1000 * seed + number)
        self.number = number
        self.seconds: list[float] = []
        self.interrupted = 0
        self.errors: list[str] = []
        self.mine: list[int] = []
        self._pictures = 0

    def run(self, saves: int, seconds: float) -> None:
        product = self._insist(self._product)
        start = time.monotonic()
        for done in range(saves):
            time.sleep(max(0.0, start + done * seconds / saves - time.monotonic()))
            act = self.random.choices(
                [self._create, self._replace, self._save, self._delete], [40, 45, 10, 5]
            )[0]
            self._insist(self._create if len(self.mine) < 10 else act, product)

    def _insist(self, act, *arguments):
        """Does it until it works."""
        while True:
            begun = time.perf_counter()
            try:
                with transaction.atomic():
                    result = act(*arguments)
                self.seconds.append(time.perf_counter() - begun)
                return result
            except Exception as error:  # Whatever a save raises is counted against us.
                if not (isinstance(error, Error) and _is_its_own_end(error)):
                    self.errors.append(traceback.format_exc())
                    return None
                self.interrupted += 1
                connection.close()
                time.sleep(0.05)

    def _product(self) -> int:
        return Product.objects.create(title=f"of writer {self.number}").pk

    def _picture(self) -> ContentFile:
        self._pictures += 1
        red, green, blue = self.number, self._pictures // 256, self._pictures % 256
        return ContentFile(encoded(plain((40 * red, green, blue), (16, 16)), "PNG"), name="a.png")

    def _create(self, product: int) -> None:
        image = ProductImage.objects.create(product_id=product, original=self._picture())
        transaction.on_commit(lambda: self.mine.append(image.pk))

    def _replace(self, product: int) -> None:
        image = ProductImage.objects.get(pk=self.random.choice(self.mine))
        image.original = self._picture()
        image.save()

    def _save(self, product: int) -> None:
        ProductImage.objects.get(pk=self.random.choice(self.mine)).save()

    def _delete(self, product: int) -> None:
        # Not its own from now on: a commit whose answer is lost in a crash may have happened.
        pk = self.mine.pop(self.random.randrange(len(self.mine)))
        ProductImage.objects.filter(pk=pk).delete()


def _is_its_own_end(error: Error) -> bool:
    if isinstance(error, InterfaceError):  # The connection was closed under it.
        return True
    state = getattr(error.__cause__, "sqlstate", None)
    # Without a state the server wasn't there to give one.
    return isinstance(error, OperationalError) and (state is None or state in ITS_OWN_ENDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--saves", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--report", type=Path, required=True)
    options = parser.parse_args()
    writer = Writer(options.number, options.seed)
    writer.run(options.saves, options.seconds)
    report = {
        "seconds": writer.seconds,
        "interrupted": writer.interrupted,
        "errors": writer.errors,
        "pks": writer.mine,
    }
    options.report.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
