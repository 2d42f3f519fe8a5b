"""What the plugin costs a shop: a save, the start of a process, and a web process' memory.

`python benchmarks/plugin_cost.py --saves 1000` runs the tests' shop in two processes, with and
without cardigan_reco in INSTALLED_APPS, on one database. They save a product's picture in turns,
with the broker up and down, on its own and in a transaction; then processes are started in turns,
and asked for a product's page with a shelf, or without one. Both shops have Pillow and Celery, as
any with pictures and tasks. It needs the extras [celery] and [embedded], or a DATABASE_URL.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import server
import side_by_side
import synthetic
from django.conf import settings
from side_by_side import Figure, median

SETUP = "import time; start = time.perf_counter(); import django; django.setup(); "
SETUP += "print(1000 * (time.perf_counter() - start))"
PLUGIN = ("cardigan_reco", "tests.testapp")
TURN = 20
"""Saves of a process before the other one's turn."""


def main() -> None:
    parser = side_by_side.parser(__doc__, rows=2_000)
    parser.add_argument("--saves", type=int, default=600, help="Saves that are timed a row.")
    parser.add_argument("--starts", type=int, default=11, help="Processes of each shop.")
    options = parser.parse_args()
    with synthetic.catalogue(options.rows), tempfile.TemporaryDirectory() as folder:
        figures = [*save(options.saves, Path(folder)), *start(options.starts)]
    notes = {"saves": options.saves, "processes started": options.starts}
    side_by_side.show("plugin_cost", figures, notes, as_json=options.json)


def save(saves: int, folder: Path) -> list[Figure]:
    figures = []
    for broker, celery in (("broker down", down()), ("broker up", up(folder))):
        with shop(True, celery) as ours, shop(False, celery) as theirs:
            for way, is_atomic in (("autocommit", False), ("in a transaction", True)):
                mine: list[float] = []
                peers: list[float] = []
                for number in range(max(1, saves // TURN)):
                    turns = [(ours, mine), (theirs, peers)]
                    for ask, times in turns if number % 2 else reversed(turns):
                        times += ask({"saves": TURN, "atomic": is_atomic, "first": 1 + number})
                added = median(mine) - median(peers)
                figures.append(
                    Figure(
                        f"save, {broker}, {way}, added ms",
                        median(mine),
                        median(peers),
                        "ms",
                        added,
                        at_most=1.0,
                        against="plugin absent",
                    )
                )
    return figures


def start(count: int) -> list[Figure]:
    """Compares what it takes to start a process, and what one holds after a page."""
    starts: dict[bool, list[float]] = {True: [], False: []}
    after_start: dict[bool, list[float]] = {True: [], False: []}
    after_page: dict[bool, list[float]] = {True: [], False: []}
    for number in range(count + 1):
        for has_plugin in (True, False) if number % 2 else (False, True):
            milliseconds = float(
                subprocess.run(
                    [sys.executable, "-c", SETUP],
                    env=environment(has_plugin, down()),
                    cwd=server.ROOT,
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            with shop(has_plugin, down()) as ask:
                held = ask({"memory": True})
                page = ask({"page": True})
            if number:  # The first one writes what Python compiles.
                starts[has_plugin].append(milliseconds)
                after_start[has_plugin].append(held)
                after_page[has_plugin].append(page)
    figures = []
    for what, values, unit, limit in (
        ("start, django.setup(), added ms", starts, "ms", 50),
        ("memory after start, added MiB", after_start, "MiB", None),
        ("memory after a page, added MiB", after_page, "MiB", 8),
    ):
        mine, peer = median(values[True]), median(values[False])
        figures.append(
            Figure(what, mine, peer, unit, mine - peer, at_most=limit, against="plugin absent")
        )
    return figures


def down() -> dict[str, Any]:
    return {"CELERY_BROKER_URL": "redis://127.0.0.1:1/0"}


def up(folder: Path) -> dict[str, Any]:
    for name in ("messages", "control"):
        (folder / name).mkdir(exist_ok=True)
    return {
        "CELERY_BROKER_URL": "folder://",
        "CELERY_BROKER_TRANSPORT_OPTIONS": {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
        },
    }


def environment(has_plugin: bool, changed: dict[str, Any]) -> dict[str, str]:
    wanted = json.loads(os.environ["CARDIGAN_TESTS_SETTINGS"]) | changed
    wanted["INSTALLED_APPS"] = [
        app for app in settings.INSTALLED_APPS if has_plugin or app not in PLUGIN
    ]
    own = {
        name: value
        for name, value in os.environ.items()
        # What pip installs is compiled, and a checkout is at its first start, unless this is set.
        if name != "PYTHONDONTWRITEBYTECODE"
    }
    return {
        **own,
        "DATABASE_URL": synthetic.address(),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "CARDIGAN_TESTS_SETTINGS": json.dumps(wanted),
        "PYTHONPATH": str(server.ROOT),
    }


@contextmanager
def shop(has_plugin: bool, changed: dict[str, Any]) -> Iterator[Callable[[dict[str, Any]], Any]]:
    """Starts a process of a shop; yields what asks it and returns its answer."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("plugin_shop.py"))],
        env=environment(has_plugin, changed),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # Of the broker that is down.
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(question: dict[str, Any]) -> Any:
        stdin.write(json.dumps(question) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise SystemExit(f"The shop's process has ended when it was asked {question}.")
        return json.loads(line)

    try:
        yield ask
    finally:
        stdin.close()
        process.wait(30)


if __name__ == "__main__":
    main()
