"""How things grow with the catalogue: a query, an insert, the index and the time to build it.

`python benchmarks/growth.py --rows 1000000 --dimensions 128` fills databases of its own with a
hundredth, a tenth and all of the rows, and prints for each what a call of `similar_to` takes, what
its SQL takes through psycopg, what storing a vector takes beside the live index, the bytes of table
and index, and the time to build it. The ratios are those to the smallest catalogue, beside those
that a growth with log n, for a query and an insert, with n, or with n log n, for building, would
have. What grows like log n from a start of its own takes as much more with each tenfold: that is
asked of a query. Pages are those of the index that a search reads, one for each vector that it
compares and each list of links: they tell its steps from the time that a step takes. It needs the
extra [embedded], or a DATABASE_URL.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
import side_by_side
import statements
import synthetic
from django.db import connection
from side_by_side import Figure, median, p95
from statements import Statement

from cardigan_reco.recommendations import similar_to
from tests.testapp.catalogue.models import Product

WANTED = 20
INSERTS = 300
NEARLY_EQUAL = 1.25
"""Of two differences of medians."""


@dataclass(frozen=True)
class Size:
    """What a catalogue of so many rows costs."""

    rows: int
    query_ms: float
    query_p95_ms: float
    search_ms: float
    """Of the statement that searches, prepared, without Django."""
    search_pages: float
    """Of the index, that it reads, each as often as it does."""
    insert_ms: float
    """Of a vector, one a transaction."""
    table_bytes: int
    index_bytes: int
    build_seconds: float
    recall: float


def main() -> None:
    parser = side_by_side.parser(__doc__, rows=10_000)
    parser.add_argument("--dimensions", type=int, default=synthetic.DIMENSIONS)
    parser.add_argument("--queries", type=int, default=300, help="Products asked for, a size.")
    options = parser.parse_args()
    sizes = [
        measure(max(options.rows // share, 100), options.dimensions, options.queries)
        for share in (100, 10, 1)
    ]
    notes: dict[str, object] = {"dimensions": options.dimensions}
    for size in sizes:
        table_mib = size.table_bytes / 2**20
        notes[f"{size.rows} rows"] = (
            f"recall@{WANTED} {size.recall:.4f}, p95 of similar_to {size.query_p95_ms:.2f} ms, "
            f"table {table_mib:.1f} MiB"
        )
    notes["sizes"] = [asdict(size) for size in sizes]
    side_by_side.show("growth", compare(sizes), notes, as_json=options.json)


def compare(sizes: list[Size]) -> list[Figure]:
    first = sizes[0]
    figures = []
    for size in sizes[1:]:
        by_log = math.log(size.rows) / math.log(first.rows)
        by_rows = size.rows / first.rows
        for what, ours, peer, unit, grown in (
            ("query, similar_to", size.query_ms, first.query_ms, "ms", by_log),
            ("query, by psycopg", size.search_ms, first.search_ms, "ms", by_log),
            ("query, pages", size.search_pages, first.search_pages, "pages", by_log),
            ("insert", size.insert_ms, first.insert_ms, "ms", by_log),
            ("index", size.index_bytes / 2**20, first.index_bytes / 2**20, "MiB", by_rows),
            ("index built in", size.build_seconds, first.build_seconds, "s", by_rows * by_log),
        ):
            figures.append(
                Figure(
                    f"{size.rows} rows: {what}",
                    ours,
                    peer,
                    unit,
                    against=f"{first.rows} rows; x {grown:.3g} expected",
                )
            )
    small, middle, large = sizes
    for what, of, unit in (
        ("query, similar_to", lambda size: size.query_ms, "ms"),
        ("query, by psycopg", lambda size: size.search_ms, "ms"),
        ("query, pages", lambda size: size.search_pages, "pages"),
    ):
        figures.append(
            Figure(
                f"{what}: added by a tenfold",
                of(large) - of(middle),
                of(middle) - of(small),
                unit,
                at_most=NEARLY_EQUAL,
                against="the tenfold before",
            )
        )
    return figures


def measure(rows: int, dimensions: int, queries: int) -> Size:
    with synthetic.catalogue(rows + INSERTS, dimensions, index=False) as stored:
        fresh = stored[rows:]
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {synthetic.TABLE} WHERE source_id > %s", [rows])
            cursor.execute("VACUUM ANALYZE")
        start = time.perf_counter()
        synthetic.build_index()
        build_seconds = time.perf_counter() - start
        places = synthetic.chosen(rows, queries)
        products = Product.objects.in_bulk([int(place) + 1 for place in places])
        within = Product.objects.filter(is_public=True)
        opened = statements.connect(synthetic.address())
        asked = {
            int(place): statements.asked(
                lambda place=place: similar_to(
                    products[int(place) + 1], within=within, limit=WANTED
                )
            )
            for place in places
        }
        found: dict[int, list[int]] = {}

        def ours(place: int) -> None:
            items = similar_to(products[place + 1], within=within, limit=WANTED)
            found[place] = [item.pk for item in items]

        times = side_by_side.in_turns(
            {"ours": ours, "psycopg": lambda place: statements.replay(opened, asked[place])},
            map(int, places),
        )
        pages = [index_pages(opened, one) for search in asked.values() for one in search]
        opened.close()
        truth = synthetic.exact(stored[:rows], places, WANTED)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_table_size(%s::regclass), pg_relation_size(%s::regclass)",
                [synthetic.TABLE, synthetic.INDEX],
            )
            table_bytes, index_bytes = cursor.fetchone()
        return Size(
            rows=rows,
            query_ms=median(times["ours"]),
            query_p95_ms=p95(times["ours"]),
            search_ms=median(times["psycopg"]),
            search_pages=median(pages),
            insert_ms=insert(fresh, rows),
            table_bytes=table_bytes,
            index_bytes=index_bytes,
            build_seconds=build_seconds,
            recall=synthetic.recall([found[int(place)] for place in places], truth, WANTED),
        )


def index_pages(opened: psycopg.Connection[Any], search: Statement) -> int:
    """Returns how many pages of the index a search reads."""
    row = opened.execute(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {search.sql}", search.parameters
    ).fetchone()
    assert row is not None
    return sum(
        node["Shared Hit Blocks"] + node["Shared Read Blocks"]
        for node in nodes(row[0][0]["Plan"])
        if node.get("Index Name") == synthetic.INDEX
    )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def insert(fresh: synthetic.Vectors, rows: int) -> float:
    """Returns the median of storing a vector in a transaction of its own, in ms."""
    version = synthetic.version_pk(fresh.shape[1])
    times = []
    with connection.cursor() as cursor:
        for key, vector in enumerate(fresh, rows + 1):
            text = synthetic.text(vector)
            start = time.perf_counter()
            cursor.execute(
                f"INSERT INTO {synthetic.TABLE} (source_id, vector, digest, encoder_version_id) "
                "VALUES (%s, %s, %s, %s)",
                [key, text, "0" * 64, version],
            )
            times.append(1000 * (time.perf_counter() - start))
    return median(times)


if __name__ == "__main__":
    main()
