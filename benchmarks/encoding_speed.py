"""Pictures a second: `encode_images` from files to stored vectors, beside the bare network.

`python benchmarks/encoding_speed.py --rows 2000` loads the example shop's catalogue into a database
of its own, repeated until there are so many pictures, and lets the command and the network alone
work in turns, with equal threads. The network runs on tensors that are on its device already, in
batches as large as the command's, and its vectors are thrown away. `--networks resnet50` measures
that network of torchvision, with weights of chance. It needs the extras [torch] and [embedded], or
a DATABASE_URL.
"""

# ruff: noqa: E402  The server is there before Django's settings.

from __future__ import annotations

import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import server

server.start()
import home
import side_by_side
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test.utils import override_settings
from side_by_side import Figure, median

from cardigan_reco import conf, images
from cardigan_reco.encoders import encoders
from cardigan_reco.encoders.network_encoder import NetworkEncoder
from example_shop import folders
from example_shop.models import ProductImage, ProductImageEmbedding

BUNDLED = "bundled"


def main() -> None:
    parser = side_by_side.parser(__doc__)
    parser.add_argument("--rows", type=int, default=512, help="Pictures that are encoded.")
    parser.add_argument("--turns", type=int, default=8, help="Of each; the median counts.")
    parser.add_argument(
        "--networks",
        nargs="*",
        help="The bundled one and, where torch finds a GPU, resnet50; or others of torchvision.",
    )
    parser.add_argument("--threads", type=int, help="Of torch; its own choice by default.")
    parser.add_argument("--profile", action="store_true", help="Also where our time goes.")
    options = parser.parse_args()
    figures: list[Figure] = []
    notes: dict[str, object] = {}
    with home.SCRATCH, tempfile.TemporaryDirectory() as folder:
        for network in options.networks or default_networks():
            encoder = chosen(network, options.threads, Path(folder))
            changed = {"ENCODERS": {"default": encoder}, "DUPLICATES": None}
            with (
                override_settings(CARDIGAN_RECO={**settings.CARDIGAN_RECO, **changed}),
                shop(network, options.rows),
            ):
                figure, noted = compare(network, options.rows, options.turns, options.profile)
            figures.append(figure)
            notes |= {f"{network}: {name}": value for name, value in noted.items()}
    side_by_side.show("encoding_speed", figures, notes, as_json=options.json)


def default_networks() -> list[str]:
    import torch

    return [BUNDLED, "resnet50"] if torch.cuda.is_available() else [BUNDLED]


def chosen(network: str, threads: int | None, folder: Path) -> dict[str, Any]:
    """Returns the setting of the encoder."""
    if network == BUNDLED:
        backend, options = "cardigan_reco.encoders.torch.TorchEncoder", {}
    else:
        from safetensors.torch import save_file

        from cardigan_reco.encoders.torchvision_shim import import_torchvision

        models = import_torchvision("benchmarks").models
        weights = folder / f"{network}.safetensors"
        save_file(models.get_model(network).state_dict(), weights)
        backend = "cardigan_reco.encoders.torchvision.TorchvisionEncoder"
        options = {"network": network, "weights": str(weights)}
    return {"BACKEND": backend, "OPTIONS": {**options, "threads": threads}}


@contextmanager
def shop(network: str, rows: int) -> Iterator[None]:
    """Loads the catalogue so often that there are `rows` pictures, none of them encoded."""
    database = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        file = folders.CATALOGUE / "catalogue.csv"
        call_command("load_catalogue", str(folders.CATALOGUE), str(file), verbosity=0)
        loaded = list(ProductImage.objects.order_by("pk")[:rows])
        extra = range(rows - ProductImage.objects.count())
        ProductImage.objects.bulk_create(
            ProductImage(
                product_id=loaded[number % len(loaded)].product_id,
                original=loaded[number % len(loaded)].original.name,
                width=1,
                height=1,
            )
            for number in extra
        )
        if network != BUNDLED:
            table, dimensions = ProductImageEmbedding._meta.db_table, encoders["default"].dimensions
            with connection.cursor() as cursor:
                cursor.execute(f"DROP INDEX {ProductImageEmbedding._meta.indexes[0].name}")
                cursor.execute(
                    f"ALTER TABLE {table} ALTER COLUMN vector TYPE halfvec({dimensions})"
                )
            with connection.schema_editor() as editor:
                editor.add_index(ProductImageEmbedding, ProductImageEmbedding._meta.indexes[0])
            ProductImageEmbedding._meta.get_field("vector").dimensions = dimensions
        yield
    finally:
        connection.creation.destroy_test_db(database, verbosity=0)


def compare(
    network_name: str, rows: int, turns: int, is_profiled: bool
) -> tuple[Figure, dict[str, object]]:
    import torch

    encoder = encoders["default"]
    if not isinstance(encoder, NetworkEncoder):
        raise SystemExit(f"{encoder} runs no network.")
    size = conf.current().batch_size
    paths = [Path(image.original.path) for image in ProductImage.objects.order_by("pk")[:size]]
    loaded = [images.load(path.read_bytes(), min_side=encoder.min_side) for path in paths]
    encoder.vectors(loaded)
    network, device = encoder.loaded()
    batch = encoder.prepare(loaded).to(device, memory_format=torch.channels_last)
    half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    each = max(size, rows // turns // size * size)

    def bare() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            for _ in range(each // size):
                network(batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    bare()
    profiler = cProfile.Profile()
    mine, theirs, cores = [], [], []
    for number in range(turns):
        for is_ours in (True, False) if number % 2 else (False, True):
            start, busy = time.perf_counter(), time.process_time()
            if is_ours:
                if is_profiled:
                    profiler.enable()
                call_command("encode_images", limit=each, stdout=StringIO(), stderr=StringIO())
                profiler.disable()
            else:
                bare()
            elapsed = time.perf_counter() - start
            (mine if is_ours else theirs).append(each / elapsed)
            if is_ours:
                cores.append((time.process_time() - busy) / elapsed)
    encoded = ProductImageEmbedding.objects.count()
    if encoded < min(rows, each * turns):
        raise SystemExit(f"Only {encoded} pictures were encoded.")
    if is_profiled:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    limit = 0.75 if device.type == "cpu" else 0.9
    preparing = time_of(lambda: encoder.prepare(loaded)) / size
    loading = time_of(
        lambda: [images.load(path.read_bytes(), min_side=encoder.min_side) for path in paths]
    )
    notes: dict[str, object] = {
        "pictures": encoded,
        "device": str(device),
        "torch threads": torch.get_num_threads(),
        "cores busy in this process": median(cores),
        "cores of the machine": os.cpu_count(),
        "reading and decoding a picture, ms": loading / size,
        "preparing a picture for the network, ms": preparing,
        "the network's time for a picture, ms": 1000 / median(theirs),
    }
    figure = Figure(
        f"encode_images, {network_name}",
        median(mine),
        median(theirs),
        "/s",
        at_least=limit,
        against="bare network",
    )
    return figure, notes


def time_of(call: Any) -> float:
    """Returns the median of five, in milliseconds."""
    return median(side_by_side.in_turns({"": lambda _: call()}, range(5))[""])


if __name__ == "__main__":
    main()
