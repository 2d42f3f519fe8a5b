"""Health: what load balancers and monitors are told, when, how fast, and what not."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from cardigan_reco import __version__, conf, health, lookout, photos
from cardigan_reco.exceptions import DeviceLost
from cardigan_reco.lookout import Lookout
from cardigan_reco.models import EncodingRequest, WorkerHeartbeat
from tests.conftest import RED, AddProduct, jpeg
from tests.processes import ROOT, Process, black_hole, free_port, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("silent_doorbell", "pages"),
]
WELL = {"database": True, "extension": True, "migrations": True}
LOST = {"default": {"BACKEND": "tests.faults.encoders.LostEncoder", "OPTIONS": {"dimensions": 16}}}
ALL_WELL = {**WELL, "queue": True, "workers": True}
UNKNOWN = {"database": False, "extension": None, "migrations": None}


@pytest.fixture
def pages(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ROOT_URLCONF = "tests.operations_urls"
    monkeypatch.setattr(health, "_lookout", Lookout(health.look, "cardigan-health"))
    monkeypatch.setattr(photos, "_lost_device", threading.Event())


@pytest.fixture
def worker() -> WorkerHeartbeat:
    """A worker that is there."""
    return WorkerHeartbeat.objects.create(
        name="celery@here", pid=7, queues=["cardigan"], release=__version__
    )


def get(address: str = "") -> tuple[int, dict[str, Any]]:
    """Reads a page as if for the first time."""
    health._lookout = Lookout(health.look, "cardigan-health")
    response = Client().get(f"/visual/health/{address}")
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    return response.status_code, response.json()


@contextmanager
def renamed(table: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE away RENAME TO {table}")


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ({"WORKERS": -1}, "a dict, WORKERS being a whole number from 0"),
        ({"OVERDUE_SECONDS": 0}, "a dict, OVERDUE_SECONDS being a number of seconds above 0"),
        (
            {"WORKER": 1},
            "a dict with any of the keys OVERDUE_SECONDS, WORKERS, SILENT_SECONDS, TIMEOUT_SECONDS",
        ),
    ],
)
def test_the_setting_is_checked(setting: object, wanted: str, settings: Settings) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "HEALTH": setting}
    assert [problem.hint for problem in conf.problems()] == [f"It must be {wanted}."]


class TestLive:
    def test_asks_no_database(self, settings: Settings) -> None:
        with CaptureQueriesContext(connection) as captured:
            assert get("live/") == (200, {"status": "ok"})
        assert len(captured) == 0
        assert health._lookout._found is None

    def test_a_process_whose_device_is_lost(self, settings: Settings) -> None:
        """It serves shelves all the same, so that no load balancer turns away from it."""
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "ENCODERS": LOST}
        with pytest.raises(DeviceLost):
            photos.encode(jpeg(RED), encoder="default")
        assert get("live/") == (503, {"status": "failing", "checks": {"device": False}})
        assert get("ready/")[0] == 200

    @pytest.mark.parametrize("kind", ["sync", "gthread"])
    def test_gunicorn_replaces_it_as_the_docs_tell(self, kind: str, tmp_path: Path) -> None:
        page = (ROOT / "docs" / "operations.md").read_text()
        recipe = re.search(r"^def post_request.*?(?=^```)", page, re.DOTALL | re.MULTILINE)
        assert recipe is not None
        (tmp_path / "gunicorn.conf.py").write_text(recipe[0])
        port = free_port()
        server = Process(
            *["-m", "gunicorn", "tests.api.wsgi", "-b", f"127.0.0.1:{port}", "-k", kind],
            *["-c", str(tmp_path / "gunicorn.conf.py"), "--no-control-socket"],
            log=tmp_path / "gunicorn.log",
            ROOT_URLCONF="tests.operations_urls",
            ALLOWED_HOSTS=["127.0.0.1"],
            CARDIGAN_RECO={
                "ENCODERS": LOST,
                "COLLECTIONS": {"similar": "testapp.ProductImageEmbedding"},
            },
        )

        def ask(address: str, photo: bytes | None = None) -> int:
            request = Request(f"http://127.0.0.1:{port}/visual/{address}", photo)
            request.add_header("Content-Type", "image/jpeg")
            try:
                with urlopen(request, timeout=30) as response:
                    return int(response.status)
            except HTTPError as error:
                return error.code
            except OSError:
                return 0

        def boots() -> int:
            return server.output().count("Booting worker")

        try:
            wait_until(lambda: ask("health/live/") == 200, "gunicorn answers", server)
            assert boots() == 1
            assert ask("search/", jpeg(RED)) == 503
            wait_until(lambda: boots() == 2, "another process begins", server)
            wait_until(lambda: ask("health/live/") == 200, "it answers", server)
        finally:
            server.stop()


class TestReady:
    def test_is_told_without_workers(self, add_product: AddProduct) -> None:
        add_product("mug", RED)
        EncodingRequest.objects.update(available_at=timezone.now() - timedelta(hours=1))
        assert get("ready/") == (200, {"status": "ok", "checks": WELL})

    def test_a_migration_that_waits(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE django_migrations SET name = 'away' "
                "WHERE app = 'cardigan_reco' AND name = '0001_initial'"
            )
        try:
            code, answer = get("ready/")
        finally:
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE django_migrations SET name = '0001_initial' WHERE name = 'away'"
                )
        assert (code, answer) == (
            503,
            {"status": "failing", "checks": {**WELL, "migrations": False}},
        )

    def test_a_database_that_nobody_has_migrated(self) -> None:
        with renamed("django_migrations"):
            assert get("ready/")[1]["checks"] == {**WELL, "migrations": False}

    def test_migrations_that_a_shop_has_switched_off(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.MIGRATION_MODULES = {"cardigan_reco": None}
        health._migrations.cache_clear()
        try:
            assert health._migrations() == frozenset()
        finally:
            health._migrations.cache_clear()

    def test_the_migrations_are_those_of_the_package(self) -> None:
        assert {"0001_initial", "0002_duplicates"} <= health._migrations()
        assert not {name for name in health._migrations() if name.startswith("_")}

    def test_no_extension(self) -> None:
        with connection.cursor() as cursor:
            # To drop it would take the tables with it.
            cursor.execute("UPDATE pg_extension SET extname = 'away' WHERE extname = 'vector'")
        try:
            code, answer = get("ready/")
        finally:
            with connection.cursor() as cursor:
                cursor.execute("UPDATE pg_extension SET extname = 'vector' WHERE extname = 'away'")
        assert code == 503
        assert answer["checks"] == {"database": True, "extension": False, "migrations": False}


class TestHealth:
    def test_all_is_well(self, worker: WorkerHeartbeat) -> None:
        assert get() == (
            200,
            {"status": "ok", "checks": ALL_WELL, "overdue_seconds": 0.0, "workers": 1},
        )

    def test_no_worker(self) -> None:
        code, answer = get()
        assert code == 503
        assert answer["checks"] == {**ALL_WELL, "workers": False}

    def test_a_worker_that_fell_silent_or_serves_others(self, worker: WorkerHeartbeat) -> None:
        WorkerHeartbeat.objects.update(queues=["cardigan-search"])
        assert get()[1]["workers"] == 0
        WorkerHeartbeat.objects.update(
            queues=["cardigan"], seen_at=timezone.now() - timedelta(minutes=2)
        )
        assert get()[1]["workers"] == 0

    def test_a_shop_without_workers(self, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "HEALTH": {"WORKERS": 0}}
        assert get()[0] == 200

    def test_a_picture_that_nobody_encodes(
        self, worker: WorkerHeartbeat, add_product: AddProduct, settings: Settings
    ) -> None:
        add_product("mug", RED)
        EncodingRequest.objects.update(available_at=timezone.now() - timedelta(seconds=400))
        code, answer = get()
        assert code == 503
        assert answer["checks"] == {**ALL_WELL, "queue": False}
        assert answer["overdue_seconds"] == pytest.approx(400, abs=60)
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "HEALTH": {"OVERDUE_SECONDS": 600}}
        assert get()[0] == 200

    def test_the_cost_is_the_same_however_much_waits(
        self, worker: WorkerHeartbeat, add_product: AddProduct
    ) -> None:
        with CaptureQueriesContext(connection) as few:
            health._look_at("default")
        for _ in range(3):
            add_product("mug", RED, RED)
        with CaptureQueriesContext(connection) as many:
            health._look_at("default")
        assert len(few) == len(many) <= 10


class TestDatabaseAway:
    @pytest.fixture
    def away(self, settings: Settings) -> Iterator[None]:
        """The threads that look find a database that takes connections and says nothing."""
        before = {**connection.settings_dict}
        with black_hole() as port:
            hole = {"HOST": "127.0.0.1", "PORT": port, "OPTIONS": {}}
            connection.settings_dict.update(hole)
            settings.CARDIGAN_RECO = {
                **settings.CARDIGAN_RECO,
                "HEALTH": {"TIMEOUT_SECONDS": 0.1},
            }
            yield
        connection.settings_dict.update(before)

    def test_is_said_in_time(self, away: None) -> None:
        start = time.monotonic()
        assert get("ready/") == (503, {"status": "failing", "checks": UNKNOWN})
        code, answer = get()
        assert time.monotonic() - start < 5
        assert code == 503
        assert answer["checks"] == {**UNKNOWN, "queue": None, "workers": None}

    def test_the_reason_is_logged_and_not_told(
        self, caplog: pytest.LogCaptureFixture, settings: Settings
    ) -> None:
        before = connection.settings_dict["USER"]
        connection.settings_dict["USER"] = "a-user-that-is-none"
        try:
            code, answer = get("ready/")
        finally:
            connection.settings_dict["USER"] = before
        assert (code, answer) == (503, {"status": "failing", "checks": UNKNOWN})
        (record,) = [one for one in caplog.records if one.name == "cardigan_reco.health"]
        assert "a-user-that-is-none" in record.getMessage()

    def test_a_table_that_is_locked(
        self, worker: WorkerHeartbeat, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "HEALTH": {"TIMEOUT_SECONDS": 0.1}}
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"LOCK TABLE {EncodingRequest._meta.db_table}")
            try:
                assert get()[1]["checks"]["database"] is False
            finally:
                cursor.execute("ROLLBACK")
        assert "statement timeout" in caplog.text


class TestLookout:
    def test_looks_once_for_all_who_ask(self) -> None:
        looks = []
        gate = threading.Event()

        def look() -> int:
            looks.append(threading.current_thread().name)
            gate.wait(10)
            return 7

        lookout = Lookout(look, "outlook", holds_seconds=600)
        seen: list[int] = []
        asking = [threading.Thread(target=lambda: seen.append(lookout.ask(10))) for _ in range(8)]
        for thread in asking:
            thread.start()
        gate.set()
        for thread in asking:
            thread.join()
        assert seen == [7] * 8
        assert looks == ["outlook"]

    def test_looks_again_when_what_it_saw_holds_no_more(self) -> None:
        looks = iter([1, 2, 3])
        held = Lookout(lambda: next(looks), "outlook", holds_seconds=600)
        assert [held.ask(10), held.ask(10)] == [1, 1]
        fresh = Lookout(lambda: next(looks), "outlook")
        assert [fresh.ask(10), fresh.ask(10)] == [2, 3]

    def test_a_look_that_hangs_is_the_only_one_for_a_while(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks = []
        gate = threading.Event()

        def look() -> int:
            looks.append(time.monotonic())
            gate.wait(10)
            return len(looks)

        outlook = Lookout(look, "outlook", holds_seconds=600)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                outlook.ask(0.05)
        assert len(looks) == 1
        # Its host may never answer, though the database has been elsewhere for long.
        monkeypatch.setattr(lookout, "ABANDON_SECONDS", 0.0)
        with pytest.raises(TimeoutError):
            outlook.ask(0.05)
        assert len(looks) == 2
        monkeypatch.undo()
        gate.set()
        assert outlook.ask(10) == 2

    def test_what_a_look_raises_is_raised(self) -> None:
        def look() -> int:
            raise ValueError("A mistake")

        with pytest.raises(ValueError, match="A mistake"):
            Lookout(look, "outlook").ask(10)


class TestRequests:
    @pytest.mark.parametrize("address", ["", "live/", "ready/"])
    def test_only_reading_is_allowed(self, address: str) -> None:
        assert Client().post(f"/visual/health/{address}").status_code == 405
        assert Client().head(f"/visual/health/{address}").status_code in (200, 503)

    def test_nobody_has_to_log_in(self, settings: Settings, worker: WorkerHeartbeat) -> None:
        settings.MIDDLEWARE = [
            *settings.MIDDLEWARE,
            "django.contrib.auth.middleware.LoginRequiredMiddleware",
        ]
        for address in ("", "live/", "ready/"):
            assert get(address)[0] == 200

    def test_atomic_requests_ask_nothing_of_the_database(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        with CaptureQueriesContext(connection) as captured:
            response: HttpResponse = Client().get("/visual/health/live/")
        assert (response.status_code, len(captured)) == (200, 0)

    def test_no_connection_is_left_behind(self, worker: WorkerHeartbeat) -> None:
        def count() -> int:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                )
                return int(cursor.fetchone()[0])

        before = count()
        for _ in range(5):
            get()
        deadline = time.monotonic() + 10
        while count() > before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert count() == before
