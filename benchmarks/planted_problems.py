"""What the report of duplicates finds of the problems that the demo's catalogue has planted.

`python benchmarks/planted_problems.py` loads and encodes the catalogue, compares all of it, and
lists what was found, missed and false at the default threshold, and whether near twins, which look
alike and are different things, are reported. A near twin of a double is one of what it doubles.
It needs the extras [torch], [duplicates] and
[embedded].
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import home

from cardigan_reco import conf, duplicates
from cardigan_reco.models import DuplicatePair
from example_shop import folders
from example_shop.models import Product

Key = frozenset[str]
"""The references of two listings."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="Print JSON in place of the tables.")
    options = parser.parse_args()
    with home.loaded():
        start = time.perf_counter()
        *_, progress = duplicates.find(full=True)
        seconds = time.perf_counter() - start
        reported = pairs()
    doubles, twins = truth()
    found = {key: reported[key] for key in doubles if key in reported}
    confused = {key: reported[key] for key in twins if key in reported}
    other = {key: reported[key] for key in reported if key not in doubles and key not in twins}
    by_how: dict[str, Counter[str]] = defaultdict(Counter)
    for key, how in doubles.items():
        by_how[how]["found" if key in found else "missed"] += 1
    settings = conf.current().duplicate_listings
    figures = {
        "pictures": progress.total,
        "seconds": round(seconds, 1),
        "threshold": settings.min_probability if settings else None,
        "planted": len(doubles),
        "found": len(found),
        "missed": len(doubles) - len(found),
        "near twins": len(twins),
        "near twins reported": len(confused),
        "others reported": len(other),
    }
    if options.json:
        print(json.dumps({**figures, "by how": by_how}))
        return
    for name, value in figures.items():
        print(f"{name:<24}{value:>10}")
    print(f"\n{'how':<28}{'found':>8}{'missed':>8}")
    for how, counts in by_how.items():
        print(f"{how:<28}{counts['found']:>8}{counts['missed']:>8}")
    for title, keys in (
        ("Missed", {key: how for key, how in doubles.items() if key not in found}),
        ("Near twins reported", {key: f"{twins[key]}, {confused[key]}" for key in confused}),
        ("Others reported", other),
    ):
        print(f"\n{title}:" + ("" if keys else " none"))
        for key, what in keys.items():
            print(f"  {' = '.join(sorted(key)):<40} {what}")


def pairs() -> dict[Key, str]:
    """Returns the reported pairs, and how sure each is."""
    reference = {str(pk): text for pk, text in Product.objects.values_list("pk", "reference")}
    return {
        frozenset((reference[pair.first_pk], reference[pair.second_pk])): (
            f"{pair.probability:.2f} {pair.kind}"
        )
        for pair in DuplicatePair.objects.order_by("-probability")
    }


def truth() -> tuple[dict[Key, str], dict[Key, str]]:
    """Returns the doubles, and the pairs that are different things, and how each came about."""
    doubles, twins = {}, {}
    with (folders.CATALOGUE / "problems.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = frozenset((row["product"], row["other"]))
            if row["verdict"] == "duplicate":
                doubles[key] = row["how"]
            elif row["verdict"] == "different":
                twins[key] = row["how"]
    return doubles, twins | _twins_of_doubles(doubles, twins)


def _twins_of_doubles(doubles: Iterable[Key], twins: Mapping[Key, str]) -> dict[Key, str]:
    """Returns the pairs of a double and a near twin of what it doubles."""
    known = {reference for twin in twins for reference in twin}
    found = {}
    for double in doubles:
        for original in double & known:
            (copy,) = double - {original}
            for twin, how in twins.items():
                if original in twin:
                    found[twin - {original} | {copy}] = how
    return found


if __name__ == "__main__":
    main()
