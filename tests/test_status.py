"""cardigan_status: what it says, how bad it finds it, and with which code it ends."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import DjangoDbBlocker, Settings

from cardigan_reco import __version__, broker, doorbell, queue, status
from cardigan_reco.database import IndexState
from cardigan_reco.encoders.base import Encoder
from cardigan_reco.indexes import LockingBuild
from cardigan_reco.management.commands import cardigan_status
from cardigan_reco.models import (
    EncoderVersion,
    EncodingRequest,
    EncodingTally,
    WorkerHeartbeat,
)
from cardigan_reco.queue import Failure
from cardigan_reco.status import Level, Status
from tests import postgres
from tests.aliases import alias
from tests.celery import configured
from tests.conftest import BLUE, GREEN, RED, AddProduct, add_image, encode_all
from tests.processes import Broker, Process, RedisServer, black_hole, wait_until
from tests.testapp.models import PosterEmbedding, ProductImageEmbedding
from tests.workers import StartWorker, wait_until_encoded

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("silent_doorbell"),
]
ROOT = Path(__file__).parent.parent
DB = "default"
LABEL = ProductImageEmbedding._meta.label
POSTERS = "testapp.PosterEmbedding"


@pytest.fixture
def worker() -> WorkerHeartbeat:
    """A worker that is there."""
    return WorkerHeartbeat.objects.create(
        name="celery@here", pid=7, queues=["cardigan"], release=__version__
    )


def run(*arguments: str) -> tuple[int, list[str]]:
    """Runs the command; returns its exit code and the lines of its output."""
    output = io.StringIO()
    code = 0
    try:
        call_command("cardigan_status", *arguments, stdout=output)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, output.getvalue().splitlines()


def in_json(*arguments: str) -> tuple[int, dict[str, Any]]:
    code, lines = run("--json", *arguments)
    return code, json.loads("\n".join(lines))


def problems(found: Status) -> list[tuple[str, str]]:
    return [(problem.level.name, problem.text) for problem in found.problems]


def blocked(pid: int) -> bool:
    """Whether a process of the server waits for another one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_blocking_pids(%s) <> '{}'", [pid])
        return bool(cursor.fetchone()[0])


def make_overdue(seconds: float) -> None:
    long_ago = timezone.now() - timedelta(seconds=seconds)
    EncodingRequest.objects.update(requested_at=long_ago, available_at=long_ago)


def other_encoder(settings: Settings) -> None:
    encoder = {"BACKEND": "tests.recording_encoders.CudaEncoder", "OPTIONS": {"dimensions": 16}}
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "ENCODERS": {"default": encoder}}


class PostersElsewhere:
    """Keeps one of the collections in another database."""

    def db_for_write(self, model: type, **hints: object) -> str | None:
        return "goods" if model is PosterEmbedding else None


class TestText:
    def test_all_is_well(self, worker: WorkerHeartbeat, add_product: AddProduct) -> None:
        add_product("mug", RED, GREEN)
        encode_all()
        add_product("bowl", BLUE)
        state = EncoderVersion.objects.get().fingerprint[:8]
        EncodingTally.objects.update(minute=timezone.now() - timedelta(hours=2))
        code, lines = run()
        assert code == 0
        assert lines[-1].startswith("Broker memory://")
        assert lines[-1].endswith(" answers.")
        # A busy machine takes a while between the rows and the look at them.
        lines = [re.sub(r"\b[1-9] s (since|overdue|ago)", r"0 s \1", line) for line in lines]
        assert lines[:-1] == [
            "OK: all is well.",
            "",
            LABEL,
            f"  encoder     default {state}; 2 vectors, 0 of other states",
            "  queue       1 waiting, 0 of them after a failure; 0 leased",
            "  oldest      0 s since it was saved, 0 s overdue",
            "  rate        0.00 pictures/s in the last minute, 0.00 in the last five",
            "  given up    0 missing, 0 bad_image, 0 dead",
            "  index       valid",
            "",
            POSTERS,
            f"  encoder     default {state}; 0 vectors, 0 of other states",
            "  queue       0 waiting, 0 of them after a failure; 0 leased",
            "  oldest      0 s since it was saved, 0 s overdue",
            "  rate        0.00 pictures/s in the last minute, 0.00 in the last five",
            "  given up    0 missing, 0 bad_image, 0 dead",
            "  index       valid",
            "",
            "Worker celery@here (7) of cardigan: seen 0 s ago",
        ]

    def test_the_worst_comes_first(self, add_product: AddProduct) -> None:
        add_product("mug", RED, GREEN)
        (one, _other) = queue.claim(ProductImageEmbedding, limit=2, using=DB)
        queue.fail(one, Failure.DEAD, "The worker was lost 3 times.", using=DB)
        code, lines = run()
        assert code == 2
        assert lines[0] == (
            "CRITICAL: 0 of 1 workers are there. Start one: celery -A ... worker -Q cardigan"
        )
        assert lines[1] == (
            f"WARNING: {LABEL}: 1 pictures were given up as dead. Read their errors in the admin, "
            "then run encode_images --retry."
        )
        assert "No worker was seen within a day." in lines
        failed = EncodingRequest.objects.get(state="dead")
        assert (
            f"  last error  dead {failed.source_pk}, "
            f"{failed.available_at:%Y-%m-%d %H:%M:%S} UTC: The worker was lost 3 times." in lines
        )

    def test_a_database_that_is_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*arguments: object) -> Status:
            raise OperationalError("connection refused\n\tIs it running?")

        monkeypatch.setattr(status, "of", refuse)
        text = (
            "Database 'default' can't be read. See that it runs and is migrated: "
            "connection refused Is it running?"
        )
        assert run() == (2, [f"CRITICAL: {text}"])
        code, found = in_json()
        assert code == 2
        assert found["level"] == "critical"
        assert found["problems"] == [{"level": "critical", "text": text}]

    def test_a_table_that_somebody_has_for_himself(
        self, worker: WorkerHeartbeat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cardigan_reco.locks.LOCK_SECONDS", 0.2)
        params = {**connection.get_connection_params(), "application_name": "an ALTER"}
        for table in (
            ProductImageEmbedding._meta.db_table,
            EncodingRequest._meta.db_table,
            EncodingTally._meta.db_table,
        ):
            with psycopg.connect(**params) as other:
                pid = other.info.backend_pid
                other.execute(f"LOCK TABLE {table}")
                code, (line,) = run()
                other.rollback()
            assert code == 2
            assert line.startswith("CRITICAL: In database 'default' a table, or an index of it, is")
            assert table in line
            assert f"In the way: process {pid} (an ALTER, user " in line
            assert ", idle in transaction, its transaction began 00:00:0" in line
            assert line.endswith("Wait, or end it: SELECT pg_terminate_backend(PROCESS);")

    def test_whom_somebody_waits_for_who_wants_a_table_for_himself(
        self, worker: WorkerHeartbeat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cardigan_reco.locks.LOCK_SECONDS", 0.2)
        table = EncodingRequest._meta.db_table
        params = connection.get_connection_params()
        with psycopg.connect(**params) as reader, psycopg.connect(**params) as alters:
            pids = [one.info.backend_pid for one in (reader, alters)]
            reader.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
            thread = threading.Thread(target=alters.execute, args=[f"LOCK TABLE {table}"])
            thread.start()
            wait_until(lambda: blocked(pids[1]), "it waits")
            _code, (line,) = run()
            reader.rollback()
            thread.join()
            alters.rollback()
        for pid in pids:
            assert f"process {pid} (" in line

    def test_several_databases(
        self,
        worker: WorkerHeartbeat,
        add_product: AddProduct,
        settings: Settings,
        django_db_blocker: DjangoDbBlocker,
    ) -> None:
        settings.DATABASE_ROUTERS = [PostersElsewhere()]
        add_product("mug", RED)
        with django_db_blocker.unblock(), alias("goods"):
            code, lines = run()
            assert (code, lines[0]) == (0, "OK: all is well.")
            assert [line for line in lines if line.startswith("testapp.")] == [
                f"{LABEL} in default",
                f"{POSTERS} in default",
                f"{LABEL} in goods",
                f"{POSTERS} in goods",
            ]
            assert len([line for line in lines if line.startswith("Worker ")]) == 1
            code, found = in_json()
            assert [one["database"] for one in found] == ["default", "goods"]
            WorkerHeartbeat.objects.all().delete()
            code, lines = run("--database=goods")
            assert code == 2
            assert POSTERS in lines
            code, lines = run()
        assert code == 2
        assert [line for line in lines if line.startswith("CRITICAL")] == [
            "CRITICAL: 0 of 1 workers are there. Start one: celery -A ... worker -Q cardigan"
        ]

    def test_one_database_of_two_is_away(
        self, worker: WorkerHeartbeat, settings: Settings, django_db_blocker: DjangoDbBlocker
    ) -> None:
        settings.DATABASE_ROUTERS = [PostersElsewhere()]
        with (
            black_hole() as port,
            django_db_blocker.unblock(),
            alias("goods", HOST="127.0.0.1", PORT=port, OPTIONS={}),
        ):
            code, lines = run("--timeout=2")
            assert (code, lines[0]) == (
                2,
                "CRITICAL: Database 'goods' gives no answer in 2 s. See that its host is there, "
                "and that nothing on the way swallows what is sent.",
            )
            assert f"{LABEL} in default" in lines
            code, [here, away] = in_json("--timeout=2")
        assert here["level"] == "ok"
        assert (away["database"], away["level"]) == ("goods", "critical")

    def test_settings_that_cant_be_used(self, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "HEALTH": {"WORKERS": -1}}
        code, lines = run()
        assert code == 2
        assert lines[0].startswith("CRITICAL: ")
        assert "-1" in lines[0]


class TestJson:
    def test_has_all_of_it(
        self, worker: WorkerHeartbeat, add_product: AddProduct, settings: Settings
    ) -> None:
        product = add_product("mug", RED, GREEN)
        encode_all()
        old = EncoderVersion.objects.get().fingerprint
        other_encoder(settings)
        add_image(product, BLUE)
        encode_all()
        new = EncoderVersion.objects.exclude(fingerprint=old).get().fingerprint
        add_image(product, BLUE)
        code, found = in_json("--workers=2")
        assert code == 1
        assert (found["level"], found["database"], found["release"]) == (
            "warning",
            DB,
            __version__,
        )
        assert [problem["level"] for problem in found["problems"]] == ["warning"]
        products, _posters = found["collections"]
        assert products["collection"] == LABEL
        assert products["encoder"] == {
            "alias": "default",
            "fingerprint": new,
            "problem": "",
            "rows": {old: 2, new: 1},
            "stale": 2,
        }
        assert products["backlog"]["waiting"] == 1
        assert products["per_second_1"] > 0
        assert products["last_error"] is None
        assert products["index"]["state"] == "valid"
        (seen,) = found["workers"]
        assert (seen["name"], seen["pid"], seen["queues"]) == ("celery@here", 7, ["cardigan"])
        assert seen["is_there"] is True
        assert found["broker"]["answers"] is True


class TestProblems:
    @pytest.mark.parametrize(
        ("seconds", "level"), [(200, "OK"), (320, "WARNING"), (1900, "CRITICAL")]
    )
    def test_overdue(
        self, seconds: float, level: str, worker: WorkerHeartbeat, add_product: AddProduct
    ) -> None:
        add_product("mug", RED)
        make_overdue(seconds)
        found = status.of(DB)
        assert found.level.name == level
        if level != "OK":
            ((_level, text),) = problems(found)
            told = re.match(rf"{LABEL}: a picture is overdue by (\d+) s, 1 wait. See", text)
            assert told, text
            assert int(told[1]) == pytest.approx(seconds, abs=30)

    @pytest.mark.parametrize(("seconds", "level"), [(1700, "OK"), (1900, "WARNING")])
    def test_a_storage_that_stays_away(
        self, seconds: float, level: str, worker: WorkerHeartbeat, add_product: AddProduct
    ) -> None:
        """Nothing is overdue then, nor given up."""
        add_product("mug", RED)
        (one,) = queue.claim(ProductImageEmbedding, limit=1, using=DB)
        queue.postpone(one, "'mug.jpg' can't be read", charged=False, using=DB)
        EncodingRequest.objects.update(requested_at=timezone.now() - timedelta(seconds=seconds))
        found = status.of(DB)
        assert found.level.name == level
        if level != "OK":
            ((_level, text),) = problems(found)
            assert re.fullmatch(
                rf"{LABEL}: 1 pictures wait after a failure, the oldest for 19\d\d s\. Read "
                "their errors in the admin, and see to the storage; workers try again by "
                "themselves.",
                text,
            ), text

    def test_limits_are_the_callers(self, worker: WorkerHeartbeat, add_product: AddProduct) -> None:
        add_product("mug", RED, GREEN)
        (one, other) = queue.claim(ProductImageEmbedding, limit=2, using=DB)
        queue.fail(one, Failure.DEAD, "no", using=DB)
        queue.fail(other, Failure.MISSING, "no", using=DB)
        assert run()[0] == 1
        assert run("--warn-dead=2")[0] == 0
        assert run("--warn-dead=2", "--warn-unusable=1")[0] == 1
        add_product("bowl", BLUE)
        EncodingRequest.objects.filter(state="waiting").update(
            available_at=timezone.now() - timedelta(seconds=50)
        )
        assert run("--warn-dead=2")[0] == 0
        assert run("--warn-dead=2", "--warn-overdue=40")[0] == 1
        assert run("--warn-dead=2", "--warn-overdue=8")[0] == 2
        assert run("--warn-dead=2", "--warn-overdue=8", "--critical-overdue=90")[0] == 1
        assert run("--warn-dead=2", "--workers=2")[0] == 1
        worker.delete()
        assert run("--warn-dead=2")[0] == 2
        assert run("--warn-dead=2", "--workers=0")[0] == 0

    def test_a_worker_that_fell_silent(self, worker: WorkerHeartbeat) -> None:
        WorkerHeartbeat.objects.update(seen_at=timezone.now() - timedelta(minutes=2))
        assert status.of(DB).level is Level.CRITICAL

    def test_a_worker_of_another_release(self, worker: WorkerHeartbeat) -> None:
        WorkerHeartbeat.objects.update(release="0.0.9")
        assert problems(status.of(DB)) == [
            (
                "WARNING",
                f"Worker celery@here runs release 0.0.9, this is {__version__}. Restart it after "
                "the upgrade.",
            )
        ]

    def test_nobody_searches_by_photo(self, worker: WorkerHeartbeat, settings: Settings) -> None:
        search = {"ENCODE_IN": "worker"}
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH": search}
        assert problems(status.of(DB)) == [
            (
                "CRITICAL",
                "No worker searches by photo. Start one: celery -A ... worker -Q cardigan-search",
            )
        ]
        WorkerHeartbeat.objects.update(queues=["cardigan", "cardigan-search"])
        assert problems(status.of(DB)) == []

    def test_vectors_of_another_state_that_nobody_renews(
        self, worker: WorkerHeartbeat, add_product: AddProduct, settings: Settings
    ) -> None:
        product = add_product("mug", RED, GREEN)
        encode_all()
        other_encoder(settings)
        # Nothing was encoded by the new one yet, which no process can tell from a mistake.
        image = add_image(product, BLUE)
        assert problems(status.of(DB)) == []
        encode_all()
        assert problems(status.of(DB)) == [
            (
                "WARNING",
                f"{LABEL}: 2 vectors are of another state of the encoder, and nothing of it waits. "
                f"Run encode_images {LABEL} --stale.",
            )
        ]
        image.save()
        assert problems(status.of(DB)) == []

    def test_an_encoder_that_was_taken_back_to_a_state_before(
        self,
        worker: WorkerHeartbeat,
        add_product: AddProduct,
        settings: Settings,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Of one that can't say who it is without torch."""
        monkeypatch.setattr(Encoder, "describes_itself", False)
        before = settings.CARDIGAN_RECO
        product = add_product("mug", RED)
        encode_all()
        old = EncoderVersion.objects.get()
        other_encoder(settings)
        add_image(product, GREEN)
        encode_all()
        new = EncoderVersion.objects.exclude(pk=old.pk).get()
        settings.CARDIGAN_RECO = before
        add_image(product, BLUE)
        encode_all()
        images = status.of(DB).collections[0].encoder
        assert images.fingerprint == old.fingerprint
        assert (images.rows, images.stale) == ({old.fingerprint: 2, new.fingerprint: 1}, 1)
        # Nothing is written as long as that stays so.
        at = EncoderVersion.objects.get(pk=old.pk).created_at
        add_image(product, BLUE)
        encode_all()
        assert EncoderVersion.objects.get(pk=old.pk).created_at == at

    def test_an_encoder_that_cant_be_known(
        self, worker: WorkerHeartbeat, settings: Settings
    ) -> None:
        encoder = {"BACKEND": "tests.nothing.Encoder"}
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "ENCODERS": {"default": encoder}}
        ((level, text), _posters) = problems(status.of(DB))
        assert level == "WARNING"
        assert text.startswith(f"{LABEL}: CARDIGAN_RECO['ENCODERS']['default']['BACKEND'] is ")

    def test_no_index(self, worker: WorkerHeartbeat) -> None:
        with connection.cursor() as cursor:
            cursor.execute("ALTER INDEX poster_vector_hnsw RENAME TO away")
            cursor.execute(
                "UPDATE pg_index SET indisvalid = false "
                "WHERE indexrelid = 'product_image_vector_hnsw'::regclass"
            )
        try:
            found = status.of(DB)
        finally:
            with connection.cursor() as cursor:
                cursor.execute(
                    "UPDATE pg_index SET indisvalid = true "
                    "WHERE indexrelid = 'product_image_vector_hnsw'::regclass"
                )
                cursor.execute("ALTER INDEX away RENAME TO poster_vector_hnsw")
        assert found.collections[0].index.state is IndexState.INVALID
        (level, text), *_others = problems(found)
        assert level == "WARNING"
        assert text.startswith(f"{LABEL}: its index is invalid, searches read all rows. ")
        assert "build_index" in text

    def test_an_index_is_built_that_locks(self, worker: WorkerHeartbeat) -> None:
        whole = status.of(DB)
        (_images, posters) = whole.collections
        building = replace(posters.index, locking_build=LockingBuild(pid=7, read=0.25))
        one = replace(posters, index=building)
        problems = status.problems.found([one], whole.workers, None, status.Limits.default(), DB)
        assert [(problem.level.name, problem.text) for problem in problems] == [
            (
                "WARNING",
                f"{POSTERS}: Process 7 of the server builds an index without CONCURRENTLY, 25% "
                "read; writes wait for it. Wait, too, or end it: SELECT pg_cancel_backend(7);",
            )
        ]
        lines = list(cardigan_status._collection(one))
        assert lines[-1] == "  index       one is being built by process 7, 25% read; writes wait"

    def test_each_hint_about_the_index_is_a_sentence(self, worker: WorkerHeartbeat) -> None:
        whole = status.of(DB)
        (_images, posters) = whole.collections
        unindexed = replace(posters.index, indexes=(), state=IndexState.ABSENT, changed_rows=1_024)
        (problem,) = status.problems.found(
            [replace(posters, index=unindexed)],
            whole.workers,
            None,
            status.Limits.default(),
            DB,
        )
        assert problem.text == (
            f"{POSTERS}: its index is absent, searches read all rows. No search has an index: "
            f"manage.py build_index {POSTERS} --database default. 1,024 rows changed since the "
            "last ANALYZE, and searches choose their plans by it: ANALYZE the table, or let "
            "autovacuum do it more often."
        )

    def test_requests_of_a_model_that_has_another_name_now(self, worker: WorkerHeartbeat) -> None:
        EncodingRequest.objects.create(collection="testapp.formerly", source_pk="1")
        assert problems(status.of(DB)) == [
            (
                "WARNING",
                "The queue has requests of testapp.formerly, which is no embedding model. If it "
                'has another name now, see "Renaming models" in docs/operations.md; if it is gone, '
                "delete its rows in cardigan_reco_encodingrequest.",
            )
        ]

    def test_no_table(self, worker: WorkerHeartbeat) -> None:
        table = "testapp_posterembedding"
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} RENAME TO away")
        try:
            found = status.of(DB)
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE away RENAME TO {table}")
        assert problems(found) == [
            (
                "CRITICAL",
                f"{POSTERS} has no table. Run manage.py migrate --database default.",
            )
        ]

    def test_no_tables_of_ours(self, worker: WorkerHeartbeat) -> None:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE cardigan_reco_encodingrequest RENAME TO away")
        try:
            code, lines = run()
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE away RENAME TO cardigan_reco_encodingrequest")
        assert code == 2
        assert lines[0].startswith(
            "CRITICAL: Database 'default' can't be read. See that it runs and is migrated: "
            'relation "cardigan_reco_encodingrequest" does not exist'
        )

    def test_vectors_that_are_too_many_to_count(
        self, worker: WorkerHeartbeat, add_product: AddProduct, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add_product("mug", RED)
        encode_all()
        monkeypatch.setattr(status.collections, "COUNTING_SECONDS", 0.05)
        with slow_counts():
            _code, lines = run()
        assert any(line.endswith("; too many vectors to count in time") for line in lines)

    def test_without_celery_there_is_no_broker(
        self, worker: WorkerHeartbeat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doorbell, "celery_is_installed", lambda: False)
        assert status.of(DB).broker is None
        assert run()[0] == 0


@contextmanager
def slow_counts() -> Iterator[None]:
    """Lets each look at the vectors of the products take long."""
    table = ProductImageEmbedding._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
        cursor.execute(f"CREATE VIEW {table} AS SELECT away.* FROM away, pg_sleep(0.2) AS slept")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP VIEW {table}")
            cursor.execute(f"ALTER TABLE away RENAME TO {table}")


class TestBroker:
    def test_answers(self, redis: RedisServer) -> None:
        with configured(broker_url=redis.broker.url):
            assert broker.look(5).answers

    def test_refuses(self, worker: WorkerHeartbeat) -> None:
        with configured(broker_url="redis://shop:secret@127.0.0.1:1/0"):
            code, lines = run()
        assert code == 1
        assert lines[0].startswith("WARNING: The broker redis://shop:**@127.0.0.1:1/0 doesn't")
        assert lines[0].endswith(
            "onnection refused. Nothing is lost, and nothing encoded until it does; encode_images "
            "needs no broker."
        )
        assert "secret" not in "".join(lines)

    def test_of_an_unknown_kind(self, worker: WorkerHeartbeat) -> None:
        with configured(broker_url="redes://127.0.0.1:1/0"):
            looked = broker.look(1)
        assert not looked.answers
        assert "redes" in looked.error

    @pytest.mark.parametrize("kind", ["redis", "amqp"])
    def test_swallows_all_that_it_gets(self, kind: str) -> None:
        with black_hole() as port, configured(broker_url=f"{kind}://127.0.0.1:{port}/0"):
            looked = broker.look(0.3)
        assert not looked.answers
        assert looked.error == "No answer in 0.3 s."


@pytest.mark.parametrize("number", ["soon", "1h", "nan", "-1"])
def test_numbers_are_numbers(number: str) -> None:
    for option in ("--warn-overdue", "--critical-overdue"):
        with pytest.raises(CommandError, match=f"'{number}' is not a number of seconds"):
            run(f"{option}={number}")
    for option in ("--warn-dead", "--warn-unusable", "--workers"):
        with pytest.raises(CommandError, match=f"'{number}' is not a whole number from 0 on"):
            run(f"{option}={number}")


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Any]:
    """Runs the command as a process of its own; returns its exit code and output."""

    def start(*arguments: str, **changed: Any) -> tuple[int, str]:
        log = tmp_path / f"status{len(list(tmp_path.glob('status*')))}.log"
        # A shop's own package imports its Celery app, as Celery's documentation says.
        code = (
            "import sys, django.core.management as m, tests.celery; m.execute_from_command_line()"
        )
        process = Process("-c", code, "cardigan_status", *arguments, log=log, **changed)
        return process.wait(), process.output()

    return start


def test_a_real_worker_comes_into_sight_works_and_is_missed(
    command: Any, start_worker: StartWorker, add_product: AddProduct, tmp_path: Path
) -> None:
    folder = Broker.in_folder(tmp_path / "broker")
    image = add_product("mug", RED).images.get()
    code, output = command(**folder.settings())
    assert code == 2
    assert output.startswith("CRITICAL: 0 of 1 workers are there.")
    worker = start_worker(folder, POLL_SECONDS=1)
    wait_until_encoded(image, worker)
    wait_until(WorkerHeartbeat.objects.exists, "the worker is seen", worker)
    code, output = command("--json", **folder.settings())
    found = json.loads(output)
    assert (code, found["level"]) == (0, "ok")
    assert [one["pid"] for one in found["workers"]] == [worker.popen.pid]
    assert found["collections"][0]["per_second_1"] > 0
    assert found["broker"]["answers"] is True
    worker.stop()
    code, output = command(**folder.settings())
    assert code == 2


def test_a_database_that_is_not_there(command: Any) -> None:
    away = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "shop",
            "HOST": "127.0.0.1",
            "PORT": 1,
        }
    }
    code, output = command(DATABASES=away)
    assert code == 2
    assert output.startswith("CRITICAL: Database 'default' can't be read. See that it runs")
    assert "Traceback" not in output


def test_a_database_that_swallows_all_that_it_gets(command: Any) -> None:
    with black_hole() as port:
        hole = {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": port}
        away = {"default": {**hole, "NAME": "shop"}}
        code, output = command("--timeout=1", DATABASES=away)
    assert code == 2
    assert output == (
        "CRITICAL: Database 'default' gives no answer in 1 s. See that its host is there, and that "
        "nothing on the way swallows what is sent.\n"
    )


@pytest.mark.parametrize("wrong", ["--warn-dead=many", "--nothing", "--database=nowhere", "x"])
def test_called_wrongly_is_neither_a_warning_nor_critical(command: Any, wrong: str) -> None:
    code, output = command(wrong)
    assert code == 3
    assert "error: " in output
    assert "Traceback" not in output


def test_torch_is_never_imported(tmp_path: Path) -> None:
    (tmp_path / "torch_settings.py").write_text(
        "from tests.settings import *\n"
        f"DATABASES['default']['NAME'] = {connection.settings_dict['NAME']!r}\n"
        "CARDIGAN_RECO = {'COLLECTIONS': CARDIGAN_RECO['COLLECTIONS']}\n"
    )
    code = (
        "import sys, django; django.setup()\n"
        "from cardigan_reco import status\n"
        "found = status.of('default')\n"
        "assert found.collections[0].encoder.alias == 'default', found\n"
        "assert not found.collections[0].encoder.problem, found\n"
        "print(*sorted({'torch', 'torchvision', 'safetensors', 'cv2'} & set(sys.modules)))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "torch_settings",
            "DATABASE_URL": postgres.url(),
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)]),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (finished.returncode, finished.stdout.strip()) == (0, ""), finished.stderr
    assert django_settings.CARDIGAN_RECO["COLLECTIONS"]
