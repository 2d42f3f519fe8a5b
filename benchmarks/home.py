"""The example shop with its catalogue encoded, for the benchmarks that need a real shop.

Imported first: it sets Django up for the shop, on a PostgreSQL of its own or that of DATABASE_URL.
"""

# ruff: noqa: E402  Django is set up before its models are imported.

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from tests import postgres

os.environ["DJANGO_SETTINGS_MODULE"] = "example_shop.settings"
os.environ.setdefault("DATABASE_URL", postgres.url())
SCRATCH = tempfile.TemporaryDirectory()
os.environ["CARDIGAN_DEMO_FOLDER"] = SCRATCH.name

import django

django.setup()

from django.core.management import call_command
from django.db import connection

from example_shop import folders

PATIENCE_SECONDS = 60
THREADS = 1
"""Of torch in each process of the server."""
# As a shop would serve it: connections that stay, a torch thread a process, a process a core. No
# limit on how often one address may ask, since the load comes from few.
SETTINGS = f"""
from example_shop.settings import *
DATABASES["default"]["CONN_MAX_AGE"] = 60
CARDIGAN_RECO["ENCODERS"]["default"]["OPTIONS"] = {{"threads": {THREADS}}}
CARDIGAN_RECO["SEARCH"] = {{"CONCURRENT": 1, "WAIT_SECONDS": 3}}
INSTALLED_APPS = [*INSTALLED_APPS, "rest_framework"]
REST_FRAMEWORK = {{"DEFAULT_THROTTLE_RATES": {{"photo_search": None, "similar": None}}}}
ROOT_URLCONF = "served_urls"
"""
URLS = """
from django.urls import include, path
from example_shop.urls import urlpatterns
urlpatterns = [path("visual/", include("cardigan_reco.api.urls")), *urlpatterns]
"""


@contextmanager
def loaded() -> Iterator[None]:
    """Loads and encodes the catalogue in a database that goes away at the end."""
    database = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        file = folders.CATALOGUE / "catalogue.csv"
        call_command("load_catalogue", str(folders.CATALOGUE), str(file), verbosity=0)
        call_command("encode_images", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")  # As autovacuum will have done in a shop that runs.
        yield
    finally:
        connection.creation.destroy_test_db(database, verbosity=0)
        SCRATCH.cleanup()


@contextmanager
def served(*, workers: int, threads: int) -> Iterator[tuple[str, int]]:
    """Serves the shop and the API under visual/ with gunicorn; yields its address and process id.

    The network is loaded before a worker takes its first request. The log is printed on failure.
    """
    scratch = Path(SCRATCH.name)
    (scratch / "served_settings.py").write_text(SETTINGS)
    (scratch / "served_urls.py").write_text(URLS)
    (scratch / "gunicorn_conf.py").write_text(
        "def post_worker_init(worker):\n"
        "    from cardigan_reco import photos\n"
        "    photos.warm_up('default')\n"
    )
    database = urlsplit(os.environ["DATABASE_URL"])
    database = database._replace(path=f"/{connection.settings_dict['NAME']}")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    log = scratch / "gunicorn.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                *[sys.executable, "-m", "gunicorn", "example_shop.wsgi", "--worker-class=gthread"],
                *[f"--bind=127.0.0.1:{port}", f"--workers={workers}", f"--threads={threads}"],
                f"--config={scratch / 'gunicorn_conf.py'}",
            ],
            cwd=ROOT,
            env={
                **os.environ,
                "DATABASE_URL": database.geturl(),
                "DJANGO_SETTINGS_MODULE": "served_settings",
                "PYTHONPATH": os.pathsep.join([SCRATCH.name, str(ROOT)]),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"gunicorn didn't start:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        server.terminate()
        server.wait(PATIENCE_SECONDS)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as client:
            client.settimeout(PATIENCE_SECONDS)
            client.sendall(b"GET /static/shop/icon.svg HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            return b" 200 " in client.recv(16)
    except OSError:
        return False
