"""Whether hostile uploads hurt honest shoppers: 32 clients, half of them hostile, on gunicorn.

`python benchmarks/hostile_load.py` serves the example shop's catalogue, first to 16 honest clients
alone, then to the same beside 16 that send what a server must bear: bombs, strips, truncated and
forged files, wrong crops and filters, half a request. It prints the honest clients' p99 in both,
statuses, processes lost and memory, and fails if there was a 5xx but 503, a lost process or a p99
above twice the quiet one. It needs the extras [torch], [drf] and [embedded], and gunicorn.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import multiprocessing
import random
import socket
import statistics
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import home
from PIL import Image

from example_shop import folders

ROUNDS = 3
"""Of hostile clients alone, after which the memory is looked at: it should stay."""

Answer = tuple[int, float]
"""Status, 0 for none, and seconds."""
Sent = tuple[bytes, str | None, str]
"""A body, what it calls itself (None: sent in half), and a query string."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000, help="Of all clients together.")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2, help="Processes of gunicorn.")
    parser.add_argument("--threads", type=int, default=4, help="Of each process.")
    parser.add_argument("--json", action="store_true", help="Print JSON in place of the table.")
    options = parser.parse_args()
    each, half = options.requests // options.clients, options.clients // 2
    with (
        home.loaded(),
        home.served(workers=options.workers, threads=options.threads) as (address, pid),
    ):
        run(address, 5, honest=half, hostile=0)
        before = processes(pid)
        quiet, _ = run(address, each, honest=half, hostile=0)
        memory = sum(processes(pid).values())
        loud, attacks = run(address, each, honest=half, hostile=options.clients - half)
        after = processes(pid)
        grown: list[float] = []
        for _ in range(ROUNDS):
            _, more = run(address, each, honest=0, hostile=options.clients - half)
            attacks += more
            grown.append(sum(processes(pid).values()))
    statuses = Counter(status for status, _seconds in [*quiet, *loud, *attacks])
    figures = {
        "honest p50 alone, ms": quantile(quiet, 50),
        "honest p50 beside hostile, ms": quantile(loud, 50),
        "honest p99 alone, ms": quantile(quiet, 99),
        "honest p99 beside hostile, ms": quantile(loud, 99),
        "p99 ratio": quantile(loud, 99) / quantile(quiet, 99),
        "honest answered 200": sum(status == 200 for status, _ in loud) / len(loud),
        "5xx but 503": sum(n for status, n in statuses.items() if status >= 500 and status != 503),
        "processes lost": len(before.keys() - after.keys()),
        "memory after honest, MiB": memory,
        "memory after all, MiB": sum(after.values()),
        **{f"memory after {number} rounds more, MiB": held for number, held in enumerate(grown, 1)},
    }
    if options.json:
        print(json.dumps({**figures, "statuses": statuses}))
    else:
        for name, value in figures.items():
            print(f"{name:<34}{value:>10.2f}")
        print("statuses:", dict(sorted(statuses.items())))
    if figures["5xx but 503"] or figures["processes lost"] or figures["p99 ratio"] > 2:
        sys.exit("One of these is beyond what is promised.")


def run(address: str, each: int, *, honest: int, hostile: int) -> tuple[list[Answer], list[Answer]]:
    """Returns the answers to the honest and to the hostile clients, all at once.

    Either kind has a process of its own, so that one kind's clients don't hold the other's up.
    """
    photos = [path.read_bytes() for path in sorted((folders.CATALOGUE / "street").glob("*.jpg"))]
    # All that is sent is made before the first request: bombs take seconds of these same cores.
    kinds = [
        [shopping(random.Random(seed), photos, each) for seed in range(honest)],
        [attacks(random.Random(seed), photos, each) for seed in range(hostile)],
    ]
    # Forked, since a new interpreter would set up a database; the children use sockets alone.
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        waiting = [pool.submit(group, address, plans) for plans in kinds]
        return waiting[0].result(), waiting[1].result()


def group(address: str, plans: list[list[Sent]]) -> list[Answer]:
    answers: list[Answer] = []
    threads = [threading.Thread(target=client, args=(address, plan, answers)) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def shopping(chosen: random.Random, photos: list[bytes], each: int) -> list[Sent]:
    return [(chosen.choice(photos), "image/jpeg", "") for _ in range(each)]


def attacks(chosen: random.Random, photos: list[bytes], each: int) -> list[Sent]:
    kinds = list(hostile(chosen, chosen.choice(photos)))
    chosen.shuffle(kinds)
    return list(itertools.islice(itertools.cycle(kinds), each))


def client(address: str, plan: list[Sent], answers: list[Answer]) -> None:
    for body, content_type, query in plan:
        if content_type is None:
            answers.append(hang_up(address, body))
        else:
            answers.append(post(address, body, content_type, query))


def hostile(chosen: random.Random, photo: bytes) -> Iterator[Sent]:
    """Yields bodies that no shopper sends."""
    jpeg, form = "image/jpeg", "multipart/form-data; boundary=x"
    mutated = bytearray(photo)
    for _ in range(20):
        mutated[chosen.randrange(len(mutated))] = chosen.randrange(256)
    yield b"", jpeg, ""
    yield b"<svg onload=alert(1)>", "image/svg+xml", ""
    yield b"%!PS-Adobe-3.0 EPSF-3.0\n", jpeg, ""
    yield photo[: len(photo) // 2], jpeg, ""
    yield bytes(mutated), jpeg, ""
    yield png(30_000, 30_000), "image/png", ""
    yield png(60_000, 60_000), "image/png", ""
    yield solid(5000, 4900), "image/png", ""
    yield solid(6000, 6000), "image/png", ""
    yield solid(11_500, 575), "image/png", ""
    yield solid(22_360, 1118), "image/png", "?crop=0,0,1,0.0072"
    yield solid(3535, 3535, "WEBP"), "image/webp", ""
    yield solid(5000, 5000, "WEBP"), "image/webp", ""
    yield b"\x89PNG\r\n\x1a\n" + bytes(9_000_000), "image/png", ""
    yield bytes(11_000_000), jpeg, ""
    yield b"--x\r\n" + b"junk" * 1000, form, ""
    yield many_files(photo[:1000]), form, ""
    yield photo, jpeg, "?limit=1000000000"
    yield photo, jpeg, "?id__in=1)%20OR%201=1"
    yield photo, jpeg, "?crop=0,0,nan,1"
    yield photo, None, ""


def png(width: int, height: int) -> bytes:
    """Returns a PNG that claims a size which its few bytes don't hold."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100_000))))
    )


def solid(width: int, height: int, format: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("L", (width, height), 128).save(data, format, lossless=True, method=0)  # Of WebP.
    return data.getvalue()


def many_files(content: bytes) -> bytes:
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="../a"\r\n\r\n'
    return b"".join(part + content + b"\r\n" for _ in range(101)) + b"--x--\r\n"


def post(address: str, body: bytes, content_type: str, query: str = "") -> Answer:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=60)
    start = time.perf_counter()
    try:
        connection.request("POST", f"/visual/search/{query}", body, {"Content-Type": content_type})
        answer = connection.getresponse()
        answer.read()
        return answer.status, time.perf_counter() - start
    except (OSError, HTTPException):  # Refused before the body was read.
        return 0, time.perf_counter() - start
    finally:
        connection.close()


def hang_up(address: str, body: bytes) -> Answer:
    """Announces a body, sends a part of it, and leaves."""
    url = urlsplit(address)
    head = f"POST /visual/search/ HTTP/1.1\r\nHost: {url.netloc}\r\n"
    head += f"Content-Length: {len(body)}\r\nContent-Type: image/jpeg\r\n\r\n"
    with socket.create_connection((url.hostname or "", url.port or 80), 10) as client:
        client.sendall(head.encode() + body[:1000])
    return 0, 0.0


def quantile(answers: list[Answer], percent: int) -> float:
    seconds = sorted(seconds for _status, seconds in answers)
    return 1000 * statistics.quantiles(seconds, n=100)[percent - 1]


def processes(pid: int) -> dict[int, float]:
    """Returns the resident memory in MiB of the server's worker processes."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child): _resident(int(child)) for child in children}


def _resident(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main()
