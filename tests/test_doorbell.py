"""Wake-ups: few, never lost at the end of a burst, and no save ever waits for a broker."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from cardigan_reco import doorbell, tasks
from cardigan_reco.doorbell import Doorbell
from cardigan_reco.models import EncodingRequest
from tests.celery import app, configured
from tests.conftest import RED, AddProduct, encode_all, jpeg
from tests.processes import Broker, Process, black_hole, closed_port, wait_until
from tests.testapp.models import ProductImageEmbedding

UseBroker = Callable[[Broker], None]


@pytest.fixture
def use_broker() -> Iterator[UseBroker]:
    """Returns a function that has this process send its messages to a broker."""
    with ExitStack() as until_the_end:

        def use(broker: Broker) -> None:
            until_the_end.enter_context(
                configured(
                    broker_url=broker.url, broker_transport_options=dict(broker.transport_options)
                )
            )

        yield use


@pytest.fixture
def folder(tmp_path: Path, use_broker: UseBroker) -> Broker:
    broker = Broker.in_folder(tmp_path / "broker")
    use_broker(broker)
    return broker


@pytest.fixture
def bell(use_broker: UseBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doorbell]:
    """The doorbell of the hooks, with nothing sent yet and short pauses."""
    bell = Doorbell()
    bell.interval_seconds = 0.2
    bell.longest_pause_seconds = 0.2
    monkeypatch.setattr(doorbell, "ring", bell.ring)
    yield bell
    bell.close()


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


class TestRinging:
    def test_the_message_is_for_the_queue_of_the_workers(
        self, folder: Broker, bell: Doorbell
    ) -> None:
        bell.ring("default")
        wait_until(folder.messages, "a message is there")
        with app.connection_for_read() as connection:
            message = connection.SimpleQueue("cardigan").get(timeout=60)
            message.ack()
        assert message.headers["task"] == "cardigan_reco.encode_pending"
        assert message.headers["expires"] is not None
        assert message.payload[0] == ["default"]

    def test_another_thread_does_it(self, bell: Doorbell, monkeypatch: pytest.MonkeyPatch) -> None:
        senders: list[str] = []
        monkeypatch.setattr(
            tasks, "send_wake_up", lambda using: senders.append(threading.current_thread().name)
        )
        bell.ring("default")
        wait_until(lambda: senders, "a wake-up is sent")
        assert senders == ["cardigan-doorbell"]

    def test_a_burst_sends_few_messages(self, folder: Broker, bell: Doorbell) -> None:
        start = time.monotonic()
        for _ in range(1000):
            bell.ring("default")
        bell.close()
        elapsed = time.monotonic() - start
        assert 1 <= folder.messages() <= 2 + elapsed / bell.interval_seconds

    def test_the_last_ring_of_a_burst_is_sent(self, folder: Broker, bell: Doorbell) -> None:
        bell.ring("default")
        wait_until(lambda: folder.messages() == 1, "the first ring is sent")
        bell.ring("default")
        wait_until(lambda: folder.messages() == 2, "the second ring is sent")

    def test_a_process_that_ends_sends_its_last_ring(self, folder: Broker, bell: Doorbell) -> None:
        bell.interval_seconds = 3600
        bell.ring("default")
        wait_until(lambda: folder.messages() == 1, "the first ring is sent")
        bell.ring("default")
        bell.close()
        assert folder.messages() == 2

    def test_each_database_gets_its_message(self, folder: Broker, bell: Doorbell) -> None:
        bell.interval_seconds = 3600
        bell.ring("default")
        wait_until(lambda: folder.messages() == 1, "the first ring is sent")
        bell.ring("default")
        bell.ring("other")
        bell.close()
        assert folder.messages() == 3

    def test_without_celery_it_is_silent(
        self, bell: Doorbell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doorbell, "celery_is_installed", lambda: False)
        before = thread_names()
        bell.ring("default")
        assert thread_names() == before


@pytest.mark.django_db(transaction=True)
class TestBrokerAway:
    def test_a_thousand_saves_are_encoded_later(
        self,
        add_product: AddProduct,
        bell: Doorbell,
        use_broker: UseBroker,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        product = add_product("mug")
        with closed_port() as port:
            use_broker(Broker(f"redis://127.0.0.1:{port}/0"))
            start = time.monotonic()
            for number in range(1000):
                product.images.create(original=f"products/{number % 10}.jpg")
            assert time.monotonic() - start < 60  # One that waited would do so for seconds.
            save_pictures(product.images.model, 10)
            assert EncodingRequest.objects.count() == 1000
            wait_until(lambda: "woken" in caplog.text, "the outage is logged")
            call_command("encode_images")
            assert ProductImageEmbedding.objects.count() == 1000

    def test_an_outage_is_logged_once_and_ends(
        self,
        bell: Doorbell,
        tmp_path: Path,
        use_broker: UseBroker,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tries: list[str] = []
        send = tasks.send_wake_up

        def count(using: str) -> None:
            tries.append(using)
            send(using)

        monkeypatch.setattr(tasks, "send_wake_up", count)
        caplog.set_level(logging.INFO, doorbell.logger.name)
        # Broken without any wait for the network: the thread meets an error it can't know.
        use_broker(Broker("nosuchtransport://"))
        bell.ring("default")
        wait_until(lambda: len(tries) >= 3, "the wake-up was tried three times")
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "No worker can be woken until the broker is back: KeyError" in caplog.text
        broker = Broker.in_folder(tmp_path / "broker")
        use_broker(broker)
        wait_until(broker.messages, "the ring of the outage is sent after it")
        wait_until(lambda: "Workers can be woken again." in caplog.text, "the end is logged")

    @pytest.mark.parametrize("scheme", ["redis", "amqp"])
    def test_a_black_hole_holds_up_no_save(
        self, scheme: str, add_product: AddProduct, bell: Doorbell, use_broker: UseBroker
    ) -> None:
        with black_hole() as port:
            use_broker(Broker(f"{scheme}://127.0.0.1:{port}/"))
            start = time.monotonic()
            image = add_product("mug", RED).images.get()
            for _ in range(100):
                image.save()
            assert time.monotonic() - start < 10
            assert encode_all().encoded == 1
            assert "cardigan-doorbell" in thread_names()
            bell.farewell_seconds = 0

    def test_a_black_hole_holds_up_no_process(self, tmp_path: Path) -> None:
        with black_hole() as port:
            script = (
                "import django; django.setup()\n"
                "import tests.celery\n"
                "from tests.testapp.models import Poster\n"
                "Poster.objects.create(title='A', image='a.jpg')\n"
            )
            process = Process(
                "-c", script, log=tmp_path / "log", CELERY_BROKER_URL=f"redis://127.0.0.1:{port}/"
            )
            # Redis' client would wait for two minutes.
            assert process.wait() == 0, process.output()
        assert EncodingRequest.objects.count() == 1


def save_pictures(model: type, count: int) -> None:
    storage = model._meta.get_field("original").storage
    for number in range(count):
        path = Path(storage.path(f"products/{number}.jpg"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg((20 * number, 0, 0)))


@pytest.mark.django_db(transaction=True)
def test_a_task_that_runs_eagerly_leaves_no_connection(
    add_product: AddProduct, bell: Doorbell
) -> None:
    before = database_connections()
    with configured(task_always_eager=True):
        add_product("mug", RED)
        wait_until(ProductImageEmbedding.objects.exists, "the picture is encoded")
    wait_until(lambda: database_connections() == before, "the thread's connections are closed")
    assert "cardigan-doorbell" in thread_names()


def database_connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no fork.")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "moment", ["if True:", "for _ in [time.sleep(0.05)]:", "with doorbell._changed:"]
)
def test_a_forked_process_rings_by_itself(tmp_path: Path, moment: str) -> None:
    """Whether the parent's thread has just begun, imports Celery's modules or waits for a lock."""
    broker = Broker.in_folder(tmp_path / "broker")
    script = (
        "import django; django.setup()\n"
        "import os, sys, time, tests.celery\n"
        "from cardigan_reco.doorbell import doorbell\n"
        "doorbell.farewell_seconds = 60\n"
        "doorbell.fork_seconds = 60\n"
        "doorbell.ring('parent')\n"
        f"{moment}\n"
        "    child = os.fork()\n"
        "if child == 0:\n"
        "    doorbell.ring('child')\n"
        "    sys.exit()\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    process = Process("-c", script, log=tmp_path / "log", **broker.settings())
    assert process.wait() == 0, process.output()
    assert broker.messages() == 2
