"""Faults 39, 43 and 44, ends and time limits: what happens to a worker with pictures in hand."""

from __future__ import annotations

import hashlib
import os
import signal
from datetime import datetime
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from cardigan_reco.models import EncodingRequest
from tests.conftest import BLUE, RED, jpeg
from tests.faults.conftest import AddImage, encoder, requests
from tests.processes import Broker, Process, wait_until
from tests.testapp.catalogue.models import ProductImage
from tests.testapp.models import ProductImageEmbedding
from tests.workers import StartWorker, wait_until_encoded

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    """A file that keeps HeldEncoder from going on."""
    (tmp_path / "hold").touch()
    return tmp_path / "hold"


def wait_until_busy(hold: Path, worker: Process) -> None:
    wait_until((hold.parent / "busy").exists, "the picture is in hand", worker)


def encoded_at(image: ProductImage) -> datetime:
    return ProductImageEmbedding.objects.get(pk=image.pk).encoded_at


def finished(worker: Process) -> int:
    return worker.output().count("] succeeded in")


def test_fault_39_a_worker_that_was_paused_past_its_lease_is_fenced(
    broker: Broker,
    start_worker: StartWorker,
    add_picture: AddImage,
    hold: Path,
) -> None:
    image = add_picture()
    options = {
        "ENCODERS": encoder("HeldEncoder", folder=str(hold.parent)),
        "LEASE_SECONDS": 2,
        "POLL_SECONDS": 1,
    }
    paused = start_worker(broker, **options)
    wait_until_busy(hold, paused)
    os.kill(paused.popen.pid, signal.SIGSTOP)
    hold.unlink()
    other = start_worker(broker, **options)
    wait_until_encoded(image, other)
    written, before = encoded_at(image), finished(paused)
    # The picture changes too, so that what the paused worker has in hand is wrong as well as late.
    image.original.save("blue.jpg", ContentFile(jpeg(BLUE)))
    blue = hashlib.sha256(jpeg(BLUE)).hexdigest()
    encoded_blue = ProductImageEmbedding.objects.filter(pk=image.pk, digest=blue)
    wait_until(encoded_blue.exists, "the new picture is encoded", other)
    other.kill()
    rewritten = encoded_at(image)
    assert rewritten > written
    os.kill(paused.popen.pid, signal.SIGCONT)
    wait_until(lambda: finished(paused) > before, "the paused worker has gone on", paused)
    assert encoded_at(image) == rewritten
    assert encoded_blue.exists()
    assert requests() == {}


def test_fault_43_a_picture_that_is_replaced_while_it_is_encoded(
    broker: Broker, start_worker: StartWorker, add_picture: AddImage, hold: Path
) -> None:
    image = add_picture()
    worker = start_worker(
        broker, ENCODERS=encoder("HeldEncoder", folder=str(hold.parent)), POLL_SECONDS=1
    )
    wait_until_busy(hold, worker)
    image.original.save("blue.jpg", ContentFile(jpeg(BLUE)))
    hold.unlink()
    wait_until(lambda: requests() == {}, "the queue is empty", worker)
    row = ProductImageEmbedding.objects.get()
    assert row.digest == hashlib.sha256(jpeg(BLUE)).hexdigest()


def test_fault_44_a_picture_that_is_deleted_while_it_is_encoded(
    broker: Broker, start_worker: StartWorker, add_picture: AddImage, hold: Path
) -> None:
    image = add_picture()
    worker = start_worker(
        broker, ENCODERS=encoder("HeldEncoder", folder=str(hold.parent)), POLL_SECONDS=1
    )
    wait_until_busy(hold, worker)
    image.delete()
    hold.unlink()
    wait_until(lambda: finished(worker), "the batch is over", worker)
    assert not ProductImageEmbedding.objects.exists()
    assert requests() == {}
    assert "ERROR" not in worker.output()


class TestEnd:
    """SIGTERM ends a worker after the batch in hand, whatever else waits."""

    OPTIONS = {"ENCODERS": encoder("SlowEncoder", seconds=0.15), "BATCH_SIZE": 2}

    @pytest.mark.parametrize("pool", ["solo", "threads", "prefork"])
    def test_of_a_worker_leaves_the_backlog(
        self, pool: str, broker: Broker, start_worker: StartWorker, add_picture: AddImage
    ) -> None:
        for _ in range(100):
            add_picture()
        worker = start_worker(broker, pool, LEASE_SECONDS=3000, **self.OPTIONS)
        wait_until(ProductImageEmbedding.objects.exists, "it is at work", worker)
        worker.popen.terminate()
        assert worker.wait() == 0
        waiting = requests()
        assert waiting
        assert set(waiting.values()) == {("waiting", 0)}
        assert len(waiting) + ProductImageEmbedding.objects.count() == 100

    def test_of_the_command_leaves_the_backlog(
        self, broker: Broker, add_picture: AddImage, tmp_path: Path
    ) -> None:
        for _ in range(100):
            add_picture()
        process = Process(
            *["-m", "django", "encode_images"], log=tmp_path / "log", CARDIGAN_RECO=self.OPTIONS
        )
        wait_until(ProductImageEmbedding.objects.exists, "it is at work", process)
        process.popen.terminate()
        assert process.wait() == 0
        assert set(requests().values()) == {("waiting", 0)}
        assert f"{ProductImageEmbedding.objects.count()} encoded" in process.output()


class TestTimeLimits:
    OPTIONS = {
        "ENCODERS": encoder("SlowEncoder", seconds=0.1),
        "BATCH_SIZE": 2,
        "POLL_SECONDS": 1,
        "LEASE_SECONDS": 20,
    }

    def test_a_backlog_stays_within_them(
        self, broker: Broker, start_worker: StartWorker, add_picture: AddImage
    ) -> None:
        for _ in range(120):  # Six seconds for two processes.
            add_picture()
        limits = ("--soft-time-limit=3", "--time-limit=4")
        worker = start_worker(broker, "prefork", arguments=limits, **self.OPTIONS)
        wait_until(lambda: requests() == {}, "all are encoded", worker)
        assert "time limit" not in worker.output().lower().replace("time-limit", "")
        assert "SoftTimeLimitExceeded" not in worker.output()

    @pytest.mark.parametrize("limit", ["--soft-time-limit=4", "--time-limit=6"])
    def test_an_encoder_that_hangs_takes_down_its_picture_alone(
        self, limit: str, broker: Broker, start_worker: StartWorker, add_picture: AddImage
    ) -> None:
        images = [add_picture(colour=BLUE if number == 3 else RED) for number in range(8)]
        options = {
            **self.OPTIONS,
            "ENCODERS": encoder("SlowEncoder", seconds=0.02, hangs=True),
            "LEASE_SECONDS": 2,
            "BATCH_SIZE": 8,
            "RETRY_SECONDS": 1,  # A busy machine may not have decoded a picture in time.
        }
        worker = start_worker(broker, "prefork", arguments=(limit,), **options)
        culprit = images.pop(3)
        wait_until(lambda: requests() == {culprit.pk: ("dead", 3)}, "one is dead", worker)
        assert set(ProductImageEmbedding.objects.values_list("pk", flat=True)) == {
            image.pk for image in images
        }
        error = EncodingRequest.objects.get().error
        assert "SoftTimeLimitExceeded" in error or "The worker was lost 3 times" in error
