"""Where photos are encoded: places in this process, and real workers behind Redis."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image
from pytest_django import Settings

from cardigan_reco import heartbeats, images, photos, search
from cardigan_reco.encoders import encoders
from cardigan_reco.exceptions import Busy, DeviceLost, EncoderError, MissingExtra, TooManyPixels
from cardigan_reco.models import WorkerHeartbeat
from tests.celery import configured
from tests.conftest import BLUE, GREEN, RED, AddProduct, encode_all, jpeg
from tests.faults.conftest import encoder
from tests.pictures import encoded, noise, plain
from tests.processes import Process, RedisServer, black_hole, closed_port, wait_until


def searching(settings: Settings, **search_options: object) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH": search_options}


class TestInThisProcess:
    def test_gives_the_vector_that_a_product_would_get(self) -> None:
        photo = photos.encode(jpeg(RED), encoder="default")
        encoder = encoders["default"]
        image = images.load(jpeg(RED), min_side=encoder.min_side)
        assert np.array_equal(photo.vector, encoder.encode([image])[0])
        assert photo.fingerprint == encoder.fingerprint

    def test_a_photo_in_webp_may_have_half_as_many_pixels(self, settings: Settings) -> None:
        """So that it takes no more memory of a web server than others."""
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "MAX_IMAGE_PIXELS": 64 * 48}
        photos.encode(encoded(plain(), "PNG"), encoder="default")
        with pytest.raises(TooManyPixels):
            photos.encode(encoded(plain(), "WEBP"), encoder="default")

    def test_a_photo_for_a_worker_may_be_more_bytes_than_an_upload(
        self, settings: Settings
    ) -> None:
        """It travels as a PNG, which of a photo is several times its JPEG."""
        pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        lossless = BytesIO()
        Image.fromarray(pixels).save(lossless, "PNG")
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "MAX_IMAGE_BYTES": 5_000}
        assert len(lossless.getvalue()) > 5_000
        answer = photos.answer("default", b64encode(lossless.getvalue()).decode())
        assert answer["fingerprint"] == encoders["default"].fingerprint

    def test_fault_42_a_lost_device_is_named(self, settings: Settings) -> None:
        pytest.importorskip("torch")
        settings.CARDIGAN_RECO = {"ENCODERS": encoder("LostEncoder")}
        with pytest.raises(DeviceLost, match="'default' has lost its device: CUDA error"):
            photos.encode(jpeg(RED), encoder="default")

    def test_only_so_many_at_a_time(self, settings: Settings) -> None:
        searching(settings, CONCURRENT=1, WAIT_SECONDS=0.05)
        held, release = threading.Event(), threading.Event()

        class Slow:
            def read(self, size: int) -> bytes:
                held.set()
                release.wait(10)
                return b""

        def hold() -> None:
            with pytest.raises(Exception, match="empty"):
                photos.encode(Slow(), encoder="default")

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            assert held.wait(10)
            with pytest.raises(Busy, match="1 photos are being encoded") as raised:
                photos.encode(jpeg(RED), encoder="default")
            assert raised.value.retry_after_seconds > 0
        finally:
            release.set()
            thread.join()
        # The place is free again, though the photo was bad.
        photos.encode(jpeg(RED), encoder="default")


StartSearchWorker = Callable[..., Process]


@pytest.fixture
def start_worker(
    transactional_db: None, settings: Settings, tmp_path: Path, redis: RedisServer
) -> Iterator[StartSearchWorker]:
    """Returns a function that starts a worker of the photos' queue."""
    started: list[Process] = []

    def start(pool: str = "solo", **changed: Any) -> Process:
        worker = Process(
            *["-m", "celery", "-A", "tests.celery", "worker", f"--pool={pool}"],
            *["-Q", "cardigan-search", "-c", "2", "-l", "INFO", "--without-mingle"],
            log=tmp_path / f"worker{len(started)}.log",
            CARDIGAN_RECO={**settings.CARDIGAN_RECO, **changed},
            CELERY_RESULT_BACKEND=redis.broker.url,
            **redis.broker.settings(),
        )
        started.append(worker)
        wait_until(lambda: "ready." in worker.output(), "the worker is ready", worker)
        return worker

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture
def through_redis(transactional_db: None, settings: Settings, redis: RedisServer) -> Iterator[None]:
    """Lets photos be sent, since a worker, which has been lost, was there a moment ago."""
    searching(settings, ENCODE_IN="worker", DEADLINE_SECONDS=20)
    WorkerHeartbeat.objects.create(name="celery@lost", pid=1, queues=["cardigan-search"])
    heartbeats._serve.cache_clear()
    with configured(
        broker_url=redis.broker.url,
        broker_transport_options={"max_retries": 0},  # kombu would try for six seconds.
        result_backend=redis.broker.url,
    ):
        yield


def asking() -> set[threading.Thread]:
    """Returns the threads that ask workers."""
    return {thread for thread in threading.enumerate() if thread.name == "cardigan-photo"}


def sent(redis: RedisServer) -> list[dict[str, Any]]:
    """Returns the messages that wait for a worker, once all that is to be sent is sent."""
    from redis import Redis

    for thread in asking():
        thread.join(10)
    with Redis(port=redis.port) as client:
        return [json.loads(message) for message in client.lrange("cardigan-search", 0, -1)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("through_redis")
class TestInAWorker:
    @pytest.mark.parametrize("pool", ["solo", "prefork"])
    def test_finds_what_a_search_in_this_process_finds(
        self,
        pool: str,
        start_worker: StartSearchWorker,
        add_product: AddProduct,
        settings: Settings,
    ) -> None:
        for title, colour in (("mug", RED), ("cup", BLUE), ("bowl", GREEN)):
            add_product(title, colour)
        encode_all()
        start_worker(pool)
        there = search.by_image(jpeg(BLUE), crop=(0.1, 0, 1, 1))
        searching(settings, ENCODE_IN="process")
        here = search.by_image(jpeg(BLUE), crop=(0.1, 0, 1, 1))
        assert there[0].title == "cup"
        assert there == here
        assert [item.similarity for item in there] == [item.similarity for item in here]

    def test_nothing_of_a_photo_stays_behind(
        self, start_worker: StartSearchWorker, redis: RedisServer
    ) -> None:
        from redis import Redis

        start_worker()
        photos.encode(jpeg(RED), encoder="default")
        with Redis(port=redis.port) as client:

            def left() -> list[str]:
                keys = [key.decode() for key in client.scan_iter()]
                # "cardigan" has wake-ups for other workers, of saves in earlier tests.
                return [key for key in keys if "_kombu" not in key and key != "cardigan"]

            # The worker acknowledges the photo once it has answered.
            wait_until(lambda: not left(), "nothing is left")

    def test_without_a_worker_it_is_busy_in_time(self, settings: Settings) -> None:
        searching(settings, ENCODE_IN="worker", DEADLINE_SECONDS=0.3)
        start = time.monotonic()
        with pytest.raises(Busy, match=r"No worker .* 'cardigan-search' answered in 0\.3"):
            photos.encode(jpeg(RED), encoder="default")
        assert time.monotonic() - start < 5

    def test_while_no_worker_is_there_nothing_is_sent(
        self, redis: RedisServer, start_worker: StartSearchWorker
    ) -> None:
        WorkerHeartbeat.objects.all().delete()
        for _ in range(3):
            with pytest.raises(Busy, match="No worker of the queue 'cardigan-search' is there"):
                photos.encode(jpeg(RED), encoder="default")
        assert sent(redis) == []
        start_worker()
        wait_until(self._answers, "the worker is known")

    def test_a_photo_is_to_be_written_nowhere_and_dropped_in_time(
        self, settings: Settings, redis: RedisServer
    ) -> None:
        searching(settings, ENCODE_IN="worker", DEADLINE_SECONDS=2)
        with pytest.raises(Busy):
            photos.encode(jpeg(RED), encoder="default")
        (message,) = sent(redis)
        assert message["properties"]["delivery_mode"] == 1
        assert message["properties"]["expiration"] == "2000"

    def test_a_photo_that_took_too_long_to_pack_is_not_sent(
        self, settings: Settings, redis: RedisServer
    ) -> None:
        searching(settings, ENCODE_IN="worker", DEADLINE_SECONDS=0.001)
        with pytest.raises(Busy):
            photos.encode(encoded(noise((900, 900)), "PNG"), encoder="default")
        assert sent(redis) == []

    @pytest.mark.parametrize(
        ("backend", "options", "most"),
        [
            ("torch.TorchEncoder", {}, 144**2),
            ("torchvision.TorchvisionEncoder", {"network": "resnet18"}, 1024**2),
        ],
    )
    def test_no_more_of_a_photo_travels_than_the_encoder_needs(
        self,
        settings: Settings,
        redis: RedisServer,
        backend: str,
        options: dict[str, str],
        most: int,
    ) -> None:
        """Noise, as PNG and base64, is four bytes a pixel."""
        searching(settings, ENCODE_IN="worker", DEADLINE_SECONDS=5)
        built = {"BACKEND": f"cardigan_reco.encoders.{backend}", "OPTIONS": options}
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "ENCODERS": {"default": built}}
        with pytest.raises(Busy):
            photos.encode(encoded(noise((350, 7_000)), "JPEG"), encoder="default")
        (message,) = sent(redis)
        (_encoder, picture), *_ = json.loads(b64decode(message["body"]))
        image = Image.open(BytesIO(b64decode(picture)))
        assert image.width * image.height <= most

    def test_a_photo_that_nobody_waits_for_any_more_is_not_encoded(
        self, settings: Settings, start_worker: StartSearchWorker
    ) -> None:
        searching(settings, ENCODE_IN="worker", DEADLINE_SECONDS=2)
        with pytest.raises(Busy):
            photos.encode(jpeg(RED), encoder="default")
        worker = start_worker()
        wait_until(lambda: "Discarding" in worker.output(), "the photo has expired", worker)
        assert "succeeded" not in worker.output()

    def test_an_error_of_the_encoder_arrives(self, start_worker: StartSearchWorker) -> None:
        broken = {"BACKEND": "tests.recording_encoders.BrokenEncoder"}
        start_worker(ENCODERS={"default": broken})
        with pytest.raises(EncoderError):
            photos.encode(jpeg(RED), encoder="default")

    def test_fault_42_a_lost_device_arrives_and_ends_the_worker(
        self, start_worker: StartSearchWorker
    ) -> None:
        pytest.importorskip("torch")
        worker = start_worker(ENCODERS=encoder("LostEncoder"))
        with pytest.raises(DeviceLost, match="'default' has lost its device: CUDA error"):
            photos.encode(jpeg(RED), encoder="default")
        assert worker.wait() == 70, worker.output()

    def test_a_missing_extra_arrives(self, start_worker: StartSearchWorker) -> None:
        start_worker(ENCODERS={"default": {"BACKEND": "tests.recording_encoders.BareEncoder"}})
        with pytest.raises(MissingExtra, match=r"pip install 'cardigan-reco\[torch\]'"):
            photos.encode(jpeg(RED), encoder="default")

    def test_a_broker_that_is_down_is_busy(self) -> None:
        with (
            closed_port() as port,
            configured(broker_url=f"redis://127.0.0.1:{port}/0"),
            pytest.raises(Busy, match="can't be reached"),
        ):
            photos.encode(jpeg(RED), encoder="default")

    def test_a_result_store_that_was_away_is_found_again(
        self, redis: RedisServer, start_worker: StartSearchWorker
    ) -> None:
        start_worker()
        photos.encode(jpeg(RED), encoder="default")
        redis.stop()
        with pytest.raises(Busy):
            photos.encode(jpeg(RED), encoder="default")
        redis.start()
        wait_until(self._answers, "the workers answer again")

    def _answers(self) -> bool:
        try:
            photos.encode(jpeg(RED), encoder="default")
        except Busy:
            return False
        return True

    def test_a_broker_that_hangs_holds_nobody_up(self, settings: Settings) -> None:
        searching(settings, ENCODE_IN="worker", DEADLINE_SECONDS=0.3, CONCURRENT=7)
        before = asking()
        with black_hole() as port, configured(broker_url=f"redis://127.0.0.1:{port}/0"):
            # A slow machine may take longer to pack a photo than it has; such a one sends nothing.
            for _ in range(40):
                with pytest.raises(Busy) as raised:
                    photos.encode(jpeg(RED), encoder="default")
                if "answered in" not in str(raised.value):
                    break
            # Their threads still hang; no more of them are started.
            assert str(raised.value) == "Earlier photos still wait for the workers' broker."
            assert len(asking() - before) == 7


@pytest.mark.django_db(transaction=True)
class TestWarmUp:
    def test_loads_in_this_process(self, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("warm_up_search")
        assert "default" in capsys.readouterr().out

    @pytest.mark.usefixtures("through_redis")
    def test_loads_in_a_worker(
        self, start_worker: StartSearchWorker, capsys: pytest.CaptureFixture[str]
    ) -> None:
        start_worker()
        call_command("warm_up_search")
        assert "worker" in capsys.readouterr().out

    @pytest.mark.usefixtures("through_redis")
    def test_says_that_no_worker_answers(self, settings: Settings) -> None:
        searching(settings, ENCODE_IN="worker", DEADLINE_SECONDS=0.3)
        with pytest.raises(CommandError, match="No worker of the queue"):
            call_command("warm_up_search")
