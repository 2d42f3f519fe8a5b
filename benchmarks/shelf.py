"""How well the shelf keeps to its kind: the catalogue's neighbours, compared with its truth.

`python benchmarks/shelf.py` loads the example shop's catalogue into a database of its own, encodes
it, asks for 8 similar products of each product, and prints the share of them that are of the same
kind (a mug beside mugs) and of the same family (the same mug in another glaze). A family rarely has
8 others, so the share is also given of what is attainable. It needs the extras [torch] and
[embedded], or a DATABASE_URL.
"""

from __future__ import annotations

import csv
from collections import Counter

import home

from cardigan_reco.recommendations import similar_to
from example_shop import folders
from example_shop.models import Product

NEIGHBOURS = 8


def main() -> None:
    with home.loaded():
        with (folders.CATALOGUE / "catalogue.csv").open(encoding="utf-8") as lines:
            truth = {row["product"]: row for row in csv.DictReader(lines)}
        report(truth)


def report(truth: dict[str, dict[str, str]]) -> None:
    everything = Product.objects.published()
    found: Counter[tuple[str, str]] = Counter()
    slots: Counter[str] = Counter()
    attainable: Counter[tuple[str, str]] = Counter()
    labels = {
        "kind": {reference: row["kind"] for reference, row in truth.items()},
        "family": {reference: f"{row['family']} {row['kind']}" for reference, row in truth.items()},
    }
    sizes = {name: Counter(of.values()) for name, of in labels.items()}
    for product in everything:
        own = str(product.reference)
        kind = truth[own]["kind"]
        neighbours = similar_to(product, within=everything, limit=NEIGHBOURS)
        slots[kind] += NEIGHBOURS
        for name, of in labels.items():
            found[kind, name] += sum(of[near.reference] == of[own] for near in neighbours)
            attainable[kind, name] += min(NEIGHBOURS, sizes[name][of[own]] - 1)
    print(f"{'kind':<14}{'products':>9}{'same kind':>11}{'same family':>13}{'of attainable':>15}")
    for kind in sorted(slots):
        line(kind, slots[kind], *(found[kind, n] for n in labels), attainable[kind, "family"])
    total = [sum(count for (_, name), count in found.items() if name == n) for n in labels]
    reachable = sum(count for (_, name), count in attainable.items() if name == "family")
    line("all", sum(slots.values()), *total, reachable)


def line(title: str, slots: int, kind: int, family: int, attainable: int) -> None:
    print(
        f"{title:<14}{slots // NEIGHBOURS:>9}{kind / slots:>11.3f}{family / slots:>13.3f}"
        f"{family / attainable:>15.3f}"
    )


if __name__ == "__main__":
    main()
