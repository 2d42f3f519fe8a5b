"""How well the shelf keeps to its kind: the catalogue's neighbours, compared with its truth.

`python benchmarks/shelf.py` loads the example shop's catalogue into a database of its own, encodes
it, asks for 8 similar products of each product, and prints the share of them that are of the same
kind (a mug beside mugs) and of the same family (the same mug in another glaze). A family rarely has
8 others, so the share is also given of what is attainable. It needs the extras [torch] and
[embedded], or a DATABASE_URL.
"""

# ruff: noqa: E402  Django is set up before its models are imported.

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests import postgres

os.environ["DJANGO_SETTINGS_MODULE"] = "example_shop.settings"
os.environ.setdefault("DATABASE_URL", postgres.url())
SCRATCH = tempfile.TemporaryDirectory()
os.environ["CARDIGAN_DEMO_FOLDER"] = SCRATCH.name

import django

django.setup()

from django.core.management import call_command
from django.db import connection

from cardigan_reco.recommendations import similar_to
from example_shop import folders
from example_shop.models import Product

NEIGHBOURS = 8


def main() -> None:
    database = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        file = folders.CATALOGUE / "catalogue.csv"
        call_command("load_catalogue", str(folders.CATALOGUE), str(file), verbosity=0)
        call_command("encode_images", verbosity=0)
        with file.open(encoding="utf-8") as lines:
            truth = {row["product"]: row for row in csv.DictReader(lines)}
        report(truth)
    finally:
        connection.creation.destroy_test_db(database, verbosity=0)
        SCRATCH.cleanup()


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
