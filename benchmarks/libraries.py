"""How far in-process indexes are ahead: faiss, hnswlib and usearch beside us, called and served.

`python benchmarks/libraries.py --rows 100000` fills a database of its own, builds an HNSW of the
same shape (m 16, ef_construction 128) over the same vectors with each library that is installed,
and times one search at a time on one thread: 20 nearest, with as many candidates as ours has by
default. We are timed as `similar_to`, which returns the shop's objects, and as JSON through
gunicorn. The libraries answer with places in an array: they have no filters, no transactions and no
restarts to survive, and each web process would hold a copy. It needs the extras [drf], [embedded]
and [benchmarks], and gunicorn.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import server
import side_by_side
import statements
import synthetic
from django.db import connection
from side_by_side import Figure, median

from cardigan_reco.fields import EF_CONSTRUCTION
from cardigan_reco.recommendations import similar_to
from tests.testapp.catalogue.models import Product

WANTED = 20
M = 16
SERVED = """
from tests.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "rest_framework"]
DATABASES["default"]["CONN_MAX_AGE"] = 60
REST_FRAMEWORK = {"DEFAULT_THROTTLE_RATES": {"photo_search": None, "similar": None}}
MIDDLEWARE = []
ROOT_URLCONF = "served_urls"
"""
URLS = """
from django.urls import include, path
urlpatterns = [path("visual/", include("cardigan_reco.api.urls"))]
"""
WSGI = "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"
PATIENCE_SECONDS = 30

Search = Callable[[int], list[int]]
"""Takes a place, and returns the keys of the nearest, its own among them."""
Save = Callable[[str], object]
"""Writes an index to a file."""


def main() -> None:
    parser = side_by_side.parser(__doc__, rows=10_000)
    parser.add_argument("--queries", type=int, default=300, help="Products asked for.")
    options = parser.parse_args()
    with synthetic.catalogue(options.rows, index=False) as stored:
        figures, notes = compare(stored, options.queries)
    side_by_side.show("libraries", figures, notes, as_json=options.json)


def compare(stored: synthetic.Vectors, queries: int) -> tuple[list[Figure], dict[str, object]]:
    start = time.perf_counter()
    synthetic.build_index()
    built = {"ours": time.perf_counter() - start}
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("SELECT pg_relation_size(%s::regclass)", [synthetic.INDEX])
        megabytes = {"ours": cursor.fetchone()[0] / 2**20}
    notes: dict[str, object] = {"rows": len(stored)}
    searches: dict[str, Search] = {}
    for name, build in (("faiss", faiss), ("hnswlib", hnswlib), ("usearch", usearch)):
        start = time.perf_counter()
        try:
            searches[name], save = build(stored)
        except ImportError:
            notes[name] = "left out: it is not installed"
            continue
        built[name] = time.perf_counter() - start
        with tempfile.NamedTemporaryFile() as file:
            save(file.name)
            megabytes[name] = Path(file.name).stat().st_size / 2**20
    places = synthetic.chosen(len(stored), queries)
    truth = synthetic.exact(stored, places, WANTED)
    products = Product.objects.in_bulk([int(place) + 1 for place in places])

    def ours(place: int) -> list[int]:
        return [item.pk for item in similar_to(products[place + 1], limit=WANTED)]

    found: dict[str, list[list[int]]] = {}
    for name, search in {"ours": ours, **searches}.items():
        found[name] = [
            [key for key in search(place) if key != place + 1][:WANTED]
            for place in map(int, places)
        ]
    with served() as get:
        times = side_by_side.in_turns({"ours": ours, "served": get, **searches}, map(int, places))
    recalls = {name: synthetic.recall(keys, truth, WANTED) for name, keys in found.items()}
    figures = []
    for name in searches:
        against = f"{name}, in process"
        peer = median(times[name])
        figures += [
            Figure("similar_to, p50", median(times["ours"]), peer, "ms", against=against),
            Figure("served as JSON, p50", median(times["served"]), peer, "ms", against=against),
            Figure("recall@20", recalls["ours"], recalls[name], "", against=against),
            Figure("built in", built["ours"], built[name], "s", against=against),
            Figure("index", megabytes["ours"], megabytes[name], "MiB", against=against),
        ]
    if not searches:
        raise SystemExit("None of faiss-cpu, hnswlib and usearch is installed: pip install them.")
    return figures, notes


def faiss(stored: synthetic.Vectors) -> tuple[Search, Save]:
    import faiss as library

    library.omp_set_num_threads(os.cpu_count() or 1)
    index = library.IndexHNSWFlat(stored.shape[1], M, library.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = EF_CONSTRUCTION
    index.add(stored)
    index.hnsw.efSearch = statements.EF_SEARCH
    library.omp_set_num_threads(1)

    def search(place: int) -> list[int]:
        _, found = index.search(stored[place : place + 1], WANTED + 1)
        return [int(key) + 1 for key in found[0]]

    return search, lambda path: library.write_index(index, path)


def hnswlib(stored: synthetic.Vectors) -> tuple[Search, Save]:
    import hnswlib as library

    index = library.Index(space="ip", dim=stored.shape[1])
    index.init_index(max_elements=len(stored), M=M, ef_construction=EF_CONSTRUCTION)
    index.add_items(stored, num_threads=os.cpu_count() or 1)
    index.set_ef(statements.EF_SEARCH)
    index.set_num_threads(1)

    def search(place: int) -> list[int]:
        found, _ = index.knn_query(stored[place : place + 1], k=WANTED + 1)
        return [int(key) + 1 for key in found[0]]

    return search, index.save_index


def usearch(stored: synthetic.Vectors) -> tuple[Search, Save]:
    from usearch.index import Index

    index = Index(
        ndim=stored.shape[1],
        metric="ip",
        dtype="f16",  # As ours.
        connectivity=M,
        expansion_add=EF_CONSTRUCTION,
        expansion_search=statements.EF_SEARCH,
    )
    index.add(np.arange(1, len(stored) + 1), stored, threads=os.cpu_count() or 1)
    return lambda place: [
        int(key) for key in index.search(stored[place], WANTED + 1).keys
    ], index.save


@contextmanager
def served() -> Iterator[Callable[[int], object]]:
    """Serves the API by one process of gunicorn; yields what asks it on a connection that stays."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as unused:
        folder = Path(name)
        (folder / "served_settings.py").write_text(SERVED)
        (folder / "served_urls.py").write_text(URLS)
        (folder / "served_wsgi.py").write_text(WSGI)
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        unused.close()
        log = folder / "gunicorn.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *[sys.executable, "-m", "gunicorn", "served_wsgi", "--worker-class=gthread"],
                    *[f"--bind=127.0.0.1:{port}", "--workers=1", "--threads=2", "--keep-alive=60"],
                ],
                cwd=folder,
                env={
                    **os.environ,
                    "DATABASE_URL": synthetic.address(),
                    "DJANGO_SETTINGS_MODULE": "served_settings",
                    "PYTHONPATH": os.pathsep.join([name, str(server.ROOT)]),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)

        def get(place: int) -> object:
            client.request("GET", f"/visual/{place + 1}/similar/?limit={WANTED}")
            response = client.getresponse()
            body = response.read()
            if response.status != 200:
                raise SystemExit(f"{response.status}: {body[:500]!r}\n{log.read_text()}")
            return body

        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    get(0)
                    break
                except OSError:
                    client.close()
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(f"gunicorn didn't start:\n{log.read_text()}") from None
                    time.sleep(0.1)
            yield get
        finally:
            client.close()
            process.terminate()
            process.wait(PATIENCE_SECONDS)


if __name__ == "__main__":
    main()
