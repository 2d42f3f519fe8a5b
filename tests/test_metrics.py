"""Metrics: what is measured, that it costs nothing when off, and that processes add up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path

import pytest
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoDbBlocker, Settings

from cardigan_reco import __version__, metrics, photos, queue, recommendations, search
from cardigan_reco.checks.metrics import check_metrics
from cardigan_reco.exceptions import Busy, ImageError, MissingExtra
from cardigan_reco.metrics import collector, instruments
from cardigan_reco.models import EncoderVersion, EncodingRequest, WorkerHeartbeat
from cardigan_reco.queue import Failure
from tests import postgres
from tests.aliases import alias
from tests.conftest import BLUE, GREEN, ORANGE, RED, AddProduct, encode_all, jpeg
from tests.processes import Process, black_hole, free_port, wait_until
from tests.testapp.catalogue.models import Product
from tests.testapp.models import PosterEmbedding, ProductImageEmbedding

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("silent_doorbell"),
]
LABEL = ProductImageEmbedding._meta.label_lower
POSTERS = "testapp.posterembedding"
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def switched_on(settings: Settings) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "METRICS": True}
    settings.ROOT_URLCONF = "tests.operations_urls"


def parsed(text: str) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(path: str = "/metrics/", **headers: str) -> Series:
    response = Client().get(path, headers=headers)
    assert response.status_code == 200
    return parsed(response.content.decode())


def value(found: Series, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def grown(before: Series, name: str, **labels: str) -> float:
    """Returns by how much a series of this process has grown since `before`."""
    return (value(read(), name, **labels) or 0) - (value(before, name, **labels) or 0)


class TwoElsewhere:
    """Keeps the collections in two other databases."""

    def db_for_write(self, model: type, **hints: object) -> str | None:
        return {ProductImageEmbedding: "first", PosterEmbedding: "second"}.get(model)


class TestSearches:
    def test_by_item(self, add_product: AddProduct) -> None:
        mug = add_product("mug", RED)
        add_product("cup", ORANGE)
        add_product("bowl", GREEN)
        encode_all()
        before = read()
        assert len(recommendations.similar_to(mug)) == 2
        recommendations.similar_to(mug, min_similarity=1.0)
        kind = {"kind": "item", "collection": LABEL}
        assert grown(before, "cardigan_search_seconds_count", **kind, result="found") == 1
        assert grown(before, "cardigan_search_seconds_count", **kind, result="nothing") == 1
        assert grown(before, "cardigan_search_seconds_sum", **kind, result="found") > 0
        assert grown(before, "cardigan_search_results_count", **kind) == 2
        assert grown(before, "cardigan_search_results_sum", **kind) == 2

    def test_shelves_by_way_of_the_cache(self, add_product: AddProduct, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SHELF_CACHE": "default"}
        cache.clear()
        mug = add_product("mug", RED)
        for number in range(30):
            add_product(f"cup {number}", ORANGE)
        encode_all()
        before = read()
        recommendations.similar_to(mug)
        recommendations.similar_to(mug)
        recommendations.similar_to(mug, within=Product.objects.filter(title="cup 29"))
        for result in ("renewed", "held", "searched"):
            grown_by = grown(before, "cardigan_shelves_total", collection=LABEL, result=result)
            assert grown_by == 1, result
        cache.clear()

    def test_by_picture(self, add_product: AddProduct) -> None:
        add_product("mug", RED)
        add_product("cup", ORANGE)
        encode_all()
        before = read()
        recommendations.similar_to_picture(ProductImageEmbedding.objects.first())
        kind = {"kind": "picture", "collection": LABEL}
        assert grown(before, "cardigan_search_results_sum", **kind) == 1

    def test_by_photo(self, add_product: AddProduct) -> None:
        add_product("mug", RED)
        encode_all()
        before = read()
        assert len(search.by_image(jpeg(RED))) == 1
        with pytest.raises(ImageError):
            search.by_image(b"no picture")
        kind = {"kind": "photo", "collection": LABEL}
        assert grown(before, "cardigan_search_seconds_count", **kind, result="found") == 1
        assert grown(before, "cardigan_search_seconds_count", **kind, result="refused") == 1
        here = {"encoded_in": "process"}
        assert grown(before, "cardigan_photo_seconds_count", **here, result="encoded") == 1
        assert grown(before, "cardigan_photo_seconds_count", **here, result="refused") == 1

    def test_that_find_nothing_free(self, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {
            **settings.CARDIGAN_RECO,
            "SEARCH": {"CONCURRENT": 1, "WAIT_SECONDS": 0.01},
        }
        before = read()
        places = photos._places("encoding", 1)
        with places, pytest.raises(Busy):
            search.by_image(jpeg(RED))
        kind = {"kind": "photo", "collection": LABEL}
        assert grown(before, "cardigan_search_seconds_count", **kind, result="busy") == 1
        assert (
            grown(before, "cardigan_photo_seconds_count", encoded_in="process", result="busy") == 1
        )
        assert grown(before, "cardigan_search_results_count", **kind) == 0

    def test_that_fail(self, add_product: AddProduct) -> None:
        mug = add_product("mug", RED)
        before = read()
        with pytest.raises(ValueError, match="limit must be"):
            recommendations.similar_to(mug, limit=0)
        kind = {"kind": "item", "collection": LABEL, "result": "failed"}
        assert grown(before, "cardigan_search_seconds_count", **kind) == 1

    def test_labels_are_few_whatever_shoppers_do(self, add_product: AddProduct) -> None:
        mug = add_product("mug", RED)
        encode_all()
        recommendations.similar_to(mug)
        before = set(read())
        for number in range(1, 30):
            recommendations.similar_to(mug, limit=number, min_similarity=number / 100)
        assert set(read()) == before


class TestOff:
    def test_nothing_is_measured_or_imported(self) -> None:
        code = (
            "import sys, django; django.setup()\n"
            "from cardigan_reco import metrics, search\n"
            "with metrics.search('photo', 'shop'), metrics.photo('process'): pass\n"
            "assert 'prometheus_client' not in sys.modules\n"
            "from django.test import override_settings\n"
            "with override_settings(CARDIGAN_RECO={'METRICS': True}):\n"
            "    with metrics.search('photo', 'shop'): pass\n"
            "assert 'prometheus_client' in sys.modules\n"
        )
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={
                **os.environ,
                "DATABASE_URL": postgres.url(),
                "DJANGO_SETTINGS_MODULE": "tests.settings",
            },
            check=True,
            timeout=60,
        )

    def test_the_page_says_what_to_do(self, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "METRICS": False}
        with pytest.raises(ImproperlyConfigured, match="Set it to True, or remove the address"):
            Client().get("/metrics/")

    def test_without_the_package_searches_go_on(
        self,
        add_product: AddProduct,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        mug = add_product("mug", RED)
        add_product("cup", ORANGE)
        encode_all()
        monkeypatch.setattr(instruments.importlib.util, "find_spec", lambda name: None)
        instruments._is_installed.cache_clear()
        try:
            for _ in range(2):
                assert len(recommendations.similar_to(mug)) == 1
        finally:
            instruments._is_installed.cache_clear()
        (record,) = [one for one in caplog.records if one.name.endswith("instruments")]
        assert record.getMessage() == (
            "CARDIGAN_RECO['METRICS'] needs more packages: pip install 'cardigan-reco[metrics]'"
        )
        monkeypatch.setitem(sys.modules, "prometheus_client.exposition", None)
        with pytest.raises(MissingExtra, match="MetricsView needs more packages"):
            Client().get("/metrics/")

    def test_e025_without_the_package(
        self, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        assert check_metrics(None) == []
        monkeypatch.setattr(instruments.importlib.util, "find_spec", lambda name: None)
        (error,) = check_metrics(None)
        assert (error.id, error.msg, error.hint) == (
            "cardigan_reco.E025",
            "CARDIGAN_RECO['METRICS'] is True, but prometheus-client is not installed: nothing is "
            "measured.",
            "pip install 'cardigan-reco[metrics]', or set it to False.",
        )
        for other in (False, "yes"):
            settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "METRICS": other}
            assert check_metrics(None) == []


class TestDatabase:
    def test_the_queue_the_workers_and_the_pictures(self, add_product: AddProduct) -> None:
        add_product("mug", RED, GREEN)
        encode_all()
        add_product("bowl", BLUE, RED, GREEN)
        one, other = queue.claim(ProductImageEmbedding, limit=2, using="default")
        queue.fail(one, Failure.BAD_IMAGE, "no", using="default")
        queue.postpone(other, "The storage is away.", charged=False, using="default")
        EncodingRequest.objects.filter(error="", state="waiting").update(
            available_at=timezone.now() - timedelta(seconds=90)
        )
        for pid, queues in ((1, ["cardigan"]), (2, ["cardigan", "cardigan-search"])):
            WorkerHeartbeat.objects.create(name="w", pid=pid, queues=queues, release=__version__)
        WorkerHeartbeat.objects.create(
            name="lost",
            pid=3,
            queues=["cardigan"],
            release=__version__,
            seen_at=timezone.now() - timedelta(hours=1),
        )
        found = read()
        place = {"database": "default", "collection": LABEL}
        assert value(found, "cardigan_up", database="default") == 1
        states = {
            state: value(found, "cardigan_requests", **place, state=state)
            for state in ("waiting", "retrying", "leased", "missing", "bad_image", "dead")
        }
        assert states == {
            "waiting": 2,
            "retrying": 1,
            "leased": 0,
            "missing": 0,
            "bad_image": 1,
            "dead": 0,
        }
        assert value(found, "cardigan_overdue_seconds", **place) == pytest.approx(90, abs=30)
        assert value(found, "cardigan_oldest_seconds", **place) == pytest.approx(0, abs=30)
        assert value(found, "cardigan_workers", database="default", queue="cardigan") == 2
        assert value(found, "cardigan_workers", database="default", queue="cardigan-search") == 1
        assert value(found, "cardigan_pictures_total", **place, result="encoded") == 2
        assert value(found, "cardigan_pictures_total", **place, result="dead") == 0
        assert value(found, "cardigan_batch_seconds_count", **place) == 1
        assert value(found, "cardigan_batch_seconds_bucket", **place, le="+Inf") == 1
        assert value(found, "cardigan_batch_seconds_bucket", **place, le="60.0") == 1
        version = EncoderVersion.objects.get()
        in_use = {**place, "encoder": "default", "fingerprint": version.fingerprint}
        assert value(found, "cardigan_encoder_info", **in_use) == 1
        # A collection where nothing happens is there, too.
        posters = {"database": "default", "collection": POSTERS}
        assert value(found, "cardigan_requests", **posters, state="waiting") == 0

    def test_that_doesnt_answer_in_time(
        self, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "HEALTH": {"TIMEOUT_SECONDS": 0.1}}
        other = connection.copy()
        try:
            other.set_autocommit(False)
            with other.cursor() as cursor:
                cursor.execute("LOCK TABLE cardigan_reco_encodingrequest")
            found = read()
        finally:
            other.close()
        assert value(found, "cardigan_up", database="default") == 0
        assert not any(name == "cardigan_requests" for name, _labels in found)
        assert "gives no metrics: canceling statement due to statement timeout" in caplog.text

    def test_that_swallows_all_that_it_gets(
        self,
        settings: Settings,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "HEALTH": {"TIMEOUT_SECONDS": 0.1}}
        collector._lookout.cache_clear()
        with black_hole() as port:
            for key, text in {"HOST": "127.0.0.1", "PORT": port, "OPTIONS": {}}.items():
                monkeypatch.setitem(connection.settings_dict, key, text)
            start = time.monotonic()
            found = read()
            assert time.monotonic() - start < 5
        monkeypatch.undo()
        collector._lookout.cache_clear()
        assert value(found, "cardigan_up", database="default") == 0
        assert any(name == "python_info" for name, _labels in found)
        assert "Database 'default' gives no metrics: no answer in 1.2 s" in caplog.text

    def test_those_that_vanished_are_asked_side_by_side(
        self, settings: Settings, django_db_blocker: DjangoDbBlocker
    ) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "HEALTH": {"TIMEOUT_SECONDS": 1}}
        settings.DATABASE_ROUTERS = [TwoElsewhere()]
        collector._lookout.cache_clear()
        with black_hole() as port, django_db_blocker.unblock():
            hole = {"HOST": "127.0.0.1", "PORT": port, "OPTIONS": {}}
            with alias("first", **hole), alias("second", **hole):
                start = time.monotonic()
                found = read()
                assert 3 <= time.monotonic() - start < 5.5
        collector._lookout.cache_clear()
        assert value(found, "cardigan_up", database="first") == 0
        assert value(found, "cardigan_up", database="second") == 0

    def test_without_its_tables(self, caplog: pytest.LogCaptureFixture) -> None:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE cardigan_reco_encodingrequest RENAME TO away")
        try:
            found = read()
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE away RENAME TO cardigan_reco_encodingrequest")
        assert value(found, "cardigan_up", database="default") == 0
        assert not any(name == "cardigan_requests" for name, _labels in found)
        assert "Database 'default' gives no metrics: relation" in caplog.text

    def test_an_encoder_that_cant_be_known_is_left_out(self, settings: Settings) -> None:
        encoder = {"BACKEND": "tests.nothing.Encoder"}
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "ENCODERS": {"default": encoder}}
        found = read()
        assert value(found, "cardigan_up", database="default") == 1
        assert not any(name == "cardigan_encoder_info" for name, _labels in found)

    def test_in_a_registry_of_the_shops_own(self) -> None:
        registry = CollectorRegistry()
        registry.register(metrics.Collector())
        assert registry.get_sample_value("cardigan_up", {"database": "default"}) == 1


class TestPage:
    def test_formats(self) -> None:
        plain = Client().get("/metrics/")
        assert plain["Content-Type"].startswith("text/plain; version=")
        assert plain["Cache-Control"] == "no-store"
        wanted = "application/openmetrics-text; version=1.0.0"
        open_metrics = Client().get("/metrics/", headers={"Accept": wanted})
        assert open_metrics["Content-Type"].startswith("application/openmetrics-text")
        assert open_metrics.content.endswith(b"# EOF\n")
        assert open_metrics.content.count(b"# EOF") == 1

    def test_what_a_shop_measures_itself_is_there(self) -> None:
        assert "python_info" in {name for name, _labels in read()}
        assert REGISTRY.get_sample_value("cardigan_up", {"database": "default"}) is None

    def test_a_token(self) -> None:
        assert Client().get("/guarded/").status_code == 403
        for wrong in ("Bearer let me", "let me in", "Bearer lét me in"):
            response = Client().get("/guarded/", headers={"Authorization": wrong})
            assert response.status_code == 403
        assert read("/guarded/", Authorization="Bearer let me in")

    def test_nobody_has_to_log_in(self, settings: Settings) -> None:
        settings.MIDDLEWARE = [
            *settings.MIDDLEWARE,
            "django.contrib.auth.middleware.LoginRequiredMiddleware",
        ]
        assert read()

    def test_only_reading_is_allowed(self) -> None:
        assert Client().post("/metrics/").status_code == 405


class TestGunicorn:
    """Three processes, of which one is killed on the way."""

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[tuple[Process, int]]:
        port = free_port()
        folder = tmp_path / "prometheus"
        folder.mkdir()
        (tmp_path / "gunicorn.conf.py").write_text(
            "from prometheus_client import multiprocess\n"
            "def child_exit(server, worker):\n"
            "    multiprocess.mark_process_dead(worker.pid)\n"
        )
        process = Process(
            *["-m", "gunicorn", "tests.api.wsgi", "-b", f"127.0.0.1:{port}", "-w", "3"],
            *["-c", str(tmp_path / "gunicorn.conf.py"), "--no-control-socket"],
            log=tmp_path / "gunicorn.log",
            environment={"PROMETHEUS_MULTIPROC_DIR": str(folder)},
            ROOT_URLCONF="tests.operations_urls",
            ALLOWED_HOSTS=["shop"],
            CARDIGAN_RECO={
                "ENCODERS": {
                    "default": {
                        "BACKEND": "cardigan_reco.encoders.dummy.DummyEncoder",
                        "OPTIONS": {"dimensions": 16},
                    }
                },
                "COLLECTIONS": {"similar": "testapp.ProductImageEmbedding"},
                "METRICS": True,
            },
        )
        try:
            yield process, port
        finally:
            process.stop()

    def test_processes_add_up(self, server: tuple[Process, int], add_product: AddProduct) -> None:
        process, port = server
        mug = add_product("mug", RED)
        add_product("cup", ORANGE)
        encode_all()

        def get(path: str) -> str:
            client = HTTPConnection("127.0.0.1", port, timeout=30)
            with suppress(OSError):
                client.request("GET", path, headers={"Host": "shop"})
                response = client.getresponse()
                assert response.status == 200, process.output()
                return response.read().decode()
            return ""

        def children() -> set[int]:
            folder = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}")
            return {int(pid) for pid in (folder / "children").read_text().split()}

        wait_until(lambda: get("/visual/health/live/"), "gunicorn answers", process)
        wait_until(lambda: len(children()) == 3, "all processes are there", process)
        for _ in range(20):
            assert get(f"/shelf/{mug.pk}/")
        killed = min(children())
        os.kill(killed, 9)
        wait_until(
            lambda: len(children()) == 3 and killed not in children(), "another begins", process
        )
        for _ in range(10):
            wait_until(lambda: get(f"/shelf/{mug.pk}/"), "the shelf is there", process)
        counts = set()
        for _ in range(6):
            found = parsed(get("/metrics/"))
            kind = {"kind": "item", "collection": LABEL}
            counts.add(value(found, "cardigan_search_results_count", **kind))
            place = {"database": "default", "collection": LABEL}
            assert value(found, "cardigan_pictures_total", **place, result="encoded") == 2
        # Whichever process answers, and the one that was killed counts still.
        assert counts == {30}
