"""What find_duplicates costs: a full run, one after changes, and how both grow with the catalogue.

`python benchmarks/find_duplicates.py --rows 100000` fills a database of its own with listings, one
picture each, twice: a tenth of them, then all. Vectors, hashes and descriptors are those of the
example shop's catalogue, or of the pictures in `--data FOLDER`; each listing takes a vector and a
hash with some noise, and the descriptor of any picture, so that what lies near is rarely the same.
One in a hundred is a double of another. A run compares all, the next what was changed since. Files
are never read: what it costs to describe them is printed apart. It needs the extras [torch],
[duplicates] and [embedded], or a DATABASE_URL.
"""

# ruff: noqa: E402  Django is set up before its models are imported.

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django

django.setup()

import numpy as np
from django.conf import settings
from django.db import connection
from django.test.utils import override_settings
from numpy.typing import NDArray

from cardigan_reco import copies, duplicates, images
from cardigan_reco.copies import Descriptor
from cardigan_reco.fields import EF_CONSTRUCTION
from cardigan_reco.models import CopyDescriptor, DuplicatePair, EncoderVersion
from example_shop import folders
from tests import postgres

TABLE = "testapp_productimageembedding"
PICTURES = 1_000
"""Real pictures that the listings are made of."""
NOISE = 0.35
"""Length of what is added to a vector of length 1; the nearest are then as near as real ones."""
FLIPPED = 0.15
"""Share of a hash's bits that are turned."""
DOUBLES = 100
"""One in so many listings is a double of the one before it."""
BATCH = 32
RUN = "--run-here"
"""What the process is started with that a run is measured in."""


@dataclass(frozen=True)
class Base:
    """What real pictures give."""

    vectors: NDArray[np.float32]
    descriptors: list[Descriptor]
    describing_ms: float
    comparing_ms: float
    """Of a picture with the nearest other one."""


@dataclass(frozen=True)
class Result:
    """What one run cost."""

    rows: int
    run: str
    compared: int
    pairs: int
    seconds: float
    own_cpu_seconds: float
    database_cpu_seconds: float
    """Of the backend that serves the run. The clock depends on what else runs, these hardly do."""
    ms_a_picture: float
    """Of both together."""
    peak_mib: float
    """Of a process that does nothing else; Django and its database take some 60 of them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000, help="Listings; a tenth comes first.")
    parser.add_argument("--changes", type=int, help="Pictures changed; a hundredth by default.")
    parser.add_argument("--data", type=Path, default=folders.CATALOGUE, help="Real pictures.")
    parser.add_argument("--json", action="store_true", help="Print the figures as JSON.")
    options = parser.parse_args()
    base = describe(options.data)
    results = []
    for rows in (options.rows // 10, options.rows):
        with catalogue(base, rows) as random:
            results.append(run(rows, "full"))
            change(base, rows, options.changes or max(1, options.rows // 100), random)
            results.append(run(rows, "changes"))
    if options.json:
        figures = {
            "describing_ms": base.describing_ms,
            "comparing_ms": base.comparing_ms,
            "runs": [asdict(result) for result in results],
        }
        print(json.dumps(figures, indent=2))
        return
    print(f"describing a picture {base.describing_ms:.1f} ms, ", end="")
    print(f"comparing it with its nearest {base.comparing_ms:.2f} ms\n")
    print(
        "  listings  run      compared   pairs  seconds  CPU: own  database  ms a picture  peak MiB"
    )
    for one in results:
        print(
            f"{one.rows:10}  {one.run:8}{one.compared:9}{one.pairs:8}{one.seconds:9.1f}"
            f"{one.own_cpu_seconds:10.1f}{one.database_cpu_seconds:10.1f}"
            f"{one.ms_a_picture:14.2f}{one.peak_mib:10.0f}"
        )


def describe(folder: Path) -> Base:
    """Encodes and describes pictures of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".png", ".webp"})
    step = max(1, len(files) // PICTURES)
    loaded = [images.load(path.read_bytes(), min_side=copies.SIDE) for path in files[::step]]
    from cardigan_reco.encoders.torch import TorchEncoder

    encoder = TorchEncoder()
    vectors = np.concatenate(
        [encoder.encode(loaded[at : at + BATCH]) for at in range(0, len(loaded), BATCH)]
    )
    start = time.perf_counter()
    described = [copies.describe(image) for image in loaded]
    describing = time.perf_counter() - start
    near = vectors @ vectors.T
    np.fill_diagonal(near, -1)
    start = time.perf_counter()
    for place, other in enumerate(near.argmax(axis=1)):
        copies.compare(described[place], described[other])
    comparing = time.perf_counter() - start
    count = len(loaded) / 1000
    return Base(vectors, described, describing / count, comparing / count)


@contextmanager
def catalogue(base: Base, rows: int) -> Iterator[np.random.Generator]:
    """Fills a database that goes away at the end."""
    database = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    random = np.random.default_rng(1)
    dimensions = base.vectors.shape[1]
    try:
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX product_image_vector_hnsw")
            cursor.execute(f"ALTER TABLE {TABLE} ALTER COLUMN vector TYPE halfvec({dimensions})")
            cursor.execute(
                "INSERT INTO catalogue_product (id, title, is_public, shelf) "
                "SELECT i, 'product ' || i, true, 0 FROM generate_series(1, %s) i",
                [rows],
            )
            cursor.execute(
                "INSERT INTO catalogue_productimage"
                " (id, product_id, original, caption, display_order)"
                " SELECT i, i, 'x', '', 0 FROM generate_series(1, %s) i",
                [rows],
            )
            write(base, list(range(1, rows + 1)), "first", random)
            cursor.execute("SET maintenance_work_mem = '1GB'")
            cursor.execute(
                f"CREATE INDEX product_image_vector_hnsw ON {TABLE} "
                f"USING hnsw (vector halfvec_ip_ops) WITH (ef_construction = {EF_CONSTRUCTION})"
            )
            cursor.execute("VACUUM ANALYZE")
        yield random
    finally:
        connection.creation.destroy_test_db(database, verbosity=0)


def write(base: Base, keys: list[int], state: str, random: np.random.Generator) -> None:
    """Stores embeddings and descriptors for these pictures; `state` makes their digests."""
    version, _ = EncoderVersion.objects.get_or_create(
        encoder="default",
        fingerprint="synthetic",
        defaults={"backend": "none", "dimensions": base.vectors.shape[1]},
    )
    vectors, hashes = "", (0, 0)
    kept = base.descriptors[0]
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE made (source_id bigint, vector text, digest text, "
            "bits bigint, mirrored_bits bigint, data bytea)"
        )
        columns = "source_id, vector, digest, bits, mirrored_bits, data"
        with cursor.copy(f"COPY made ({columns}) FROM STDIN") as copy:
            for place, key in enumerate(keys):
                digest = hashlib.sha256(f"{state} {key}".encode()).hexdigest()
                if place % DOUBLES != 1:
                    near = random.integers(len(base.descriptors))
                    kept = base.descriptors[random.integers(len(base.descriptors))]
                    vectors = text(base.vectors[near], random)
                    bits = base.descriptors[near]
                    hashes = turned(bits.bits, random), turned(bits.mirrored_bits, random)
                copy.write_row((key, vectors, digest, *hashes, kept.data))
        cursor.execute(
            f"INSERT INTO {TABLE} (source_id, vector, digest, encoder_version_id) "
            "SELECT source_id, vector::halfvec, digest, %s FROM made "
            "ON CONFLICT (source_id) DO UPDATE SET vector = EXCLUDED.vector, "
            "digest = EXCLUDED.digest",
            [version.pk],
        )
        cursor.execute(
            f"INSERT INTO {CopyDescriptor._meta.db_table} (digest, bits, mirrored_bits, data) "
            "SELECT digest, bits, mirrored_bits, data FROM made"
        )
        cursor.execute("DROP TABLE made")


def text(vector: NDArray[np.float32], random: np.random.Generator) -> str:
    noise = random.normal(size=vector.size)
    noisy = vector + NOISE * noise / np.linalg.norm(noise)
    return "[" + ",".join(f"{value:.4f}" for value in noisy / np.linalg.norm(noisy)) + "]"


def turned(bits: int, random: np.random.Generator) -> int:
    flips = np.packbits(random.random(64) < FLIPPED).tobytes()
    return bits ^ int.from_bytes(flips, "big", signed=True)


def change(base: Base, rows: int, changes: int, random: np.random.Generator) -> None:
    """Gives some listings other pictures."""
    keys = random.choice(rows, size=min(changes, rows), replace=False) + 1
    write(base, sorted(map(int, keys)), "changed", random)


def run(rows: int, name: str) -> Result:
    """Runs find() in a process of its own, and measures it."""
    database = urlsplit(postgres.url())._replace(path=f"/{connection.settings_dict['NAME']}")
    finished = subprocess.run(
        [sys.executable, __file__, RUN],
        env={**os.environ, "DATABASE_URL": database.geturl()},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures = json.loads(finished.stdout)
    cpu_seconds = figures["own_cpu_seconds"] + figures["database_cpu_seconds"]
    return Result(
        rows=rows,
        run=name,
        pairs=DuplicatePair.objects.count(),
        ms_a_picture=round(1000 * cpu_seconds / figures["compared"], 3),
        **figures,
    )


def find() -> None:
    """Runs find() here, and prints what it took as JSON."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        backend = cursor.fetchone()[0]
    of_database, own = backend_seconds(backend), time.process_time()
    start = time.perf_counter()
    *_, progress = duplicates.find()
    figures = {
        "compared": progress.compared,
        "seconds": round(time.perf_counter() - start, 2),
        "own_cpu_seconds": round(time.process_time() - own, 2),
        "database_cpu_seconds": round(backend_seconds(backend) - of_database, 2),
        "peak_mib": peak_mib(),
    }
    print(json.dumps(figures))


def backend_seconds(pid: int) -> float:
    """Returns the CPU time of a PostgreSQL backend of this machine; of another machine's, NaN."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib() -> int:
    """Returns the most memory that this process held; getrusage() counts its parent's as well."""
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return round(int(line.split()[1]) / 1024)


if __name__ == "__main__":
    with override_settings(CARDIGAN_RECO={**settings.CARDIGAN_RECO, "DUPLICATES": {}}):
        find() if RUN in sys.argv else main()
