"""How fast vectors are stored beside a live HNSW index: a worker's batches and COPY + INSERT.

`python benchmarks/vector_writes.py --rows 100000` fills a database of its own, and stores batches
in turns: as a worker does when it has encoded them (claim, lock, write, settle, in its
transactions), and by psycopg, which copies them in binary into a temporary table and inserts from
there. New vectors come first, then others for the same pictures. Then the worker's way goes on by
itself for --seconds. It needs the extra [embedded], or a DATABASE_URL.
"""

from __future__ import annotations

import time

import numpy as np
import psycopg
import side_by_side
import synthetic
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from PIL import Image
from side_by_side import Figure, median

from cardigan_reco import conf, queue, writing
from cardigan_reco.models import EncoderVersion
from cardigan_reco.preparation import Picture
from tests.testapp.models import ProductImageEmbedding

NEEDED = 100
"""Vectors a second; VisNet's shop changes 28 pictures a second."""
PICTURE = Image.new("RGB", (1, 1))


def main() -> None:
    parser = side_by_side.parser(__doc__, rows=10_000)
    parser.add_argument("--batches", type=int, default=30, help="Of each way, new and replaced.")
    parser.add_argument("--batch-size", type=int, default=conf.current().batch_size)
    parser.add_argument("--seconds", type=float, default=10, help="Of the worker's way alone.")
    options = parser.parse_args()
    with synthetic.catalogue(options.rows):
        figures = compare(options.rows, options.batches, options.batch_size, options.seconds)
    notes = {"rows": options.rows, "vectors in a batch": options.batch_size}
    side_by_side.show("vector_writes", figures, notes, as_json=options.json)


def compare(rows: int, batches: int, size: int, seconds: float) -> list[Figure]:
    new = 2 * batches * size
    synthetic.add_products(rows + 1, rows + new)
    fresh = synthetic.vectors(rows + 2 * new)[rows:]
    version = EncoderVersion.objects.get(pk=synthetic.version_pk(synthetic.DIMENSIONS))
    raw = psycopg.connect(synthetic.address())
    register_vector(raw)
    raw.execute(
        "CREATE TEMPORARY TABLE written (source_id bigint, vector halfvec, digest text, "
        "encoder_version_id bigint)"
    )
    raw.commit()
    figures = []
    made = iter(fresh)
    for what in ("new", "replaced"):
        pks = iter(range(rows + 1, rows + new + 1))
        turns = [
            ([next(pks) for _ in range(size)], np.stack([next(made) for _ in range(size)]))
            for _ in range(2 * batches)
        ]
        mine, theirs = [], []
        for number in range(batches):
            pair = turns[2 * number : 2 * number + 2]
            for (keys, vectors), is_ours in zip(
                pair, (number % 2 == 0, number % 2 == 1), strict=True
            ):
                if is_ours:
                    queue.mark(ProductImageEmbedding, keys, using="default")
                start = time.perf_counter()
                if is_ours:
                    store(keys, vectors, version)
                else:
                    copy(raw, version.pk, keys, vectors)
                (mine if is_ours else theirs).append(time.perf_counter() - start)
        figures.append(
            Figure(
                f"{what}, in batches",
                size / median(mine),
                size / median(theirs),
                "/s",
                at_least=0.8,
                against="COPY + INSERT",
            )
        )
    raw.close()
    rate = sustained(rows, new, size, seconds, version)
    figures.append(
        Figure("replaced, sustained", rate, NEEDED, "/s", at_least=1, against="what is needed")
    )
    return figures


def store(keys: list[int], vectors: synthetic.Vectors, version: EncoderVersion) -> None:
    """Claims these pictures, the only ones that wait, and writes their vectors."""
    claims = queue.claim(ProductImageEmbedding, limit=len(keys), using="default")
    by_key = {
        int(pk): claim for pk, claim in queue.source_pks(ProductImageEmbedding, claims).items()
    }
    summary = writing.write(
        ProductImageEmbedding,
        {claim: Picture(PICTURE, "1" * 64) for claim in claims},
        {by_key[key]: vector for key, vector in zip(keys, vectors, strict=True)},
        version,
        "default",
    )
    if summary.encoded != len(keys):
        raise SystemExit(f"Of {len(keys)} vectors, these were written: {summary}")


def copy(
    raw: psycopg.Connection[tuple[object, ...]],
    version: int,
    keys: list[int],
    vectors: synthetic.Vectors,
) -> None:
    columns = "source_id, vector, digest, encoder_version_id"
    with raw.cursor() as cursor:
        with cursor.copy(f"COPY written ({columns}) FROM STDIN (FORMAT BINARY)") as rows:
            rows.set_types(["int8", "halfvec", "text", "int8"])
            for key, vector in zip(keys, vectors, strict=True):
                rows.write_row((key, HalfVector(vector), "1" * 64, version))
        cursor.execute(
            f"INSERT INTO {synthetic.TABLE} ({columns}) SELECT {columns} FROM written "
            "ON CONFLICT (source_id) DO UPDATE SET vector = EXCLUDED.vector, "
            "digest = EXCLUDED.digest, encoder_version_id = EXCLUDED.encoder_version_id, "
            "encoded_at = now()"
        )
        cursor.execute("TRUNCATE written")
    raw.commit()


def sustained(rows: int, new: int, size: int, seconds: float, version: EncoderVersion) -> float:
    """Returns how many vectors a second the worker's way replaces, marks included."""
    pool = synthetic.vectors(size * 64, seed=3)
    written, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        keys = [rows + 1 + (written + place) % new for place in range(size)]
        queue.mark(ProductImageEmbedding, keys, using="default")
        first = written % (len(pool) - size)
        store(keys, pool[first : first + size], version)
        written += size
    return written / elapsed


if __name__ == "__main__":
    main()
