"""Further aliases of the tests' database server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, connections
from django.utils.connection import ConnectionDoesNotExist


@contextmanager
def alias(name: str, **changes: object) -> Iterator[str]:
    """Lets `name` stand for the tests' database with other settings; yields it."""
    connections.settings[name] = {**connection.settings_dict, **changes}
    try:
        yield name
    finally:
        try:
            connections[name].close()
            del connections[name]
        except ConnectionDoesNotExist:
            pass
        del connections.settings[name]
