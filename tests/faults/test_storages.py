"""Faults 46 and 47: storages that are late or slow, in workers that are real processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from cardigan_reco.models import EncodingRequest
from tests.conftest import RED, jpeg
from tests.faults.conftest import AddImage, error_of, requests
from tests.processes import Broker, wait_until
from tests.testapp.models import ProductImageEmbedding
from tests.workers import StartWorker, wait_until_encoded

pytestmark = pytest.mark.django_db(transaction=True)
SLEEPY = {
    "STORAGES": {
        "default": {"BACKEND": "tests.faults.storages.SleepyStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
}


def test_fault_46_a_file_that_is_there_later_is_encoded(
    broker: Broker, start_worker: StartWorker, add_picture: AddImage
) -> None:
    image = add_picture()
    storage = image.original.storage
    storage.delete(image.original.name)
    worker = start_worker(broker, POLL_SECONDS=1, RETRY_SECONDS=1, MAX_ATTEMPTS=10)
    wait_until(lambda: "has no file" in error_of(image), "the file was looked for", worker)
    storage.save(image.original.name, ContentFile(jpeg(RED)))
    wait_until_encoded(image, worker)
    assert requests() == {}


def test_fault_47_a_storage_that_hangs_holds_nobody_up(
    broker: Broker, start_worker: StartWorker, add_picture: AddImage, media: Path
) -> None:
    """More files hang than there are threads that read."""
    slow = [add_picture("slow") for _ in range(6)]
    others = [add_picture() for _ in range(20)]
    worker = start_worker(
        broker, general=SLEEPY, READ_SECONDS=1, POLL_SECONDS=1, RETRY_SECONDS=1, DECODE_THREADS=4
    )
    wait_until(lambda: ProductImageEmbedding.objects.count() == 20, "others are encoded", worker)
    assert set(ProductImageEmbedding.objects.values_list("pk", flat=True)) == {
        image.pk for image in others
    }
    wait_until(
        lambda: EncodingRequest.objects.exclude(error="").count() == 6, "all were tried", worker
    )
    assert error_of(slow[0]) == "The storage didn't answer in 1 s."
    wait_until(
        lambda: set(requests().values()) == {("waiting", 0)}, "no attempt is charged", worker
    )
    (media / "awake").touch()
    for image in slow:
        wait_until_encoded(image, worker)


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_a_process_full_of_reads_that_hang_is_replaced(
    pool: str, broker: Broker, start_worker: StartWorker, add_picture: AddImage, media: Path
) -> None:
    images = [add_picture("slow") for _ in range(40)]
    options = {"POLL_SECONDS": 1, "RETRY_SECONDS": 1, "READ_SECONDS": 0.05, "DECODE_THREADS": 20}
    worker = start_worker(broker, pool, general=SLEEPY, **options)
    wait_until(lambda: "32 calls to the storage" in worker.output(), "it is full", worker)
    if pool == "solo":  # By its supervisor.
        assert worker.wait() == 70
        worker = start_worker(broker, pool, general=SLEEPY, **options)
    (media / "awake").touch()
    for image in images:
        wait_until_encoded(image, worker)
    assert requests() == {}


@pytest.mark.parametrize("pool", ["solo", "threads", "prefork"])
def test_a_worker_that_waits_for_a_storage_ends_at_once(
    pool: str, broker: Broker, start_worker: StartWorker, add_picture: AddImage
) -> None:
    add_picture("slow")
    worker = start_worker(broker, pool, general=SLEEPY, READ_SECONDS=1000, LEASE_SECONDS=3000)
    wait_until(lambda: set(requests().values()) == {("leased", 1)}, "it is in hand", worker)
    worker.popen.terminate()
    assert worker.wait() == 0
    assert set(requests().values()) == {("waiting", 0)}
