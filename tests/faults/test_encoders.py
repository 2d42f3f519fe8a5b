"""Faults 42 and 50: encoders out of memory, without a device, or with useless vectors."""

from __future__ import annotations

from pathlib import Path

import pytest

from cardigan_reco.models import EncodingRequest
from tests.faults.conftest import AddImage, encoder, requests
from tests.processes import Broker, Process, wait_until
from tests.testapp.models import ProductImageEmbedding
from tests.workers import StartWorker

pytestmark = pytest.mark.django_db(transaction=True)


def test_fault_42_batches_are_halved_until_they_fit(
    broker: Broker, start_worker: StartWorker, add_picture: AddImage, tmp_path: Path
) -> None:
    images = [add_picture() for _ in range(32)]
    log = tmp_path / "batches.log"
    encoders = encoder("CrampedEncoder", fits=5, log=str(log))
    worker = start_worker(broker, ENCODERS=encoders, BATCH_SIZE=32)
    wait_until(lambda: requests() == {}, "all are encoded", worker)
    assert ProductImageEmbedding.objects.count() == len(images)
    sizes = [int(line) for line in log.read_text().splitlines()]
    assert sizes[:4] == [32, 16, 8, 4]
    # Then it feels its way, and never again far beyond what fits.
    assert max(sizes[4:]) == 6
    assert sum(size for size in sizes if size <= 5) == 32


def test_fault_42_memory_that_is_never_enough_charges_no_attempt(
    broker: Broker, start_worker: StartWorker, add_picture: AddImage, tmp_path: Path
) -> None:
    add_picture()
    encoders = encoder("CrampedEncoder", fits=0, log=str(tmp_path / "batches.log"))
    worker = start_worker(broker, ENCODERS=encoders, POLL_SECONDS=1, RETRY_SECONDS=1)
    wait_until(
        lambda: (
            (tmp_path / "batches.log").exists()
            and len((tmp_path / "batches.log").read_text().splitlines()) > 4
        ),
        "it was tried more often than MAX_ATTEMPTS",
        worker,
    )
    worker.stop()
    assert set(requests().values()) == {("waiting", 0)}
    assert "The encoder's memory is full: CUDA out" in EncodingRequest.objects.get().error


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_fault_42_a_worker_that_lost_its_device_ends_and_loses_no_row(
    pool: str, broker: Broker, start_worker: StartWorker, add_picture: AddImage
) -> None:
    images = [add_picture() for _ in range(5)]
    worker = start_worker(broker, pool, ENCODERS=encoder("LostEncoder"), POLL_SECONDS=1)
    assert worker.wait() == 70, worker.output()
    assert (
        "The worker ends, since it can't go on: Encoder 'default' has lost its device"
        in worker.output()
    )
    assert requests() == {image.pk: ("waiting", 0) for image in images}


def test_fault_42_the_command_ends_as_well(
    broker: Broker, add_picture: AddImage, tmp_path: Path
) -> None:
    image = add_picture()
    process = Process(
        *["-m", "django", "encode_images"],
        log=tmp_path / "log",
        CARDIGAN_RECO={"ENCODERS": encoder("LostEncoder")},
    )
    assert process.wait() == 1
    assert "has lost its device: CUDA error" in process.output()
    assert requests() == {image.pk: ("waiting", 0)}
