"""Faults 40 and 41: pictures that crash or hang the decoder, in workers that are real processes."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from django.utils import timezone

from cardigan_reco import queue
from cardigan_reco.models import EncodingRequest
from tests.conftest import encode_all
from tests.faults.conftest import DECODERS, AddImage, error_of, requests
from tests.faults.decoders.sitecustomize import CRASHES, HANGS
from tests.processes import Broker, wait_until
from tests.testapp.models import ProductImageEmbedding
from tests.workers import StartWorker, wait_until_encoded

pytestmark = pytest.mark.django_db(transaction=True)
ENVIRONMENT = {"PYTHONPATH": str(DECODERS)}


def encoded() -> set[int]:
    return set(ProductImageEmbedding.objects.values_list("pk", flat=True))


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_fault_40_a_picture_that_crashes_the_decoder_is_dead_once(
    pool: str, broker: Broker, start_worker: StartWorker, add_picture: AddImage
) -> None:
    images = [add_picture(side=CRASHES if number == 3 else 64) for number in range(8)]
    options = {"LEASE_SECONDS": 2, "POLL_SECONDS": 1}
    worker = start_worker(broker, pool, environment=ENVIRONMENT, **options)
    if pool == "solo":  # Its supervisor starts another one; prefork does so by itself.
        assert worker.wait() < 0
        worker = start_worker(broker, pool, environment=ENVIRONMENT, **options)
    culprit = images.pop(3)
    wait_until(lambda: requests() == {culprit.pk: ("dead", 2)}, "one is dead, none waits", worker)
    assert encoded() == {image.pk for image in images}
    assert "SIGSEGV" in error_of(culprit)
    wait_until_encoded(add_picture("later"), worker)


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_fault_41_a_decode_that_never_returns_is_killed(
    pool: str, broker: Broker, start_worker: StartWorker, add_picture: AddImage
) -> None:
    images = [add_picture(side=HANGS if number == 3 else 64) for number in range(8)]
    worker = start_worker(
        broker, pool, environment=ENVIRONMENT, DECODE_SECONDS=1, POLL_SECONDS=1, LEASE_SECONDS=8
    )
    culprit = images.pop(3)
    wait_until(lambda: requests() == {culprit.pk: ("bad_image", 2)}, "one is bad", worker)
    assert encoded() == {image.pk for image in images}
    assert error_of(culprit) == "The picture isn't decoded after 1 s."
    # The thread that hangs keeps the worker neither from more pictures, hostile ones included,
    wait_until_encoded(add_picture("later"), worker)
    other = add_picture("worse", side=CRASHES)
    wait_until(lambda: requests()[other.pk][0] == "dead", "the other is dead", worker)
    # A process of the pool whose threads all return may take it, and is killed by it once.
    assert requests()[other.pk][1] == 1 or pool == "prefork"
    # nor from ending.
    worker.popen.terminate()
    assert worker.wait() == 0


def test_a_decoder_that_is_killed_from_outside_costs_an_attempt_each_time(
    broker: Broker, add_picture: AddImage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the system does where memory is short, whoever took it."""
    hanging = tmp_path / "hanging"
    monkeypatch.setenv("CARDIGAN_TESTS_HANGING", str(hanging))
    monkeypatch.syspath_prepend(str(DECODERS))
    image = add_picture(side=HANGS)
    queue.abandon(queue.claim(ProductImageEmbedding, limit=1, using="default"), "", using="default")
    for expected in [("waiting", 2), ("dead", 3)]:
        killer = threading.Thread(target=kill_decoder, args=[hanging])
        killer.start()
        encode_all()
        killer.join()
        assert requests() == {image.pk: expected}
        assert error_of(image) == "The process that decoded the picture was killed."
        EncodingRequest.objects.update(available_at=timezone.now())


def kill_decoder(hanging: Path) -> None:
    """Kills the process that leaves its id in a file, and removes that."""
    wait_until(
        lambda: hanging.exists() and hanging.read_text().endswith("\n"), "the picture is there"
    )
    pid = int(hanging.read_text())
    hanging.unlink()
    os.kill(pid, signal.SIGKILL)
