"""Real Celery workers: woken, polling, killed, refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from cardigan_reco import doorbell, recommendations, tasks
from cardigan_reco.doorbell import Doorbell
from cardigan_reco.models import EncodingRequest
from cardigan_reco.signals import paused
from tests.celery import configured
from tests.conftest import BLUE, GREEN, ORANGE, RED, AddProduct, add_image, jpeg
from tests.pictures import encoded as picture_file
from tests.pictures import plain
from tests.processes import Broker, Process, RabbitServer, RedisServer, wait_until
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import ProductImageEmbedding
from tests.workers import StartWorker, wait_for_worker, wait_until_encoded

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = 3600


@pytest.fixture
def folder(tmp_path: Path) -> Broker:
    return Broker.in_folder(tmp_path / "broker")


@pytest.fixture
def bell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Doorbell]:
    """The doorbell of this process' saves, with nothing sent yet."""
    bell = Doorbell()
    monkeypatch.setattr(doorbell, "ring", bell.ring)
    yield bell
    bell.close()


class TestWoken:
    @pytest.mark.parametrize("pool", ["solo", "threads", "prefork"])
    def test_a_saved_picture_changes_the_shelf(
        self,
        pool: str,
        folder: Broker,
        start_worker: StartWorker,
        add_product: AddProduct,
        bell: Doorbell,
    ) -> None:
        with configured(
            broker_url=folder.url, broker_transport_options=dict(folder.transport_options)
        ):
            mug, bowl = add_product("mug", RED), add_product("bowl", ORANGE)
            worker = start_worker(folder, pool, POLL_SECONDS=HOUR)
            wait_until_encoded(bowl.images.get(), worker)
            vase = add_product("vase", BLUE)
            wait_until_encoded(vase.images.get(), worker)
            assert recommendations.similar_to(mug) == [bowl, vase]
            image = mug.images.get()
            image.original = ContentFile(jpeg(BLUE), name="blue.jpg")
            image.save()
            wait_until(
                lambda: recommendations.similar_to(mug) == [vase, bowl],
                "the shelf has changed",
                worker,
            )

    @pytest.mark.parametrize("pool", ["solo", "prefork"])
    def test_with_redis(
        self,
        pool: str,
        redis: RedisServer,
        start_worker: StartWorker,
        add_product: AddProduct,
        bell: Doorbell,
    ) -> None:
        with configured(broker_url=redis.broker.url):
            worker = start_worker(redis.broker, pool, POLL_SECONDS=HOUR)
            wait_for_worker(worker)
            for colour in (RED, GREEN):
                wait_until_encoded(add_product("mug", colour).images.get(), worker)

    @pytest.mark.parametrize("pool", ["solo", "threads", "prefork"])
    def test_with_rabbitmq(
        self,
        pool: str,
        rabbit: RabbitServer,
        start_worker: StartWorker,
        add_product: AddProduct,
        bell: Doorbell,
    ) -> None:
        with configured(broker_url=rabbit.broker.url):
            worker = start_worker(rabbit.broker, pool, POLL_SECONDS=HOUR)
            wait_for_worker(worker)
            for colour in (RED, GREEN):
                wait_until_encoded(add_product("mug", colour).images.get(), worker)

    def test_wake_ups_that_nobody_takes_leave_rabbitmq_by_themselves(
        self, rabbit: RabbitServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tasks, "EXPIRES_SECONDS", 10)
        with configured(broker_url=rabbit.broker.url):
            for _ in range(3):
                tasks.send_wake_up("default")
            wait_until(lambda: rabbit.messages("cardigan") == 3, "the messages are there")
            wait_until(lambda: rabbit.messages("cardigan") == 0, "the messages are gone")


class TestPolling:
    @pytest.mark.parametrize("pool", ["solo", "threads", "prefork"])
    @pytest.mark.parametrize("transport", ["folder", "memory"])
    def test_finds_what_nobody_rang_for(
        self,
        pool: str,
        transport: str,
        folder: Broker,
        start_worker: StartWorker,
        add_product: AddProduct,
        silent_doorbell: list[str],
    ) -> None:
        product = add_product("mug", GREEN)
        broker = folder if transport == "folder" else Broker("memory://")
        worker = start_worker(broker, pool, POLL_SECONDS=1)
        wait_until_encoded(product.images.get(), worker)
        wait_until_encoded(add_image(product, RED), worker)

    def test_survives_an_outage_of_the_broker(
        self,
        redis: RedisServer,
        start_worker: StartWorker,
        add_product: AddProduct,
        silent_doorbell: list[str],
    ) -> None:
        worker = start_worker(redis.broker, "solo", POLL_SECONDS=1)
        product = add_product("mug", GREEN)
        wait_until_encoded(product.images.get(), worker)
        redis.stop()
        wait_until(lambda: "Connection to broker lost" in worker.output(), "it notices", worker)
        image = add_image(product, RED)
        redis.start()
        wait_until_encoded(image, worker)
        wait_until_encoded(add_image(product, BLUE), worker)

    def test_a_database_that_is_away_is_a_line_a_poll(
        self, folder: Broker, start_worker: StartWorker
    ) -> None:
        """And no traceback, of which each poll of each worker would add another."""
        away = {"DATABASE_URL": "postgresql://postgres@127.0.0.1:1/shop"}
        worker = start_worker(folder, environment=away, POLL_SECONDS=1)
        line = (
            "Database 'default' can't be used, so its pictures wait. It is asked again every 1 s: "
            "connection "
        )
        wait_until(lambda: worker.output().count(line) > 1, "two polls have failed", worker)
        assert "Traceback" not in worker.output()

    def test_a_worker_of_another_queue_leaves_it_alone(
        self, folder: Broker, start_worker: StartWorker, silent_doorbell: list[str]
    ) -> None:
        worker = start_worker(folder, CELERY_QUEUE="elsewhere", POLL_SECONDS=1)
        wait_for_worker(worker)
        worker.stop()  # It would send its last ring now.
        assert folder.messages() == 0


def test_a_killed_worker_loses_nothing_and_repeats_one_batch_at_most(
    folder: Broker, start_worker: StartWorker, tmp_path: Path
) -> None:
    log = tmp_path / "encoded.log"
    batch_size, count = 20, 500
    product = Product.objects.create(title="mug")
    colours = {}
    with paused():
        for number in range(count):
            colour = (number // 256, number % 256, 90)
            file = ContentFile(picture_file(plain(colour, (16, 16)), "PNG"), name=f"{number}.png")
            image = ProductImage.objects.create(product=product, original=file)
            colours[image.pk] = str(colour)

    def start(**options: int) -> Process:
        encoder = {
            "BACKEND": "tests.recording_encoders.RecordingEncoder",
            "OPTIONS": {"dimensions": 16, "log": str(log), **options},
        }
        return start_worker(
            folder,
            ENCODERS={"default": encoder},
            BATCH_SIZE=batch_size,
            LEASE_SECONDS=2,
            POLL_SECONDS=1,
        )

    def encoded() -> Counter[str]:
        lines = log.read_text().splitlines() if log.exists() else []
        return Counter(line.partition(" ")[2] for line in lines)

    worker = start(hangs_at=200)
    wait_until(lambda: encoded().total() == 200, "the tenth batch is being encoded", worker)
    worker.kill()
    written = dict(ProductImageEmbedding.objects.values_list("pk", "encoded_at"))
    in_flight = EncodingRequest.objects.filter(state="leased").values_list("source_pk", flat=True)
    interrupted = {int(pk) for pk in in_flight}
    assert len(written) == 180
    assert len(interrupted) == batch_size

    worker = start()
    wait_until(lambda: not EncodingRequest.objects.exists(), "the queue is empty", worker)
    after = dict(ProductImageEmbedding.objects.values_list("pk", "encoded_at"))
    assert set(after) == set(colours)
    # What was written before the kill is not written again,
    assert {pk: after[pk] for pk in written} == written
    # and each picture is encoded once, but for the batch that was never written.
    assert encoded() == {colour: 2 if pk in interrupted else 1 for pk, colour in colours.items()}


class TestCuda:
    ENCODERS = {
        "default": {
            "BACKEND": "tests.recording_encoders.CudaEncoder",
            "OPTIONS": {"dimensions": 16},
        }
    }

    @pytest.mark.parametrize("pool", ["prefork", None])
    def test_prefork_is_refused(
        self, pool: str | None, folder: Broker, start_worker: StartWorker
    ) -> None:
        worker = start_worker(folder, pool, ENCODERS=self.ENCODERS)
        assert worker.wait() == 1
        assert worker.output().endswith(
            "Encoder 'default' runs on CUDA, which does not survive the forks of Celery's "
            "prefork pool. Start the worker with --pool=solo, one for each GPU.\n"
        )

    def test_solo_is_not(
        self, folder: Broker, start_worker: StartWorker, add_product: AddProduct
    ) -> None:
        image = add_product("mug", RED).images.get()
        worker = start_worker(folder, "solo", ENCODERS=self.ENCODERS)
        wait_until_encoded(image, worker)

    def test_prefork_of_another_queue_is_not(
        self, folder: Broker, start_worker: StartWorker
    ) -> None:
        worker = start_worker(folder, "prefork", ENCODERS=self.ENCODERS, CELERY_QUEUE="elsewhere")
        wait_for_worker(worker)
