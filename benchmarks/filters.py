"""What a filter costs a shelf: `similar_to` within 50 % to 0.1 % of a synthetic catalogue.

`python benchmarks/filters.py --rows 100000` fills a database of its own and prints the time of 20
items within each share of the products beside the unfiltered call for the same product, turn by
turn; how many pages were full; and how many of the exact nearest were found. It needs the extra
[embedded], or a DATABASE_URL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import side_by_side
import synthetic
from django.db import connection
from side_by_side import Figure, median, p95

from cardigan_reco.recommendations import similar_to
from tests.testapp.catalogue.models import Product

WANTED = 20
SHARES = (0.5, 0.1, 0.02, 0.01, 0.001)


def main() -> None:
    parser = side_by_side.parser(__doc__, rows=20_000)
    parser.add_argument("--queries", type=int, default=200, help="Products asked for, a share.")
    parser.add_argument("--explain", action="store_true", help="Also the plan within each share.")
    options = parser.parse_args()
    figures: list[Figure] = []
    pages: dict[str, str] = {}
    with synthetic.catalogue(options.rows) as stored:
        if options.explain:
            explain(1)
        for share in SHARES:
            if share * options.rows >= WANTED:
                figures += measure(stored, share, options.queries, pages)
                if options.explain:
                    explain(share)
    notes = {
        "rows": options.rows,
        **{f"full pages, {share}": text for share, text in pages.items()},
    }
    side_by_side.show("filters", figures, notes, as_json=options.json)


def measure(
    stored: synthetic.Vectors, share: float, queries: int, pages: dict[str, str]
) -> list[Figure]:
    places = synthetic.chosen(len(stored), queries)
    products = Product.objects.in_bulk([int(place) + 1 for place in places])
    everything = Product.objects.filter(is_public=True)
    some = everything.filter(shelf__lt=round(share * synthetic.SHELVES))
    found: dict[int, list[int]] = {}

    def filtered(place: int) -> None:
        items = similar_to(products[place + 1], within=some, limit=WANTED)
        found[place] = [item.pk for item in items]

    times = side_by_side.in_turns(
        {
            "filtered": filtered,
            "unfiltered": lambda place: similar_to(
                products[place + 1], within=everything, limit=WANTED
            ),
        },
        map(int, places),
    )
    shelves = synthetic.shelf(np.arange(1, len(stored) + 1))
    allowed = shelves < round(share * synthetic.SHELVES)
    truth = synthetic.exact(stored, places, WANTED, allowed)
    answers = [found[int(place)] for place in places]
    # A product that passes the filter is left out of its own shelf, and of the truth.
    most = [min(WANTED, len(right)) for right in truth]
    full = sum(len(answer) >= wanted for answer, wanted in zip(answers, most, strict=True))
    recall = synthetic.recall(answers, truth, WANTED)
    name = f"{share:.1%}"
    pages[name] = f"{full} of {len(answers)}"
    quick, slow = times["unfiltered"], times["filtered"]
    return [
        Figure(f"{name}: p50", median(slow), median(quick), "ms", against="unfiltered"),
        Figure(f"{name}: p95", p95(slow), p95(quick), "ms", at_most=4, against="unfiltered"),
        Figure(
            f"{name}: full pages", full, len(answers), "pages", at_least=1, against="all of them"
        ),
        Figure(f"{name}: recall@20", recall, 1.0, "", at_least=0.97, against="exact"),
    ]


def explain(share: float) -> None:
    """Prints the plans of the statements of one call."""
    some = Product.objects.filter(is_public=True, shelf__lt=round(share * synthetic.SHELVES))
    product = Product.objects.get(pk=1)

    def plan(execute: Any, sql: str, parameters: Sequence[Any], many: bool, context: Any) -> Any:
        if (place := sql.find("WITH cardigan_query")) < 0:
            return execute(sql, parameters, many, context)
        result = execute(sql, parameters, many, context)
        kept = sql[place:]
        print(f"\n{share:.1%}")
        own = parameters[len(parameters) - kept.count("%s") :]
        with other.cursor() as cursor:
            cursor.execute("SELECT '[1]'::vector")
            cursor.execute("SET hnsw.iterative_scan = relaxed_order")
            cursor.execute("SET hnsw.ef_search = 50")
            cursor.execute("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) " + kept, own)
            print("\n".join(row[0] for row in cursor.fetchall()))
        return result

    other = connection.copy()
    with connection.execute_wrapper(plan):
        similar_to(product, within=some, limit=WANTED)
    other.close()


if __name__ == "__main__":
    main()
