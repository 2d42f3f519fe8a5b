"""What the plugin adds to the save of a product's picture, with the broker up and down.

`python benchmarks/save_overhead.py --saves 1000` times each save twice, in turns: with the hooks
active and inside `signals.paused()`. It needs the extras [celery] and [embedded], or a
DATABASE_URL, and works in a database of its own that it drops at the end.
"""

# ruff: noqa: E402  Django is set up before its models are imported.

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django

django.setup()

from django.core.files.base import ContentFile
from django.db import connection, transaction

from cardigan_reco import doorbell, encoding
from cardigan_reco.doorbell import Doorbell
from cardigan_reco.models import EncodingRequest
from cardigan_reco.signals import paused
from tests.celery import configured
from tests.pictures import encoded, plain
from tests.processes import Broker, free_port
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import ProductImageEmbedding

Context = Callable[[], AbstractContextManager[object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--saves", type=int, default=1000, help="Saves that are timed a row.")
    saves = parser.parse_args().saves
    database = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            compare(saves, Path(folder))
    finally:
        connection.creation.destroy_test_db(database, verbosity=0)


def compare(saves: int, folder: Path) -> None:
    images = create_images(saves)
    brokers = {
        "unreachable": Broker(f"redis://127.0.0.1:{free_port()}/0"),
        "reachable": Broker.in_folder(folder / "broker"),
    }
    contexts: dict[str, Context] = {
        "on its own": nullcontext,
        "in a transaction": transaction.atomic,
    }
    print(f"{saves} saves a row, medians\n")
    print("broker       save              paused ms  active ms   ratio  added ms")
    for broker_name, broker in brokers.items():
        for context_name, context in contexts.items():
            with configured(
                broker_url=broker.url, broker_transport_options=dict(broker.transport_options)
            ):
                without, active = time_saves(images, context)
            print(
                f"{broker_name:<12} {context_name:<16} {without:>10.3f} {active:>10.3f} "
                f"{active / without:>7.2f} {active - without:>9.3f}"
            )
    waiting = EncodingRequest.objects.count()
    total = sum(done.encoded for done in encoding.drain(ProductImageEmbedding, using="default"))
    rows = ProductImageEmbedding.objects.count()
    left = EncodingRequest.objects.count()
    print(f"\nAfterwards {waiting} pictures waited: {total} encoded, {left} left, {rows} vectors.")


def create_images(count: int) -> list[ProductImage]:
    product = Product.objects.create(title="mug")
    file = ContentFile(encoded(plain(size=(16, 16)), "JPEG"), name="mug.jpg")
    first = ProductImage.objects.create(product=product, original=file)
    others = [ProductImage(product=product, original=first.original.name) for _ in range(1, count)]
    return [first, *ProductImage.objects.bulk_create(others)]


def time_saves(images: list[ProductImage], context: Context) -> tuple[float, float]:
    """Returns the medians in milliseconds without and with the hooks."""
    doorbell.ring = (bell := Doorbell()).ring
    without: list[float] = []
    active: list[float] = []
    for number, image in enumerate(images):
        for is_paused in (True, False) if number % 2 else (False, True):
            # What paused() writes at its end is not timed.
            with paused() if is_paused else nullcontext():
                start = time.perf_counter()
                with context():
                    image.save()
                elapsed = time.perf_counter() - start
            (without if is_paused else active).append(elapsed * 1000)
    bell.close()
    return statistics.median(without), statistics.median(active)


if __name__ == "__main__":
    main()
