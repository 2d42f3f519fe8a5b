"""A catalogue of any size whose vectors lie as real ones do, for the benchmarks of speed.

Imported first: it sets Django up for the tests' shop, whose products have pictures and no prices.

**The vectors.** Each is the unit vector of a sum: what all pictures of a shop have in common, its
kind (one for 40 products), its family (one for 4), and itself. Each part but the first is drawn in
64 directions, whose variance falls with their number, so that neighbours differ in few ways.
Lengths and falls are such that they lie as those of the example shop's 715 pictures by an earlier
bundled encoder do. 715 of these, with the real ones in brackets: median cosine to the nearest 0.89
(0.93), to the 5th 0.84 (0.83), to the 20th 0.73 (0.73), of any two 0.37 (0.33); local intrinsic
dimension 6.3 (5.9); participation ratio 18 (25). 30,000 have 0.88, 0.83, 0.74, 0.36, 7.3 and 26.
Clusters of independent noise, whose local dimension is above 50, have no neighbours that deserve
the name.
"""

# ruff: noqa: E402  Django is set up before its models are imported.

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import server

URL = server.start()
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
DIMENSIONS = 512
os.environ.setdefault(
    "CARDIGAN_TESTS_SETTINGS",
    json.dumps(
        {
            "ALLOWED_HOSTS": ["127.0.0.1"],
            "CACHES": {
                "default": {
                    "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
                    "OPTIONS": {"MAX_ENTRIES": 100_000},
                }
            },
            "CARDIGAN_RECO": {
                "ENCODERS": {
                    "default": {
                        "BACKEND": "cardigan_reco.encoders.dummy.DummyEncoder",
                        "OPTIONS": {"dimensions": DIMENSIONS},
                    }
                },
                "COLLECTIONS": {"similar": "testapp.ProductImageEmbedding"},
            },
        }
    ),
)

import django

django.setup()

import numpy as np
import psycopg
from django.db import connection
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from cardigan_reco.models import EncoderVersion
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import ProductImageEmbedding

Vectors = NDArray[np.float32]

SHARED = 0.55
"""Length of what all pictures have in common."""
LEVELS = ((0.55, 40, 0.5), (0.5, 4, 1.5), (0.2, 1, 2.0))
"""Of each part: its length, how many products share one, and how the variance falls."""
DIRECTIONS = 64
SHELVES = 1000
"""Values of the indexed column that products are filtered by."""
TABLE = ProductImageEmbedding._meta.db_table
INDEX = ProductImageEmbedding._meta.indexes[0].name
CHUNK = 20_000


def vectors(rows: int, dimensions: int = DIMENSIONS, *, seed: int = 1) -> Vectors:
    """Returns unit vectors (rows, dimensions) that half precision holds exactly."""
    chosen = np.random.default_rng(seed)
    shared = chosen.normal(size=dimensions)
    directions = min(DIRECTIONS, dimensions)
    parts: list[tuple[Vectors, Vectors | None]] = []
    for length, share, fall in LEVELS:
        spread = np.sqrt(np.arange(1.0, directions + 1) ** -fall)
        spread /= np.linalg.norm(spread)
        turned = np.linalg.qr(chosen.normal(size=(dimensions, directions)))[0].T
        onto = (length * spread[:, None] * turned).astype(np.float32)
        centres = chosen.standard_normal((max(1, rows // share), directions), np.float32)
        parts.append((onto, centres if share > 1 else None))
    made = np.empty((rows, dimensions), np.float32)
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        chunk = np.tile((SHARED * shared / np.linalg.norm(shared)).astype(np.float32), (count, 1))
        for onto, centres in parts:
            if centres is None:
                own = chosen.standard_normal((count, directions), np.float32)
            else:
                own = centres[chosen.integers(len(centres), size=count)]
            chunk += own @ onto
        chunk /= np.linalg.norm(chunk, axis=1, keepdims=True)
        made[start : start + count] = chunk.astype(np.float16)
    return made


def exact(
    stored: Vectors, queries: Iterable[int], limit: int, allowed: Any = None
) -> list[set[int]]:
    """Returns for each row that is asked for the keys, from 1, of its nearest `limit` others.

    `allowed`: a mask of rows. Whoever is as near as the last one counts as well.
    """
    answers = []
    for row in queries:
        near = stored @ stored[row]
        near[row] = -np.inf
        if allowed is not None:
            near = np.where(allowed, near, -np.inf)
        last = np.partition(near, -limit)[-limit]
        # Half a digit of what float32 leaves of a sum over the dimensions.
        nearest = np.isfinite(near) & (near >= last - 1e-6)
        answers.append({int(place) + 1 for place in np.flatnonzero(nearest)})
    return answers


def recall(found: list[list[int]], truth: list[set[int]], limit: int) -> float:
    """Returns the share of the nearest `limit` that were found."""
    hits = sum(len(set(keys) & right) for keys, right in zip(found, truth, strict=True))
    return hits / sum(min(limit, len(right)) for right in truth)


@contextmanager
def catalogue(rows: int, dimensions: int = DIMENSIONS, *, index: bool = True) -> Iterator[Vectors]:
    """Fills a database that goes away at the end; yields the vectors.

    Product i has picture i with vector i - 1, and is on shelf i * 1000 // rows, scattered.
    """
    made = vectors(rows, dimensions)
    with emptied(dimensions):
        fill(made)
        if index:
            build_index()
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
        yield made


@contextmanager
def emptied(dimensions: int = DIMENSIONS) -> Iterator[None]:
    """Creates the tables, for vectors of that length and without their index; drops them."""
    database = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP INDEX {INDEX}")
            cursor.execute(f"ALTER TABLE {TABLE} ALTER COLUMN vector TYPE halfvec({dimensions})")
        ProductImageEmbedding._meta.get_field("vector").dimensions = dimensions
        yield
    finally:
        with connection.cursor() as cursor:
            # What an error has left open would hide it behind another.
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        connection.creation.destroy_test_db(database, verbosity=0)


def fill(made: Vectors, *, first: int = 1) -> None:
    """Stores products, their pictures and these vectors under keys from `first` on."""
    last = first + len(made) - 1
    add_products(first, last)
    columns = "source_id, vector, digest, encoder_version_id"
    version = version_pk(made.shape[1])
    with psycopg.connect(address()) as raw:
        register_vector(raw)
        with raw.cursor().copy(f"COPY {TABLE} ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "halfvec", "text", "int8"])
            for key, vector in zip(range(first, last + 1), made, strict=True):
                copy.write_row((key, HalfVector(vector), "0" * 64, version))


def add_products(first: int, last: int) -> None:
    """Stores products and pictures with these keys; their shelves are scattered over 1,000."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {Product._meta.db_table} (id, title, is_public, shelf) "
            "SELECT i, 'product ' || i, true, (i * 7919::bigint) %% %s "
            "FROM generate_series(%s, %s) i",
            [SHELVES, first, last],
        )
        cursor.execute(
            f"INSERT INTO {ProductImage._meta.db_table} "
            "(id, product_id, original, caption, display_order) "
            "SELECT i, i, 'x', '', 0 FROM generate_series(%s, %s) i",
            [first, last],
        )


def shelf(keys: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """Returns the shelves of products."""
    return (keys * 7919) % SHELVES


def version_pk(dimensions: int) -> int:
    version, _ = EncoderVersion.objects.get_or_create(
        encoder="default",
        fingerprint="synthetic",
        defaults={"backend": "none", "dimensions": dimensions},
    )
    return int(version.pk)


def text(vector: Vectors) -> str:
    """Returns a vector as PostgreSQL reads it."""
    return "[" + ("%.5g," * len(vector))[:-1] % tuple(vector.tolist()) + "]"


def build_index() -> None:
    with connection.schema_editor() as editor:
        editor.add_index(ProductImageEmbedding, ProductImageEmbedding._meta.indexes[0])


def address() -> str:
    """Returns the address of the database that is filled, for other processes and drivers."""
    return urlsplit(URL)._replace(path=f"/{connection.settings_dict['NAME']}").geturl()


def chosen(rows: int, count: int) -> NDArray[np.integer[Any]]:
    """Returns places of vectors to ask for."""
    return np.random.default_rng(2).choice(rows, size=min(count, rows), replace=False)
