"""What a shelf costs: `similar_to` beside scikit-learn's BallTree and the same SQL without us.

`python benchmarks/similar.py --rows 100000` fills a database of its own, asks for the 20 nearest
items of products, and times in turns: the call, with its items as the shop's objects; a BallTree
over the same vectors, as Project Cardigan had, without reading any item; and the statements of the
call through psycopg, prepared and in binary, on a connection that has its settings already. It
needs the extras [embedded] and [benchmarks], or a DATABASE_URL.
"""

from __future__ import annotations

import cProfile
import pstats
import time

import side_by_side
import statements
import synthetic
from side_by_side import Figure, median

from cardigan_reco.recommendations import similar_to
from tests.testapp.catalogue.models import Product

WANTED = 20


def main() -> None:
    parser = side_by_side.parser(__doc__, rows=10_000)
    parser.add_argument("--queries", type=int, default=300, help="Products asked for.")
    parser.add_argument("--tree-queries", type=int, default=40, help="Of them, by the BallTree.")
    parser.add_argument("--profile", action="store_true", help="Also where Python's time goes.")
    options = parser.parse_args()
    with synthetic.catalogue(options.rows) as stored:
        figures, notes = compare(stored, options.queries, options.tree_queries)
        if options.profile:
            profile(options.rows)
    side_by_side.show("similar", figures, notes, as_json=options.json)


def compare(
    stored: synthetic.Vectors, queries: int, tree_queries: int
) -> tuple[list[Figure], dict[str, object]]:
    places = synthetic.chosen(len(stored), queries)
    products = Product.objects.in_bulk([int(place) + 1 for place in places])
    within = Product.objects.filter(is_public=True)
    opened = statements.connect(synthetic.address())
    asked = {
        int(place): statements.asked(
            lambda place=place: similar_to(products[int(place) + 1], within=within, limit=WANTED)
        )
        for place in places
    }
    found: dict[int, list[int]] = {}

    def ours(place: int) -> None:
        items = similar_to(products[place + 1], within=within, limit=WANTED)
        found[place] = [item.pk for item in items]

    times = side_by_side.in_turns(
        {
            "similar_to": ours,
            "psycopg": lambda place: statements.replay(opened, asked[place]),
        },
        map(int, places),
    )
    opened.close()
    truth = synthetic.exact(stored, places, WANTED)
    recall = synthetic.recall([found[int(place)] for place in places], truth, WANTED)
    mine = median(times["similar_to"])
    raw = median(times["psycopg"])
    figures = [
        Figure("similar_to", mine, raw, "ms", at_most=1.5, against="psycopg, the same SQL"),
        Figure("recall@20", recall, 1.0, "", at_least=0.99, against="exact"),
    ]
    notes: dict[str, object] = {
        "rows": len(stored),
        "statements of a call": len(next(iter(asked.values()))),
        "p95 of similar_to, ms": side_by_side.p95(times["similar_to"]),
    }
    try:
        from sklearn.neighbors import BallTree
    except ImportError:
        notes["BallTree"] = "left out: scikit-learn is not installed"
        return figures, notes
    start = time.perf_counter()
    tree = BallTree(stored)
    notes["BallTree built in, s"] = time.perf_counter() - start
    times = side_by_side.in_turns(
        {
            "similar_to": ours,
            "tree": lambda place: tree.query(stored[place : place + 1], WANTED + 1),
        },
        map(int, places[:tree_queries]),
    )
    mine, theirs = median(times["similar_to"]), median(times["tree"])
    figures.insert(
        0,
        Figure(
            "similar_to, times as fast", mine, theirs, "ms", theirs / mine, 25, against="BallTree"
        ),
    )
    return figures, notes


def profile(rows: int) -> None:
    """Prints in which functions of Python a call spends its time."""
    within = Product.objects.filter(is_public=True)
    products = list(Product.objects.all()[:200])
    profiler = cProfile.Profile()
    profiler.enable()
    for product in products:
        similar_to(product, within=within, limit=WANTED)
    profiler.disable()
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)


if __name__ == "__main__":
    main()
