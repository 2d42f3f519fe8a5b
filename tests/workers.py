"""Celery workers of the tests' app, as real processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from tests.processes import Broker, Process, wait_until
from tests.testapp.catalogue.models import ProductImage
from tests.testapp.models import ProductImageEmbedding


class StartWorker(Protocol):
    """Starts a worker; `options` are settings that differ, keys of CARDIGAN_RECO among them."""

    def __call__(
        self,
        broker: Broker,
        pool: str | None = "solo",
        *,
        arguments: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        general: dict[str, Any] | None = None,
        **changed: Any,
    ) -> Process: ...


@contextmanager
def workers(folder: Path) -> Iterator[StartWorker]:
    """Yields a function that starts workers, whose logs lie in the folder; they end with it."""
    started: list[Process] = []

    def start(
        broker: Broker,
        pool: str | None = "solo",
        *,
        arguments: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        general: dict[str, Any] | None = None,
        **changed: Any,
    ) -> Process:
        options = ["-Q", "cardigan", "-c", "2", "-l", "INFO", *arguments]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        process = Process(
            *["-m", "celery", "-A", "tests.celery", "worker", *options, *quiet],
            *([f"--pool={pool}"] if pool else []),
            log=folder / f"worker{len(started)}.log",
            environment=environment,
            CARDIGAN_RECO={**settings.CARDIGAN_RECO, **changed},
            **broker.settings(),
            **(general or {}),
        )
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            process.kill()


def wait_for_worker(worker: Process) -> None:
    wait_until(lambda: "ready." in worker.output(), "the worker is ready", worker)


def wait_until_encoded(image: ProductImage, worker: Process) -> None:
    encoded = ProductImageEmbedding.objects.filter(source=image)
    wait_until(encoded.exists, f"{image} is encoded", worker)
