"""How soon a changed picture can be found: 28 saves a second on a live HNSW index.

`python benchmarks/freshness.py` fills a database of its own with --rows vectors of 512 dimensions,
starts one Celery worker with the bundled network, replaces pictures of the shop at --rate for
--seconds, and prints the time from each save to the moment when its vector is in the index. Then
it raises the rate until the backlog grows. `--full` is 100,000 vectors and ten minutes.

It needs the extras [torch], [celery] and [embedded], redis and redis-server.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import home
import numpy as np
from django.core.files.base import ContentFile
from django.db import connection, connections
from django.utils import timezone

from cardigan_reco import images
from cardigan_reco.models import EncoderVersion, EncodingRequest
from example_shop import folders
from example_shop.models import Product, ProductImage, ProductImageEmbedding
from tests.processes import RedisServer

DIMENSIONS = 512
SAVERS = 3
"""Threads that save, as several processes of a shop do."""
LOOKS_EVERY_SECONDS = 0.02
STEP = 1.25
"""From one rate to the next."""
ENCODERS = {
    "bundled": "{'BACKEND': 'cardigan_reco.encoders.torch.TorchEncoder', 'OPTIONS': {}}",
    "dummy": (
        "{'BACKEND': 'cardigan_reco.encoders.dummy.DummyEncoder', 'OPTIONS': {'dimensions': 512}}"
    ),
}
TABLE = ProductImageEmbedding._meta.db_table


@dataclass
class Watch:
    """Notes when what was saved can be found."""

    waiting: dict[int, tuple[str, float]] = field(default_factory=dict)
    """Picture -> digest and time of its save."""
    seconds: list[float] = field(default_factory=list)
    replaced: int = 0
    """Saves whose picture was replaced again before anything could see it."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    def saved(self, pk: int, digest: str, at: float) -> None:
        with self.lock:
            self.replaced += pk in self.waiting
            self.waiting[pk] = (digest, at)

    def look(self) -> None:
        while not self.closing.wait(LOOKS_EVERY_SECONDS):
            with self.lock:
                pks = list(self.waiting)
            if not pks:
                continue
            rows = dict(
                ProductImageEmbedding.objects.filter(pk__in=pks).values_list("pk", "digest")
            )
            now = time.perf_counter()
            with self.lock:
                for pk, digest in rows.items():
                    if self.waiting.get(pk, ("", 0))[0] == digest:
                        self.seconds.append(now - self.waiting.pop(pk)[1])
        connections.close_all()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, help="Vectors in the index; 10,000.")
    parser.add_argument("--seconds", type=float, help="How long the saves go on; 60.")
    parser.add_argument("--rate", type=float, default=28, help="Saves a second.")
    parser.add_argument("--encoder", choices=list(ENCODERS), default="bundled")
    parser.add_argument("--step-seconds", type=float, default=20, help="Of each higher rate.")
    parser.add_argument("--full", action="store_true", help="100,000 rows, 600 seconds.")
    parser.add_argument("--json", action="store_true", help="Print JSON in place of the table.")
    options = parser.parse_args()
    rows = options.rows or (100_000 if options.full else 10_000)
    seconds = options.seconds or (600 if options.full else 60)
    database = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    redis = RedisServer(Path(home.SCRATCH.name) / "redis.log")
    try:
        fill(rows)
        with served(redis, options.encoder):
            save_at(5, 5)  # The network is loaded, the tables are warm.
            watch = save_at(options.rate, seconds)
            figures = {
                "rows": rows,
                "saves": len(watch.seconds) + watch.replaced,
                "saves a second": options.rate,
                "p50, s": statistics.median(watch.seconds),
                "p99, s": statistics.quantiles(watch.seconds, n=100)[98],
                "longest, s": max(watch.seconds),
                "never found": len(watch.waiting),
                "of 100 newest, missed by the index": missing_from_index(100),
                "sustained, saves a second": highest(options.rate, options.step_seconds),
                "given up": EncodingRequest.objects.exclude(
                    state__in=["waiting", "leased"]
                ).count(),
            }
    finally:
        redis.stop()
        connection.creation.destroy_test_db(database, verbosity=0)
        home.SCRATCH.cleanup()
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<36}{value:>12.{2 if isinstance(value, float) else 0}f}")


def fill(rows: int) -> None:
    """Fills the catalogue with vectors in clusters, as pictures of things have them."""
    chosen = np.random.default_rng(1)
    centres = chosen.normal(size=(max(rows // 50, 1), DIMENSIONS))
    version = EncoderVersion.objects.create(
        encoder="default", fingerprint="synthetic", backend="none", dimensions=DIMENSIONS
    )
    index = ProductImageEmbedding._meta.indexes[0]
    product = Product.objects.create(name="mug", slug="mug")
    with connection.schema_editor() as editor:
        editor.remove_index(ProductImageEmbedding, index)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {ProductImage._meta.db_table} (id, product_id, original, width, height, "
            "position, alt_text) SELECT i, %s, 'x', 1, 1, 0, '' FROM generate_series(1, %s) i",
            [product.pk, rows],
        )
        columns = "source_id, vector, digest, encoder_version_id"
        with cursor.copy(f"COPY {TABLE} ({columns}) FROM STDIN") as copy:
            for pk in range(1, rows + 1):
                vector = centres[chosen.integers(len(centres))]
                vector = vector + 0.8 * chosen.normal(size=DIMENSIONS)
                vector /= np.linalg.norm(vector)
                text = "[" + ",".join(f"{value:.4f}" for value in vector) + "]"
                copy.write_row((pk, text, "0" * 64, version.pk))
        cursor.execute("SET maintenance_work_mem = '1GB'")
    with connection.schema_editor() as editor:
        editor.add_index(ProductImageEmbedding, index)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


@contextmanager
def served(redis: RedisServer, encoder: str) -> Iterator[None]:
    """Runs one worker as the README says, and sends this process' wake-ups to it."""
    scratch = Path(home.SCRATCH.name)
    (scratch / "fresh_settings.py").write_text(
        "from example_shop.settings import *\n"
        f"CARDIGAN_RECO['ENCODERS'] = {{'default': {ENCODERS[encoder]}}}\n"
        "CARDIGAN_RECO['DUPLICATES'] = None\n"
    )
    database = urlsplit(os.environ["DATABASE_URL"])
    database = database._replace(path=f"/{connection.settings_dict['NAME']}")
    from example_shop.celery import app

    app.conf.update(broker_url=redis.broker.url, broker_transport_options={})
    log = scratch / "worker.log"
    command = ["celery", "-A", "example_shop", "worker", "--pool=solo", "-Q", "cardigan"]
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", *command, "-l", "WARNING", "--without-mingle"],
            cwd=home.ROOT,
            env={
                **os.environ,
                "CELERY_BROKER_URL": redis.broker.url,
                "DATABASE_URL": database.geturl(),
                "DJANGO_SETTINGS_MODULE": "fresh_settings",
                "PYTHONPATH": os.pathsep.join([home.SCRATCH.name, str(home.ROOT)]),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
        if worker.poll() is not None:
            raise SystemExit(f"The worker ended:\n{log.read_text(errors='replace')}")
    finally:
        worker.terminate()
        worker.wait(home.PATIENCE_SECONDS)


def save_at(rate: float, seconds: float, *, until_found: bool = True) -> Watch:
    """Replaces pictures at a rate; returns when all of them are found, or don't come any more."""
    watch = Watch()
    watching = threading.Thread(target=watch.look)
    watching.start()
    start, count = time.perf_counter(), round(rate * seconds)
    files = [path.read_bytes() for path in sorted(folders.CATALOGUE.glob("*.jpg"))]
    chosen = random.Random(1)
    total = ProductImage.objects.count()
    pks = [chosen.randrange(1, total + 1) for _ in range(count)]

    def save(number: int) -> None:
        time.sleep(max(0.0, start + number / rate - time.perf_counter()))
        image = ProductImage.objects.get(pk=pks[number])
        # Bytes after the end make it another file, and the same picture.
        data = files[number % len(files)] + f"{time.time_ns()}-{number}".encode()
        at = time.perf_counter()
        watch.saved(image.pk, images.digest(data), at)
        image.original = ContentFile(data, name=f"{image.pk}.jpg")
        image.save()

    def save_share(first: int) -> None:
        try:
            for number in range(first, count, SAVERS):
                save(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(SAVERS) as pool:
        list(pool.map(save_share, range(SAVERS)))
    patience = time.monotonic() + 60
    while until_found and watch.waiting and time.monotonic() < patience:
        time.sleep(0.05)
    watch.closing.set()
    watching.join()
    return watch


def highest(rate: float, step_seconds: float) -> float:
    """Returns the highest rate at which, at its end, less than two seconds of saves wait."""
    sustained = 0.0
    while True:
        start = time.perf_counter()
        save_at(rate, step_seconds, until_found=False)
        took = time.perf_counter() - start
        backlog = EncodingRequest.objects.filter(requested_at__lte=timezone.now()).count()
        while EncodingRequest.objects.filter(state__in=["waiting", "leased"]).exists():
            time.sleep(0.1)
        # A shop that can't save so fast itself shows nothing more.
        if backlog > 2 * rate or took > 1.1 * step_seconds:
            return sustained
        sustained, rate = rate, rate * STEP


def missing_from_index(count: int) -> int:
    """Returns how many of the newest vectors a search by index doesn't find as its own nearest."""
    newest = ProductImageEmbedding.objects.order_by("-encoded_at").values_list("pk", "vector")
    missing = 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT '[1]'::vector")
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("SET hnsw.ef_search = 50")
        for pk, _vector in newest[:count]:
            # Many saves show one picture, whose vectors are equal.
            cursor.execute(
                f"SELECT count(*) FROM (SELECT vector <#> (SELECT vector FROM {TABLE} WHERE "
                f"source_id = %s) AS distance FROM {TABLE} ORDER BY vector <#> (SELECT vector "
                f"FROM {TABLE} WHERE source_id = %s) LIMIT 1) AS near WHERE distance < -0.99",
                [pk, pk],
            )
            missing += cursor.fetchone()[0] == 0
        cursor.execute("RESET ALL")
    return missing


if __name__ == "__main__":
    main()
