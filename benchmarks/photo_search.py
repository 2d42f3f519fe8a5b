"""What a search by photo costs beside its network, and how many a server answers.

`python benchmarks/photo_search.py` serves the example shop's catalogue with gunicorn, and uploads a
JPEG of 1 megapixel to the API over and over. It prints the time from upload to results over that of
the bare network on the same picture, already decoded, in the same run; and requests a second with 1
and 8 clients. It does so with one process of gunicorn and with two: on a small machine, two copies
of the network compete for the processor's cache. It needs the extras [torch], [drf] and [embedded],
gunicorn, and no DATABASE_URL unless it is to use one.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

import home
from PIL import Image

from cardigan_reco import images, search
from cardigan_reco.encoders import encoders
from example_shop import folders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=100, help="For each figure.")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2], help="Processes of gunicorn."
    )
    parser.add_argument("--json", action="store_true", help="Print JSON in place of the table.")
    options = parser.parse_args()
    photo = megapixel()
    figures: dict[int, dict[str, float]] = {}
    with home.loaded():
        for workers in options.workers:
            with home.served(workers=workers, threads=4) as (address, _pid):
                found = compare(photo, address, options.requests)
                for clients in (1, 8):
                    found[f"requests/s, {clients} clients"] = rate(
                        photo, address, options.requests, clients
                    )
            figures[workers] = found
    if options.json:
        print(json.dumps(figures))
        return
    print(f"{'processes':<44}" + "".join(f"{workers:>10}" for workers in figures))
    for name in found:
        print(f"{name:<44}" + "".join(f"{column[name]:>10.2f}" for column in figures.values()))


def megapixel() -> bytes:
    with Image.open(folders.CATALOGUE / "street" / "01.jpg") as picture:
        large = picture.convert("RGB").resize((1000, 1000), Image.Resampling.BICUBIC)
    data = io.BytesIO()
    large.save(data, "JPEG", quality=88)
    return data.getvalue()


def compare(photo: bytes, address: str, count: int) -> dict[str, float]:
    """Times the steps in turn, so that all of them see the same machine."""
    encoder = encoders["default"]
    small = images.load(photo, min_side=encoder.min_side)
    network, device = encoder.loaded()
    tensor = encoder.prepare([small]).to(device)

    import torch

    torch.set_num_threads(home.THREADS)  # As many as each process of the server.

    def bare() -> None:
        with torch.inference_mode():
            network(tensor)

    steps: dict[str, Callable[[], object]] = {
        "bare network": bare,
        "decode and network": lambda: encoder.encode(
            [images.load(photo, min_side=encoder.min_side)]
        ),
        "search.by_image": lambda: search.by_image(photo),
        "upload to results": lambda: upload(photo, address),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(count + 3):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 3:
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    figures = {f"{name}, ms": value * 1000 for name, value in medians.items()}
    for name in ("bare network", "decode and network"):
        figures[f"upload to results / {name}"] = medians["upload to results"] / medians[name]
    return figures


def upload(photo: bytes, address: str) -> None:
    request = Request(
        f"{address}/visual/search/", photo, {"Content-Type": "image/jpeg"}, method="POST"
    )
    with urlopen(request, timeout=60) as answer:
        assert json.load(answer)["results"]


def rate(photo: bytes, address: str, count: int, clients: int) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: upload(photo, address), range(count)))
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
