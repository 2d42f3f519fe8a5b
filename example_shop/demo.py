"""The whole shop with one command: database, catalogue, vectors, worker and site.

tox -e demo
tox -e demo -- --catalogue FOLDER_OR_ZIP CSV
tox -e demo -- --check
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from . import database, folders
from .demo_check import CheckFailed, describe_duplicates, describe_shelf, fetch
from .processes import Child

HOST = "127.0.0.1"
ADMIN = "admin"
"""Name and password of the demo's administrator."""
START_SECONDS = 60
STOP_SECONDS = 30
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STAMP = folders.DATA / "catalogue.json"
"""Remembers which catalogue is in the database, so that a second start takes seconds."""


class DemoError(Exception):
    """The demo can't go on. The text says why, and what to do."""


def main() -> int:
    options = _parse()
    started = time.monotonic()
    for number in ENDINGS:
        signal.signal(number, _end)
    folders.DATA.mkdir(parents=True, exist_ok=True)
    try:
        port = _free_port() if options.check else options.port
        _require_free(port)
        with _running_database():
            return _demonstrate(options, port, started)
    except (DemoError, CheckFailed) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        _say("Stopped")
        return 130


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo", description="Runs the example shop on this machine.", allow_abbrev=False
    )
    parser.add_argument(
        "--catalogue",
        nargs=2,
        type=Path,
        metavar=("FOLDER_OR_ZIP", "CSV"),
        default=(folders.CATALOGUE, folders.CATALOGUE / "catalogue.csv"),
        help="pictures of your own and the CSV file that lists them, as load_catalogue takes "
        "them; they replace the catalogue that is there",
    )
    parser.add_argument("--port", type=int, default=8000, help="the site's port (8000)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="start everything on a free port, look at a product page and its shelf, and stop",
    )
    return parser.parse_args()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    _begin_to_stop()
    raise KeyboardInterrupt


def _begin_to_stop() -> None:
    # An impatient second Ctrl-C, or tox, must not leave half of it. Should something hang, say
    # where and end: the children notice.
    faulthandler.dump_traceback_later(STOP_SECONDS, exit=True)
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _running_database() -> Iterator[None]:
    if os.environ.get("DATABASE_URL"):
        _say("Using the database that DATABASE_URL names")
        yield
        return
    _say("Starting PostgreSQL")
    command = [sys.executable, "-m", "example_shop.database"]
    with Child("database", command, folders.DATA / "database.log", folders.ROOT) as server:
        _wait(server, lambda: database.READY in server.written())
        os.environ["DATABASE_URL"] = server.written().split(database.READY)[-1].strip()
        try:
            yield
        finally:
            _begin_to_stop()


def _demonstrate(options: argparse.Namespace, port: int, started: float) -> int:
    _set_up()
    pictures, csv_file = (path.resolve() for path in options.catalogue)
    _bring_in(pictures, csv_file)
    with ExitStack() as running:
        worker = running.enter_context(_worker())
        site = running.enter_context(_site(port))
        running.callback(_begin_to_stop)
        _say("Starting a worker and the site")
        address = f"http://{HOST}:{port}"
        _wait(site, lambda: _answers(f"{address}/"))
        _wait(worker, lambda: " ready." in worker.written())
        if options.check:
            for line in describe_shelf(address):
                _say(line)
            _say(describe_duplicates(address, expected=pictures == folders.CATALOGUE))
            return 0
        _answers(f"{address}/photo/")  # Which begins to load what the first photo needs.
        _introduce(address, time.monotonic() - started)
        while True:
            for child in (worker, site):
                if not child.is_running:
                    raise DemoError(f"The {child.name} ended. The end of {_failure(child)}")
            time.sleep(0.5)


def _set_up() -> None:
    import django
    from django.core.management import call_command

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_shop.settings")
    django.setup()
    call_command("migrate", verbosity=0)

    from django.contrib.auth.models import User

    if not User.objects.filter(username=ADMIN).exists():
        User.objects.create_superuser(ADMIN, password=ADMIN)


def _bring_in(pictures: Path, csv_file: Path) -> None:
    from django.core.management import CommandError, call_command

    from cardigan_reco import duplicates
    from cardigan_reco.exceptions import CardiganError

    from .models import Product

    stamp = _stamp(pictures, csv_file)
    if _remembered() == stamp and Product.objects.exists():
        _say(f"The catalogue is there: {Product.objects.count()} products")
        return
    STAMP.unlink(missing_ok=True)
    _say(f"Loading {pictures}")
    try:
        call_command("load_catalogue", pictures, csv_file, replace=True)
    except CommandError as error:
        raise DemoError(str(error)) from error
    _say("Encoding the pictures, and comparing them")
    # In a process of its own: the network's memory is free again when the shop is up.
    command = [sys.executable, str(folders.ROOT / "manage.py"), "encode_images", "--stale"]
    if subprocess.call(command) != 0:  # noqa: S603
        raise DemoError("The pictures can't be encoded; the lines above say why.")
    # The pictures were compared as they were encoded, if nothing failed; this forgets, too, what
    # was found of products that are gone.
    try:
        for _progress in duplicates.find():
            pass
    except CardiganError as error:
        raise DemoError(str(error)) from error
    STAMP.write_text(json.dumps(stamp))


def _remembered() -> object:
    try:
        return json.loads(STAMP.read_text())
    except (FileNotFoundError, ValueError):  # Cut off, where the disk was full.
        return None


def _stamp(pictures: Path, csv_file: Path) -> dict[str, str]:
    files = sorted(pictures.rglob("*")) if pictures.is_dir() else [pictures]
    weights = sorted((folders.ROOT / "cardigan_reco" / "encoders" / "weights").iterdir())
    state = hashlib.sha256(os.environ["DATABASE_URL"].encode())
    for file in (*files, csv_file, *weights):
        if file.is_file():
            details = file.stat()
            state.update(f"{file}\0{details.st_size}\0{details.st_mtime_ns}\0".encode())
    return {"pictures": str(pictures), "csv": str(csv_file), "state": state.hexdigest()}


def _worker() -> Child:
    command = ["celery", "-A", "example_shop", "worker", "--pool=solo", "-Q", "cardigan"]
    quiet = ["--loglevel=INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    log = folders.DATA / "worker.log"
    return Child("worker", [sys.executable, "-m", *command, *quiet], log, folders.ROOT)


def _site(port: int) -> Child:
    command = [str(folders.ROOT / "manage.py"), "runserver", "--noreload", f"{HOST}:{port}"]
    return Child("site", [sys.executable, *command], folders.DATA / "site.log", folders.ROOT)


def _wait(child: Child, is_up: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_up():
        if not child.is_running:
            raise DemoError(f"The {child.name} didn't start. The end of {_failure(child)}")
        if time.monotonic() > deadline:
            raise DemoError(
                f"The {child.name} isn't up after {START_SECONDS} s. The end of {_failure(child)}"
            )
        time.sleep(0.1)


def _failure(child: Child) -> str:
    return "\n  ".join([f"{child.log}:", *child.written().splitlines()[-12:]])


def _answers(address: str) -> bool:
    try:
        fetch(address)
    except urllib.error.HTTPError as error:
        raise DemoError(
            f"{address} answers {error.code}: see {folders.DATA / 'site.log'}"
        ) from error
    except OSError:
        return False
    return True


def _require_free(port: int) -> None:
    # 0 could be bound, as any port that is free, but nobody would know where the site is.
    if not 0 < port < 65536:
        raise DemoError(f"{port} is not a port. Choose one from 1024 to 65535.")
    with socket.socket() as probe:
        # As the site itself does, so that a port of a minute ago counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise DemoError(
                f"Port {port} can't be used: {error.strerror}. Choose another with --port."
            ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _introduce(address: str, seconds: float) -> None:
    from .models import Product

    product = Product.objects.available().order_by("pk").first()
    lines = [
        "",
        f"The shop is up after {seconds:.0f} s:",
        f"  The shop       {address}/",
        f"  A product      {address}{product.get_absolute_url()}" if product else "",
        f"  By photo       {address}/photo/",
        f"  Admin          {address}/admin/   {ADMIN} / {ADMIN}, for this demo only",
        f"  Duplicates     {address}/admin/cardigan_reco/duplicategroup/",
        "",
        f"Logs are in {folders.DATA}. Ctrl-C stops everything.",
    ]
    print("\n".join(lines), flush=True)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
