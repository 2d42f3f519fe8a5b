"""A catalogue of vectors without pictures, large enough that its index takes a while."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from cardigan_reco.models import EncoderVersion
from tests.testapp.models import ProductImageEmbedding

TABLE = ProductImageEmbedding._meta.db_table
INDEX = "product_image_vector_hnsw"
PICTURES = 2
SHELVES = 100

Vectors = NDArray[np.float64]


def execute(statement: str, parameters: Sequence[object] = ()) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)


def value(statement: str, parameters: Sequence[object] = ()) -> object:
    """Returns the first column of the first row."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        row = cursor.fetchone()
    return row and row[0]


def clustered(rows: int, seed: int = 7) -> Vectors:
    """Returns unit vectors of 16 dimensions in loose groups of about 20."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(rows // 20, 1), 16))
    vectors = centres[random.integers(len(centres), size=rows)] + 0.4 * random.normal(
        size=(rows, 16)
    )
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def text(vector: Sequence[float] | Vectors) -> str:
    return "[" + ",".join(f"{number:.5f}" for number in vector) + "]"


def fill(vectors: Vectors, *, index: str | None = "USING hnsw (vector halfvec_ip_ops)") -> None:
    """Stores a picture for each vector, two a product, products in turn on 100 shelves.

    `index`: how the index is defined that is built then; None: there is none.
    """
    version = EncoderVersion.objects.current("default")
    rows = len(vectors)
    execute(f"DROP INDEX IF EXISTS {INDEX}")
    execute(
        "INSERT INTO catalogue_product (id, title, is_public, shelf) "
        "SELECT i, 'product ' || i, true, i %% %s FROM generate_series(1, %s) i",
        [SHELVES, rows // PICTURES],
    )
    execute(
        "INSERT INTO catalogue_productimage (id, product_id, original, caption, display_order) "
        "SELECT i, (i + 1) / 2, 'x.jpg', '', 0 FROM generate_series(1, %s) i",
        [rows],
    )
    columns = "source_id, vector, digest, encoder_version_id"
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {TABLE} ({columns}) FROM STDIN") as copy,
    ):
        for number, vector in enumerate(vectors, 1):
            copy.write_row((number, text(vector), "0" * 64, version.pk))
    if index is not None:
        execute(f"CREATE INDEX {INDEX} ON {TABLE} {index}")
    count()


def count() -> None:
    """Brings PostgreSQL's statistics up to date, which otherwise lag behind."""
    execute("SELECT pg_stat_force_next_flush()")
    execute("ANALYZE")
    execute("SELECT pg_stat_clear_snapshot()")


def clear() -> None:
    """Empties the tables, and gives the embedding its index again."""
    execute(
        f"TRUNCATE {TABLE}, catalogue_productimage, catalogue_product, "
        "cardigan_reco_encoderversion CASCADE"
    )
    for name in ("", "_ccnew", "_ccold"):
        execute(f"DROP INDEX IF EXISTS {INDEX}{name}")
    execute(
        f"CREATE INDEX {INDEX} ON {TABLE} USING hnsw (vector halfvec_ip_ops) "
        "WITH (ef_construction = 128)"
    )
