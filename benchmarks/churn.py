"""What is still found when a fifth of the catalogue has changed: Recall@20 before, after, vacuumed.

`python benchmarks/churn.py --rows 20000` fills a database of its own with vectors of 512 dimensions
(synthetic.py says how they lie) and builds the index. Then a tenth of the products is deleted and
as many new ones come, and the pictures of another tenth are replaced, in batches as a shop's
nightly import writes them. New vectors belong to the same kinds and families as the old ones.
Before, after, and after VACUUM it measures as `check_recall` does: the index by itself, and shelves
within 100 % to 0.1 % of the products. It needs the extra [embedded], or a DATABASE_URL.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import synthetic  # Before any model: it sets Django up.
from django.db import connection, transaction

from cardigan_reco import indexes, recall
from cardigan_reco.recall import IndexScan, Recall
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import ProductImageEmbedding

SHARES = (1.0, 0.1, 0.01, 0.001)
WANTED = 20
REACH = 0.97
BATCH = 500
"""Products that one transaction changes."""
TIMEOUT_SECONDS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000, help="Products; 5,000.")
    parser.add_argument("--churn", type=float, default=0.2, help="Share that changes; 0.2.")
    parser.add_argument("--queries", type=int, default=200, help="Pictures searched around; 200.")
    parser.add_argument("--rebuild", action="store_true", help="Also after rebuilding the index.")
    parser.add_argument("--json", action="store_true", help="Print JSON in place of the table.")
    options = parser.parse_args()
    changed = round(options.churn * options.rows)
    made = synthetic.vectors(options.rows + changed)
    stages: dict[str, list[Recall]] = {}
    seconds: dict[str, float] = {}
    bytes_taken: dict[str, int] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - start
        stages[name] = measure(options.queries)
        [index] = indexes.health(ProductImageEmbedding, using="default").indexes
        bytes_taken[name] = index.bytes

    with synthetic.emptied():
        execute(f"ALTER TABLE {synthetic.TABLE} SET (autovacuum_enabled = off)")
        with stage("new"):
            synthetic.fill(made[: options.rows])
            synthetic.build_index()
            execute("VACUUM ANALYZE")
        with stage("churned"):
            churn(made[options.rows :], options.rows)
        with stage("vacuumed"):
            execute("VACUUM ANALYZE")
        if options.rebuild:
            with stage("rebuilt"):
                [index] = indexes.declared(ProductImageEmbedding)
                indexes.rebuild(ProductImageEmbedding, index, using="default")
    if options.json:
        found = {name: [one.as_dict() for one in measured] for name, measured in stages.items()}
        figures = {"rows": options.rows, "changed": changed, "stages": found}
        print(json.dumps({**figures, "seconds": seconds, "index_bytes": bytes_taken}, indent=2))
        return
    print(f"{options.rows:,} products, {changed:,} changed, {options.queries} queries a line")
    for name, measured in stages.items():
        print(f"\n{name}, {seconds[name]:.1f} s; index {bytes_taken[name] / 1e6:,.1f} MB")
        print(
            f"{'within':<26}  recall@{WANTED}  95% interval   full pages  p50 ms  p95 ms  exact p50"
        )
        for one in measured:
            print(
                f"{one.name:<26}  {one.recall:9.4f}  {one.low:.4f}-{one.high:.4f}  "
                f"{one.full_pages:>6}/{one.queries:<3}  {1000 * one.searched.median:6.1f}  "
                f"{1000 * one.searched.p95:6.1f}  {1000 * one.exact.median:9.1f}"
                f"{'' if one.recall >= REACH else f'  below {REACH}'}"
            )


def measure(queries: int) -> list[Recall]:
    """Returns the recall of the index by itself and of shelves within each share."""
    pictures = recall.sample(ProductImageEmbedding, queries, seed=1, using="default")
    scan = IndexScan(
        ProductImageEmbedding,
        pictures,
        limit=WANTED,
        timeout_seconds=TIMEOUT_SECONDS,
        using="default",
    )
    return [
        scan.measure(),
        *(
            recall.served(
                ProductImageEmbedding,
                Product.objects.filter(is_public=True, shelf__lt=round(share * synthetic.SHELVES)),
                pictures,
                name=f"{share:.1%} of the products",
                limit=WANTED,
                timeout_seconds=TIMEOUT_SECONDS,
                using="default",
            )
            for share in SHARES
        ),
    ]


def churn(vectors: synthetic.Vectors, rows: int) -> None:
    """Deletes products and adds as many with the first half of `vectors`; replaces the pictures of
    others with the second.
    """
    keys = np.random.default_rng(3).permutation(np.arange(1, rows + 1))[: len(vectors)].tolist()
    half = len(vectors) // 2
    for start in range(0, half, BATCH):
        stop = min(start + BATCH, half)
        with transaction.atomic():
            delete(keys[start:stop])
        # It copies through a connection of its own, which sees what is committed.
        synthetic.fill(vectors[start:stop], first=rows + 1 + start)
    for start in range(half, len(vectors), BATCH):
        with transaction.atomic():
            replace(keys[start : start + BATCH], vectors[start : start + BATCH])


def delete(keys: list[int]) -> None:
    for model, column in (
        (ProductImageEmbedding, "source_id"),
        (ProductImage, "id"),
        (Product, "id"),
    ):
        execute(f"DELETE FROM {model._meta.db_table} WHERE {column} = ANY(%s)", [keys])


def replace(keys: list[int], vectors: synthetic.Vectors) -> None:
    execute(
        f"UPDATE {synthetic.TABLE} SET vector = new.vector::halfvec, digest = repeat('1', 64) "
        "FROM unnest(%s::bigint[], %s::text[]) AS new (key, vector) WHERE source_id = new.key",
        [keys, [synthetic.text(vector) for vector in vectors]],
    )


def execute(statement: str, parameters: list[object] | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


if __name__ == "__main__":
    main()
