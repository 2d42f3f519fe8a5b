"""Logs: the id that joins the lines of a request, and facts as fields; set up as the docs say."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from pytest_django import Settings

import cardigan_reco
from cardigan_reco import doorbell, heartbeats, request_ids, tasks
from cardigan_reco.doorbell import Doorbell
from cardigan_reco.models import WorkerHeartbeat
from cardigan_reco.request_ids import RequestIdFilter, RequestIdMiddleware
from tests.celery import configured
from tests.conftest import GREEN, ORANGE, RED, AddProduct, add_image, encode_all, jpeg
from tests.processes import ROOT, Broker, Process, RedisServer, wait_until
from tests.testapp.models import ProductImageEmbedding
from tests.workers import StartWorker

pytestmark = pytest.mark.django_db(transaction=True)
PACKAGE = Path(cardigan_reco.__file__).parent
LABEL = ProductImageEmbedding._meta.label_lower
ID = "5d0c8a52-8e0e-4a5e"


def blocks(language: str) -> list[str]:
    text = (ROOT / "docs" / "operations.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Writes the docs' formatter into a module; returns their LOGGING."""
    (formatter,) = [block for block in blocks("python") if "json_lines.py" in block]
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "json_lines.py").write_text(formatter)
    monkeypatch.syspath_prepend(tmp_path)
    (settings,) = [block for block in blocks("python") if "LOGGING = " in block]
    names: dict[str, Any] = {"MIDDLEWARE": []}
    exec(settings, names)
    assert names["MIDDLEWARE"] == ["cardigan_reco.request_ids.RequestIdMiddleware"]
    logging_settings: dict[str, Any] = names["LOGGING"]
    yield logging_settings
    for name in ("shop", "shop.json_lines"):
        sys.modules.pop(name, None)


def lines(text: str) -> list[dict[str, Any]]:
    """Returns the lines that are ours; Celery and others write theirs in between."""
    return [json.loads(line) for line in text.splitlines() if line.startswith('{"time"')]


@pytest.fixture
def caught(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.INFO)
    id_filter = RequestIdFilter()
    caplog.handler.addFilter(id_filter)
    yield caplog
    caplog.handler.removeFilter(id_filter)


def ids(caught: pytest.LogCaptureFixture, logger: str) -> list[str]:
    return [record.request_id for record in caught.records if record.name == logger]  # type: ignore[attr-defined]


@pytest.fixture
def shop(settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.operations_urls"
    settings.MIDDLEWARE = [
        "cardigan_reco.request_ids.RequestIdMiddleware",
        *settings.MIDDLEWARE,
    ]


def test_every_line_has_its_facts_as_fields() -> None:
    usual = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request_id"}
    calls = 0
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if ast.unparse(node.func.value) != "logger":
                continue
            calls += 1
            assert "extra" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"
            for keyword in node.keywords:
                if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
                    names = {ast.unparse(key).strip("'") for key in keyword.value.keys if key}
                    assert not names & usual, f"{path}:{node.lineno}"
    assert calls > 15


class TestRequestId:
    @pytest.mark.parametrize("given", ["", "short", "x" * 65, "no spaces in it", "a\nb-cdefgh"])
    def test_harmful_ones_are_replaced(self, given: str) -> None:
        request = RequestFactory().get("/", headers={"X-Request-ID": given})
        assert re.fullmatch(r"[0-9a-f]{32}", request_ids.of(request))

    def test_a_proxys_is_kept(self) -> None:
        request = RequestFactory().get("/", headers={"X-Request-ID": ID})
        assert request_ids.of(request) == ID

    def test_is_carried_within_a_block_alone(self) -> None:
        assert request_ids.current() == ""
        with request_ids.carrying("outer"):
            with request_ids.carrying("inner"):
                assert request_ids.current() == "inner"
            with request_ids.carrying(""):
                assert request_ids.current() == "outer"
        assert request_ids.current() == ""

    def test_lines_outside_of_requests_have_none(self, caught: pytest.LogCaptureFixture) -> None:
        logging.getLogger("shop").info("Hello")
        logging.getLogger("shop").info("Hello", extra={"request_id": "its own"})
        assert ids(caught, "shop") == ["-", "its own"]


@pytest.mark.usefixtures("shop", "silent_doorbell")
class TestWeb:
    def test_pages_of_the_shop(
        self, add_product: AddProduct, caught: pytest.LogCaptureFixture
    ) -> None:
        mug = add_product("mug", RED)
        client = Client()
        answer = client.get(f"/shelf/{mug.pk}/", headers={"X-Request-ID": ID})
        other = client.get(f"/shelf/{mug.pk}/")
        assert answer["X-Request-ID"] == ID
        assert ids(caught, "shop") == [ID, other["X-Request-ID"]]
        assert request_ids.current() == ""

    def test_pages_of_the_shop_under_asgi(self, caught: pytest.LogCaptureFixture) -> None:
        async def answered(request: HttpRequest) -> HttpResponse:
            await asyncio.sleep(0.01)  # Others are answered meanwhile.
            logging.getLogger("shop").info("%s", request.GET["q"])
            return HttpResponse(request_ids.current())

        middleware = RequestIdMiddleware(answered)

        async def ask(name: str) -> HttpResponse:
            headers = {"X-Request-ID": f"{ID}-{name}"}
            request = RequestFactory().get("/", {"q": name}, headers=headers)
            response: HttpResponse = await middleware(request)  # type: ignore[misc,assignment]
            return response

        async def ask_all() -> list[HttpResponse]:
            return list(await asyncio.gather(*[ask(name) for name in "abc"]))

        answers = asyncio.run(ask_all())
        assert [answer.content.decode() for answer in answers] == [f"{ID}-{n}" for n in "abc"]
        assert [answer["X-Request-ID"] for answer in answers] == [f"{ID}-{n}" for n in "abc"]
        assert ids(caught, "shop") == [f"{ID}-{n}" for n in "abc"]

        async def through_the_handler() -> Any:
            headers = {"X-Request-ID": ID}
            return await AsyncClient().get("/visual/health/live/", headers=headers)

        assert asyncio.run(through_the_handler())["X-Request-ID"] == ID

    def test_the_api_has_one_id_with_and_without_the_middleware(
        self, settings: Settings, add_product: AddProduct
    ) -> None:
        mug = add_product("mug", RED)
        address = f"/visual/{mug.pk}/similar/"
        answer = Client().get(address)
        assert answer.json()["request_id"] == answer["X-Request-ID"]
        settings.MIDDLEWARE = settings.MIDDLEWARE[1:]
        answer = Client().get(address, headers={"X-Request-ID": ID})
        assert answer.json()["request_id"] == answer["X-Request-ID"] == ID

    @pytest.mark.parametrize("address", ["/visual/search/", "/photo/"])
    def test_the_thread_that_asks_a_worker_has_it_too(
        self, address: str, settings: Settings, caught: pytest.LogCaptureFixture
    ) -> None:
        settings.MIDDLEWARE = settings.MIDDLEWARE[1:]
        search = {"ENCODE_IN": "worker", "DEADLINE_SECONDS": 20}
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH": search}
        WorkerHeartbeat.objects.create(name="celery@lost", pid=1, queues=["cardigan-search"])
        heartbeats._serve.cache_clear()
        photo = SimpleUploadedFile("photo.jpg", jpeg(RED))
        # kombu would try for six seconds.
        once = {"max_retries": 0}
        with configured(broker_url="redis://127.0.0.1:1/0", broker_transport_options=once):
            answer = Client().post(address, {"image": photo}, headers={"X-Request-ID": ID})
        assert answer.status_code == 503
        assert answer["X-Request-ID"] == ID
        # Threads of earlier tests may still say that their Redis is gone.
        assert ids(caught, "cardigan_reco.photos").count(ID) == 1


@pytest.mark.usefixtures("silent_doorbell")
class TestEncoding:
    def test_a_batch_and_a_failure(
        self, add_product: AddProduct, caught: pytest.LogCaptureFixture
    ) -> None:
        product = add_product("mug", RED, GREEN)
        broken = add_image(product, RED)
        with broken.original.storage.open(broken.original.name, "wb") as file:
            file.write(b"no picture")
        with request_ids.carrying(ID):
            tasks.encode_pending()
        (failure,) = [one for one in caught.records if one.name == "cardigan_reco.writing"]
        (batch,) = [one for one in caught.records if one.name == "cardigan_reco.tasks"]
        assert failure.levelno == logging.WARNING
        assert failure.getMessage().startswith(f"{LABEL} {broken.pk} is given up as bad_image: ")
        fields = ("collection", "database", "source_pk", "state", "attempts", "request_id")
        assert [getattr(failure, field) for field in fields] == [
            *(LABEL, "default", str(broken.pk), "bad_image", 1, ID)
        ]
        assert re.fullmatch(rf"{LABEL}: 2 encoded, 1 bad_image in \d+\.\d\d s", batch.getMessage())
        fields = ("collection", "database", "encoded", "bad_image", "request_id")
        assert [getattr(batch, field) for field in fields] == [LABEL, "default", 2, 1, ID]
        assert batch.seconds > 0  # type: ignore[attr-defined]

    def test_a_task_that_is_called_by_hand_has_the_id_of_who_calls(
        self, add_product: AddProduct, caught: pytest.LogCaptureFixture
    ) -> None:
        add_product("mug", RED)
        with request_ids.carrying(ID):
            assert tasks.encode_pending() == 1
        assert ids(caught, "cardigan_reco.tasks") == [ID]


@pytest.fixture
def bell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Doorbell]:
    bell = Doorbell()
    monkeypatch.setattr(doorbell, "ring", bell.ring)
    yield bell
    bell.close()


class TestWorkers:
    def test_what_is_encoded_from_the_queue_has_the_id_of_its_task(
        self,
        documented: dict[str, Any],
        start_worker: StartWorker,
        add_product: AddProduct,
        bell: Doorbell,
        tmp_path: Path,
    ) -> None:
        folder = Broker.in_folder(tmp_path / "broker")
        worker = start_worker(
            folder,
            environment={"PYTHONPATH": str(tmp_path)},
            general={"LOGGING": documented},
            POLL_SECONDS=1,
        )
        image = add_product("mug", RED).images.get()
        wait_until(lambda: _batches(worker), f"{image} is encoded and logged", worker)
        (batch,) = _batches(worker)
        assert batch["collection"] == LABEL
        assert batch["encoded"] == 1
        task = rf"Task cardigan_reco.encode_pending\[{batch['request_id']}\] received"
        assert re.search(task, worker.output())

    def test_a_shoppers_photo_has_the_id_of_the_shoppers_request(
        self,
        documented: dict[str, Any],
        redis: RedisServer,
        add_product: AddProduct,
        settings: Settings,
        silent_doorbell: list[str],
        tmp_path: Path,
    ) -> None:
        add_product("mug", RED)
        add_product("cup", ORANGE)
        encode_all()
        search = {"ENCODE_IN": "worker", "DEADLINE_SECONDS": 20}
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH": search}
        settings.ROOT_URLCONF = "tests.operations_urls"
        worker = Process(
            *["-m", "celery", "-A", "tests.celery", "worker", "--pool=solo"],
            *["-Q", "cardigan-search", "-l", "INFO", "--without-mingle"],
            log=tmp_path / "worker.log",
            environment={"PYTHONPATH": str(tmp_path)},
            LOGGING=documented,
            CELERY_RESULT_BACKEND=redis.broker.url,
            **redis.broker.settings(),
        )
        try:
            wait_until(lambda: heartbeats.serve("cardigan-search"), "the worker is known", worker)
            photo = SimpleUploadedFile("secret-name.jpg", jpeg(RED))
            with configured(broker_url=redis.broker.url, result_backend=redis.broker.url):
                answer = Client().post(
                    "/visual/search/", {"image": photo}, headers={"X-Request-ID": ID}
                )
            assert answer.status_code == 200
            wait_until(lambda: lines(worker.output()), "it is logged", worker)
        finally:
            worker.kill()
        (line,) = lines(worker.output())
        assert line["message"].startswith("A photo was encoded in ")
        assert (line["request_id"], line["encoder"]) == (ID, "default")
        assert line["seconds"] > 0
        assert "secret-name" not in worker.output()


def _batches(worker: Process) -> list[dict[str, Any]]:
    told = [one for one in lines(worker.output()) if one["logger"] == "cardigan_reco.tasks"]
    return [one for one in told if "encoded" in one]


def test_the_docs_formatter_writes_exceptions_and_what_json_doesnt_know(
    documented: dict[str, Any],
) -> None:
    from shop.json_lines import JsonFormatter  # type: ignore[import-not-found]

    try:
        raise ValueError("No")
    except ValueError:
        record = logging.LogRecord(
            "shop", logging.ERROR, __file__, 1, "It failed: %s", ("so",), sys.exc_info()
        )
    record.path = Path("/tmp")
    line = json.loads(JsonFormatter().format(record))
    assert line["message"] == "It failed: so"
    assert line["path"] == "/tmp"
    assert line["exception"].endswith("ValueError: No")
    assert set(line) == {"time", "level", "logger", "message", "path", "exception"}
