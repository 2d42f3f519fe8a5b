"""What a filter costs a shelf: `similar_to` within 100 % to 0.1 % of a synthetic catalogue.

`python benchmarks/filters.py --rows 100000` fills a database of its own with two pictures a
product, 512 dimensions, and prints the time of 20 items within each share of the products, as a
ratio to the unfiltered call of the same run. It needs the extra [embedded], or a DATABASE_URL.
"""

# ruff: noqa: E402  Django is set up before its models are imported.

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django

django.setup()

import numpy as np
from django.db import connection
from django.db.models import QuerySet

from cardigan_reco.models import EncoderVersion
from cardigan_reco.recommendations import similar_to
from tests.testapp.catalogue.models import Product

DIMENSIONS = 512
SHELVES = 1000
"""Products are spread over so many values of an indexed column, by which they are filtered."""
WANTED = 20
TABLE = "testapp_productimageembedding"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000, help="Pictures in the catalogue.")
    parser.add_argument("--queries", type=int, default=40, help="Products asked for, a share.")
    options = parser.parse_args()
    database = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        fill(options.rows)
        compare(options.rows, options.queries)
    finally:
        connection.creation.destroy_test_db(database, verbosity=0)


def fill(rows: int) -> None:
    random = np.random.default_rng(1)
    centres = random.normal(size=(max(rows // 50, 1), DIMENSIONS))
    version = EncoderVersion.objects.create(
        encoder="default", fingerprint="synthetic", backend="none", dimensions=DIMENSIONS
    )
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX product_image_vector_hnsw")
        cursor.execute(f"ALTER TABLE {TABLE} ALTER COLUMN vector TYPE halfvec({DIMENSIONS})")
        cursor.execute(
            "INSERT INTO catalogue_product (id, title, is_public, shelf) "
            "SELECT i, 'product', true, i %% %s FROM generate_series(1, %s) i",
            [SHELVES, rows // 2],
        )
        cursor.execute(
            "INSERT INTO catalogue_productimage (id, product_id, original, caption, display_order)"
            " SELECT i, (i + 1) / 2, 'x', '', 0 FROM generate_series(1, %s) i",
            [rows // 2 * 2],
        )
        columns = "source_id, vector, digest, encoder_version_id"
        with cursor.copy(f"COPY {TABLE} ({columns}) FROM STDIN") as copy:
            for product in range(rows // 2):
                centre = centres[random.integers(len(centres))]
                for picture in (1, 2):
                    vector = centre + 0.8 * random.normal(size=DIMENSIONS)
                    vector /= np.linalg.norm(vector)
                    text = "[" + ",".join(f"{value:.4f}" for value in vector) + "]"
                    copy.write_row((2 * product + picture, text, "0" * 64, version.pk))
        cursor.execute("SET maintenance_work_mem = '1GB'")
        cursor.execute(
            f"CREATE INDEX product_image_vector_hnsw ON {TABLE} USING hnsw (vector halfvec_ip_ops)"
        )
        cursor.execute("VACUUM ANALYZE")


def compare(rows: int, queries: int) -> None:
    print(f"{rows} pictures, {WANTED} items wanted, {queries} queries a row\n")
    print(f"{'filter':>8}  {'p50 ms':>7}  {'p95 ms':>7}  {'ratio':>5}  full pages")
    unfiltered = None
    for share in (1, 0.5, 0.1, 0.05, 0.02, 0.01, 0.001):
        within = Product.objects.filter(shelf__lt=round(share * SHELVES))
        median, p95, full = measure(Product.objects.all() if share == 1 else within, queries)
        unfiltered = unfiltered or median
        ratio = median / unfiltered
        print(f"{share:8.1%}  {median:7.1f}  {p95:7.1f}  {ratio:5.2f}  {full} of {queries}")


def measure(within: QuerySet[Product], queries: int) -> tuple[float, float, int]:
    """Returns the median and 95th percentile in ms, and how many pages were full."""
    times, full = [], 0
    for product in Product.objects.filter(pk__in=range(1, 7 * queries, 7)):
        start = time.perf_counter()
        items = similar_to(product, within=within, limit=WANTED)
        times.append(1000 * (time.perf_counter() - start))
        full += len(items) == WANTED
    return statistics.median(times), statistics.quantiles(times, n=20)[-1], full


if __name__ == "__main__":
    main()
