"""Building vector indexes beside a running shop, being killed at it, and the report on them."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, models, transaction
from django.db.migrations import AddIndex
from django.db.migrations.state import ModelState, ProjectState
from django.test.utils import isolate_apps
from pytest_django import DjangoDbBlocker, Settings

from cardigan_reco import indexes, neighbours
from cardigan_reco.exceptions import IndexProblem
from cardigan_reco.fields import EmbeddingIndex
from cardigan_reco.indexes import IndexState, Listener, Progress
from cardigan_reco.indexes.session import Session
from cardigan_reco.locks import DESCRIBED
from cardigan_reco.management.commands.build_index import Bar
from cardigan_reco.models import Embedding, EmbeddingField
from cardigan_reco.querysets import EmbeddingQuerySet
from tests import vectors
from tests.aliases import alias
from tests.processes import Process, black_hole, wait_until
from tests.testapp.catalogue.models import Product
from tests.testapp.models import Poster, PosterEmbedding, ProductImageEmbedding
from tests.vectors import INDEX, TABLE, execute, value

LABEL = "testapp.ProductImageEmbedding"
ROWS = 3_000
"""So many are soon built."""
MANY_ROWS = 12_000
"""So many take long enough to be killed meanwhile."""
OWN = EmbeddingIndex(name=INDEX, fields=["vector"], opclasses=["halfvec_ip_ops"])


@pytest.fixture
def table(transactional_db: None) -> Iterator[None]:
    """Gives the table its index again, whatever a test did to it."""
    yield
    vectors.clear()


@pytest.fixture
def filled(table: None) -> vectors.Vectors:
    """Vectors without an index."""
    stored = vectors.clustered(ROWS)
    vectors.fill(stored, index=None)
    return stored


@pytest.fixture
def slow(table: None) -> None:
    """Vectors without an index, whose build takes a while."""
    vectors.fill(vectors.clustered(MANY_ROWS), index=None)


@pytest.fixture
def slow_again(table: None) -> None:
    """Vectors with an index that was built soon, and whose rebuild takes a while."""
    quick = "USING hnsw (vector halfvec_ip_ops) WITH (m = 4, ef_construction = 8)"
    vectors.fill(vectors.clustered(MANY_ROWS), index=quick)
    execute(f"ALTER INDEX {INDEX} SET (m = 16, ef_construction = 64)")


@pytest.fixture
def indexed(table: None) -> vectors.Vectors:
    """Vectors with their index."""
    stored = vectors.clustered(ROWS)
    vectors.fill(stored)
    return stored


def run(command: str, *arguments: object, **options: object) -> tuple[str, str]:
    """Runs a command; returns what it wrote to stdout and stderr."""
    output, errors = io.StringIO(), io.StringIO()
    call_command(command, *arguments, stdout=output, stderr=errors, **options)
    return output.getvalue(), errors.getvalue()


def state() -> IndexState:
    return indexes.health(ProductImageEmbedding, using="default").state


def leftovers() -> list[str]:
    """Returns the names of the table's invalid indexes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexrelid::regclass::text FROM pg_index "
            "WHERE indrelid = %s::regclass AND NOT indisvalid ORDER BY 1",
            [TABLE],
        )
        return [name for (name,) in cursor.fetchall()]


def build(**options: object) -> indexes.Built:
    return indexes.build(ProductImageEmbedding, OWN, using="default", **options)  # type: ignore[arg-type]


def rebuild(**options: object) -> indexes.Built:
    return indexes.rebuild(ProductImageEmbedding, OWN, using="default", **options)  # type: ignore[arg-type]


def builder() -> int | None:
    """Returns the server's process that reads the table for an index now."""
    pid = value(
        "SELECT pid FROM pg_stat_progress_create_index "
        "WHERE relid = %s::regclass AND blocks_done > 0",
        [TABLE],
    )
    return pid if isinstance(pid, int) else None


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Returns a function that runs build_index in a process, and waits until it is at work."""
    processes = []

    def start(*arguments: str) -> Process:
        process = Process(
            "-m",
            "django",
            "build_index",
            LABEL,
            *arguments,
            log=tmp_path / f"build{len(processes)}.log",
        )
        processes.append(process)
        wait_until(builder, "the index is being built", process)
        return process

    yield start
    for process in processes:
        process.kill()
    if (pid := builder()) is not None:
        execute("SELECT pg_terminate_backend(%s)", [pid])
    wait_until(lambda: builder() is None, "the backend has ended")


@contextmanager
def reader_in_the_way() -> Iterator[int]:
    """Holds an old transaction open, for which each CONCURRENTLY waits; yields its process."""
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute(f"LOCK TABLE {TABLE} IN ROW EXCLUSIVE MODE")
        yield other.info.backend_pid
        other.rollback()


def keep_few() -> None:
    """Deletes most rows, so that what is built next is soon complete."""
    execute(f"DELETE FROM {TABLE} WHERE source_id > 500")


def break_off(statement: str) -> None:
    """Starts a CONCURRENTLY that waits for another transaction, and cancels it."""
    with reader_in_the_way():
        execute("SET statement_timeout = '300ms'")
        try:
            with pytest.raises(Exception, match="statement timeout"):
                execute(statement)
        finally:
            execute("RESET statement_timeout")


CREATE = f"CREATE INDEX CONCURRENTLY {INDEX} ON {TABLE} USING hnsw (vector halfvec_ip_ops)"


class TestBuild:
    def test_what_is_missing(self, slow: None) -> None:
        assert state() is IndexState.ABSENT
        output, errors = run("build_index", "similar")
        assert output.startswith(f"{LABEL}: {INDEX} built in ")
        assert output.endswith(" MB.\n")
        assert "building index: loading tuples" in errors  # The bar.
        assert state() is IndexState.VALID
        definition = value("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [INDEX])
        assert str(definition).endswith("WITH (ef_construction='128')")

    def test_what_is_valid_stays(self, table: None) -> None:
        before = value("SELECT %s::regclass::oid", [INDEX])
        assert run("build_index", LABEL)[0] == f"{LABEL}: {INDEX} is there and valid.\n"
        assert value("SELECT %s::regclass::oid", [INDEX]) == before

    def test_without_a_name_all_that_a_meta_declares(self, table: None) -> None:
        execute(f"DROP INDEX {INDEX}")
        lines = run("build_index")[0].splitlines()
        assert lines[0].startswith(f"{LABEL}: {INDEX} built in ")
        assert lines[1:] == ["testapp.PosterEmbedding: poster_vector_hnsw is there and valid."]

    def test_the_parameters_of_meta(self, table: None) -> None:
        execute(f"DROP INDEX {INDEX}")
        index = EmbeddingIndex(name=INDEX, fields=["vector"], m=8, ef_construction=32)
        indexes.build(ProductImageEmbedding, index, using="default")
        options = value("SELECT reloptions FROM pg_class WHERE relname = %s", [INDEX])
        assert options == ["m=8", "ef_construction=32"]

    def test_leaves_the_connection_as_it_was(self, filled: vectors.Vectors) -> None:
        names = ("maintenance_work_mem", "statement_timeout", "max_parallel_maintenance_workers")
        before = [value(f"SHOW {name}") for name in names]
        build(memory_bytes=256 * 2**20, workers=0)
        assert [value(f"SHOW {name}") for name in names] == before
        assert value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
        assert not [
            thread for thread in threading.enumerate() if thread.name.startswith("cardigan-index")
        ]

    def test_takes_as_long_as_it_takes(
        self, slow: None, django_db_blocker: DjangoDbBlocker
    ) -> None:
        if connection.pg_version < 170_000:
            pytest.skip("transaction_timeout came with PostgreSQL 17")
        limits = "-c statement_timeout=300 -c lock_timeout=300 -c transaction_timeout=300"
        options = {**connection.settings_dict["OPTIONS"], "options": limits}
        with django_db_blocker.unblock(), alias("hurried", OPTIONS=options) as hurried:
            run("build_index", LABEL, "--database", hurried)
        assert state() is IndexState.VALID

    def test_says_when_memory_is_short(self, filled: vectors.Vectors) -> None:
        _output, errors = run("build_index", LABEL, "--memory", "1MB", "--workers", "0")
        assert "hnsw graph no longer fits into maintenance_work_mem after" in errors
        assert state() is IndexState.VALID

    def test_the_default_memory_holds_the_graph(self, filled: vectors.Vectors) -> None:
        _output, errors = run("build_index", LABEL, "--workers", "0")
        assert "no longer fits" not in errors

    def test_says_for_whom_it_waits(self, table: None) -> None:
        execute(f"DROP INDEX {INDEX}")
        seen: list[str] = []

        class Waiting(Listener):
            def progress(self, progress: Progress) -> None:
                if progress.waits_for:
                    seen.append(progress.waits_for)
                    other.rollback()

        with psycopg.connect(**connection.get_connection_params()) as other:
            other.execute(f"LOCK TABLE {TABLE} IN ROW EXCLUSIVE MODE")
            build(listener=Waiting())
            assert seen[0].startswith(f"process {other.info.backend_pid} (")
            assert ", idle in transaction, its transaction began 00:00:0" in seen[0]
        assert state() is IndexState.VALID

    @pytest.mark.parametrize("mode", ["SHARE UPDATE EXCLUSIVE", "ROW EXCLUSIVE"])
    def test_says_for_whom_it_waits_where_postgresql_tells_no_progress(
        self, table: None, mode: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before it may begin; and to drop what a broken-off build has left."""
        monkeypatch.setattr("cardigan_reco.indexes.session.NOTE_SECONDS", 0.3)
        execute(f"DROP INDEX {INDEX}")
        if mode == "ROW EXCLUSIVE":
            break_off(CREATE)
        notes: list[str] = []
        phases: list[tuple[str, tuple[int, ...]]] = []

        class Waiting(Listener):
            def progress(self, progress: Progress) -> None:
                phases.append((progress.phase, progress.blockers))

            def note(self, text: str) -> None:
                notes.append(text)
                other.rollback()

        params = {**connection.get_connection_params(), "application_name": "nightly"}
        with psycopg.connect(**params) as other:
            pid = other.info.backend_pid
            other.execute(f"LOCK TABLE {TABLE} IN {mode} MODE")
            build(listener=Waiting())
        assert phases[0] == ("", (pid,))
        assert notes[0].startswith(f"Waits for process {pid} (nightly, user ")
        assert notes[0].endswith(f"). To end that: SELECT pg_terminate_backend({pid});")
        assert state() is IndexState.VALID

    def test_the_bar_says_for_whom_it_waits(
        self, table: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        execute(f"DROP INDEX {INDEX}")
        with psycopg.connect(**connection.get_connection_params()) as other:
            other.execute(f"LOCK TABLE {TABLE} IN SHARE UPDATE EXCLUSIVE MODE")
            note = Bar.note

            def end(bar: Bar, text: str) -> None:
                note(bar, text)
                other.rollback()

            monkeypatch.setattr("cardigan_reco.indexes.session.NOTE_SECONDS", 0.3)
            monkeypatch.setattr(Bar, "note", end)
            _output, errors = run("build_index", LABEL)
            pid = other.info.backend_pid
        assert f" waits for process {pid} to end" in errors
        assert f"Waits for process {pid} (" in errors

    def test_a_prepared_transaction_is_named_as_such(self, db: None) -> None:
        sql = (
            f"SELECT {DESCRIBED} FROM (VALUES (0)) AS one (pid) LEFT JOIN pg_stat_activity session"
        )
        text = value(f"{sql} USING (pid)")
        assert text == "a prepared transaction, see pg_prepared_xacts"

    def test_writes_go_on_and_are_found(self, filled: vectors.Vectors) -> None:
        stop = threading.Event()
        written: list[int] = []
        failed: list[BaseException] = []

        def write() -> None:
            try:
                with psycopg.connect(
                    **connection.get_connection_params(), autocommit=True
                ) as other:
                    for number in range(1, ROWS + 1):
                        if stop.is_set():
                            break
                        row = vectors.text(vectors.clustered(1, seed=number)[0])
                        other.execute(
                            f"UPDATE {TABLE} SET vector = %s::halfvec WHERE source_id = %s",
                            [row, number],
                        )
                        written.append(number)
            except BaseException as error:
                failed.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        wait_until(lambda: written, "the writer writes")
        before = len(written)
        build()
        during = len(written) - before
        stop.set()
        writer.join()
        assert failed == []
        assert during > 5  # The table wasn't locked.
        rows = EmbeddingQuerySet(ProductImageEmbedding)
        with transaction.atomic():
            execute("SET LOCAL enable_seqscan = off")
            for number in written[:: max(len(written) // 50, 1)]:
                vector = models.Subquery(rows.filter(pk=number).values("vector"))
                nearest = rows.nearest(vector).values_list("pk", flat=True)[:1]
                assert INDEX in nearest.explain()
                assert list(nearest) == [number]


class TestRefusals:
    def test_inside_a_transaction(self, db: None) -> None:
        with pytest.raises(IndexProblem, match="inside a transaction, for which it would wait"):
            build()

    def test_a_user_who_does_not_own_the_table(self, table: None, reader: str) -> None:
        execute(f"DROP INDEX {INDEX}")
        with pytest.raises(CommandError) as caught:
            run("build_index", LABEL, database="reader")
        assert str(caught.value) == (
            f"User '{reader}' may not build {INDEX}: only the owner of {TABLE} may, with the right "
            "to CREATE in its schema. Run the command as that user, or as a role that is a member "
            "of it."
        )
        assert state() is IndexState.ABSENT

    def test_an_index_of_another_kind_under_its_name(self, table: None) -> None:
        execute(f"DROP INDEX {INDEX}")
        execute(f"CREATE INDEX {INDEX} ON {TABLE} (encoded_at)")
        with pytest.raises(CommandError) as caught:
            run("build_index", LABEL)
        hint = str(caught.value).partition("Run ")[2].partition(" and build")[0]
        execute(hint)
        build()
        assert state() is IndexState.VALID

    def test_a_name_that_another_table_has_taken(self, table: None) -> None:
        execute(f"DROP INDEX {INDEX}")
        execute(f"CREATE INDEX {INDEX} ON {PosterEmbedding._meta.db_table} (encoded_at)")
        try:
            with pytest.raises(CommandError, match=f'"{INDEX}" already exists'):
                run("build_index", LABEL)
        finally:
            execute(f"DROP INDEX {INDEX}")

    def test_another_program_builds(self, table: None) -> None:
        execute(f"DROP INDEX {INDEX}")
        with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
            thread = threading.Thread(target=other.execute, args=[CREATE])
            with reader_in_the_way():
                thread.start()
                wait_until(leftovers, "it has begun")
                with pytest.raises(IndexProblem, match=f"{INDEX} of {LABEL} is being built by"):
                    build()
            thread.join()
        assert state() is IndexState.VALID

    @pytest.mark.parametrize(
        ("option", "text", "message"),
        [
            ("--memory", "plenty", "'plenty' is not a size as PostgreSQL writes it, such as 1GB"),
            ("--memory", "1kB", "'1kB' is not a size"),
            ("--workers", "-1", "'-1' is not a whole number from 0 to 1024"),
            ("--m", "1", "'1' is not a whole number from 2 to 1000"),
            # Django's checks E033 and E034 would refuse them in a Meta, after the build.
            ("--name", "", "'' is not a name that a Meta can have for an index"),
            ("--name", "_v2", "choose one of at most 31 characters that begins with a letter"),
            ("--name", "2_v", "'2_v' is not a name"),
            ("--name", "v" * 32, f"'{'v' * 32}' is not a name"),
        ],
    )
    def test_options_out_of_range(self, option: str, text: str, message: str) -> None:
        with pytest.raises(CommandError, match=message):
            run("build_index", LABEL, f"{option}={text}")

    def test_the_longest_name(self, table: None) -> None:
        with pytest.raises(CommandError, match="leaves no choice of name"):
            run("build_index", LABEL, f"--name={'v' * 31}")

    def test_an_unknown_collection(self) -> None:
        with pytest.raises(CommandError, match=r"'shop\.Nothing' is not an embedding model"):
            run("build_index", "shop.Nothing")


class TestSharedMemory:
    """Parallel workers share maintenance_work_mem in /dev/shm: pgvector #453."""

    @pytest.fixture
    def parallel(self, filled: vectors.Vectors) -> Iterator[None]:
        execute(f"ALTER TABLE {TABLE} SET (parallel_workers = 2)")
        yield
        execute(f"ALTER TABLE {TABLE} RESET (parallel_workers)")

    def test_too_little_here_is_seen_before(self, parallel: None) -> None:
        _output, errors = run("build_index", LABEL, "--memory=1024GB", "--workers=2")
        assert "parallel workers would share 1,048,576 MiB. Building without them" in errors
        assert state() is IndexState.VALID

    def test_too_little_on_a_server_elsewhere_is_met_and_passed_by(
        self, parallel: None, django_db_blocker: DjangoDbBlocker
    ) -> None:
        """libpq tries the first host, where nobody listens; so the server may not be ours."""
        host = connection.settings_dict["HOST"] or connection.settings_dict["OPTIONS"]["host"]
        with django_db_blocker.unblock(), alias("elsewhere", HOST=f"127.0.0.77,{host}"):
            _output, errors = run(
                "build_index", LABEL, "--memory=1024GB", "--workers=2", database="elsewhere"
            )
        assert "/dev/shm can't hold 1,048,576 MiB for parallel workers" in errors
        assert state() is IndexState.VALID
        assert leftovers() == []


class TestBrokenOff:
    """A build that is killed leaves an invalid index behind."""

    def test_an_invalid_leftover_is_replaced(self, table: None) -> None:
        execute(f"DROP INDEX {INDEX}")
        break_off(CREATE)
        assert leftovers() == [INDEX]
        with pytest.raises(Exception, match="already exists"):
            execute(CREATE)  # What the trap is about.
        output, _errors = run("build_index", LABEL)
        assert output.splitlines()[0] == f"Dropped what was left behind: {INDEX}."
        assert state() is IndexState.VALID
        assert leftovers() == []

    def test_the_backend_is_terminated(self, slow: None, start: Start) -> None:
        process = start()
        execute("SELECT pg_terminate_backend(%s)", [builder()])
        assert process.wait() == 1
        assert "was not built: terminating connection" in process.output()
        assert f"The half-built index {INDEX} was dropped." in process.output()
        assert state() is IndexState.ABSENT
        keep_few()
        build()
        assert state() is IndexState.VALID

    def test_client_and_backend_are_killed(self, slow: None, start: Start) -> None:
        process = start()
        pid = builder()
        process.kill()
        execute("SELECT pg_terminate_backend(%s)", [pid])
        wait_until(lambda: builder() is None, "the backend has ended")
        assert leftovers() == [INDEX]
        assert f"{INDEX}, invalid" in run("index_report", LABEL)[0]
        keep_few()
        assert build().dropped == (INDEX,)
        assert state() is IndexState.VALID
        assert leftovers() == []

    def test_the_client_alone_is_killed(self, slow: None, start: Start) -> None:
        """PostgreSQL goes on, and completes the index by itself; till then nobody else builds."""
        process = start()
        with pytest.raises(
            CommandError,
            match=f"An index of {LABEL} is being built by process {builder()} of the server",
        ):
            run("build_index", LABEL)
        process.kill()
        with pytest.raises(IndexProblem, match="is being built by process"):
            build()
        wait_until(lambda: state() is IndexState.VALID, "the index is complete")
        wait_until(lambda: builder() is None, "the backend has ended")
        assert build().action == "kept"

    def test_control_c(self, slow: None, start: Start) -> None:
        process = start()
        os.kill(process.popen.pid, signal.SIGINT)
        assert process.wait() == 1
        assert f"The half-built index {INDEX} was dropped." in process.output()
        assert "CommandError: Stopped. The shop's searches go on as before." in process.output()
        assert "Traceback" not in process.output()
        assert builder() is None
        assert state() is IndexState.ABSENT

    def test_control_c_while_it_waits_for_a_transaction(
        self, table: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Dropping waits for that transaction too, so it is given up after a while, and said."""
        monkeypatch.setattr("cardigan_reco.indexes.building.CLEANING_SECONDS", 2)
        monkeypatch.setattr("cardigan_reco.indexes.session.NOTE_SECONDS", 0.3)
        execute(f"DROP INDEX {INDEX}")
        notes: list[str] = []

        class Impatient(Listener):
            def progress(self, progress: Progress) -> None:
                if progress.waits_for:
                    raise KeyboardInterrupt

            def note(self, text: str) -> None:
                notes.append(text)

        with reader_in_the_way(), pytest.raises(KeyboardInterrupt):
            build(listener=Impatient())
        assert notes[-1].startswith("What is left of the build could not be dropped.")
        assert notes[-2].startswith("Waits for process ")
        assert leftovers() == [INDEX]
        assert build().dropped == (INDEX,)
        assert state() is IndexState.VALID

    def test_a_killed_rebuild_leaves_the_old_index_at_work(
        self, slow_again: None, start: Start
    ) -> None:
        before = value("SELECT %s::regclass::oid", [INDEX])
        process = start("--rebuild")
        pid = builder()
        process.kill()
        execute("SELECT pg_terminate_backend(%s)", [pid])
        wait_until(lambda: builder() is None, "the backend has ended")
        assert leftovers() == [f"{INDEX}_ccnew"]
        assert state() is IndexState.VALID
        assert value("SELECT %s::regclass::oid", [INDEX]) == before
        assert f"{INDEX}_ccnew is left of a rebuild" in run("index_report", LABEL)[0]
        output, _errors = run("build_index", LABEL)
        assert output == (
            f"Dropped what was left behind: {INDEX}_ccnew.\n{LABEL}: {INDEX} is there and valid.\n"
        )
        assert leftovers() == []

    def test_a_rebuild_after_a_killed_one(self, slow_again: None, start: Start) -> None:
        process = start("--rebuild")
        os.kill(process.popen.pid, signal.SIGINT)
        assert process.wait() == 1
        assert f"The half-built index {INDEX}_ccnew was dropped." in process.output()
        assert state() is IndexState.VALID
        break_off(f"REINDEX INDEX CONCURRENTLY {INDEX}")
        assert leftovers() == [f"{INDEX}_ccnew"]
        keep_few()
        built = rebuild()
        assert built.dropped == (f"{INDEX}_ccnew",)
        assert built.action == "rebuilt"
        assert leftovers() == []


class TestRebuild:
    def test_there_is_an_index_all_the_time(self, indexed: vectors.Vectors) -> None:
        seen = []
        stop = threading.Event()
        # A cast to regclass would look the name up later than the row that it is compared with.
        sql = (
            "SELECT bool_or(indisvalid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
            "WHERE relname = %s"
        )

        def watch() -> None:
            with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
                while not stop.is_set():
                    seen.extend(other.execute(sql, [INDEX]).fetchone() or [])

        watcher = threading.Thread(target=watch)
        watcher.start()
        before = value("SELECT %s::regclass::oid", [INDEX])
        rebuild()
        stop.set()
        watcher.join()
        assert len(seen) > 20
        assert set(seen) == {True}
        assert value("SELECT %s::regclass::oid", [INDEX]) != before

    def test_gives_back_the_space_and_vacuums(self, indexed: vectors.Vectors) -> None:
        execute(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)")
        execute(f"DELETE FROM {TABLE} WHERE source_id % 10 <> 0")
        vectors.count()
        health = indexes.health(ProductImageEmbedding, using="default")
        assert (health.rows, health.dead_rows) == (ROWS // 10, ROWS * 9 // 10)
        assert health.dead_share == 0.9
        command = f"manage.py build_index {LABEL} --database default --rebuild"
        assert health.hints == [f"90% of the rows are dead: {command}"]
        output, _errors = run("build_index", LABEL, "--rebuild")
        assert " rebuilt in " in output
        execute("SELECT pg_stat_clear_snapshot()")
        after = indexes.health(ProductImageEmbedding, using="default")
        assert after.dead_rows == 0
        assert after.serving is not None
        assert health.serving is not None
        assert after.serving.bytes < health.serving.bytes / 5
        assert after.hints == []

    def test_vacuum_alone_leaves_the_index_large_and_that_is_said(
        self, indexed: vectors.Vectors
    ) -> None:
        execute(f"DELETE FROM {TABLE} WHERE source_id % 3 <> 0")
        execute(f"VACUUM (ANALYZE) {TABLE}")
        vectors.count()
        health = indexes.health(ProductImageEmbedding, using="default")
        assert health.dead_rows == 0
        assert health.bloat > 2.5
        assert health.hints == [
            f"The index takes {health.bloat:.1f} times what its rows need: manage.py build_index "
            f"{LABEL} --database default --rebuild"
        ]

    def test_what_is_absent_is_built(self, table: None) -> None:
        execute(f"DROP INDEX {INDEX}")
        assert rebuild().action == "built"
        assert state() is IndexState.VALID


@pytest.mark.parametrize("exact_rows", [12_000, 1], ids=["as it is", "by the index alone"])
def test_fault_55_90_percent_dead_rows_still_fill_a_page(
    indexed: vectors.Vectors, settings: Settings, exact_rows: int
) -> None:
    """Nothing is vacuumed, and the index leads to dead rows first."""
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "EXACT_ROWS": exact_rows}
    execute(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)")
    execute(f"DELETE FROM {TABLE} WHERE source_id % 20 > 1")
    vectors.count()
    stored = neighbours.of_source(ProductImageEmbedding, 20, "default")
    statements = []

    def watch(run, sql, params, many, context):  # type: ignore[no-untyped-def]
        statements.append(sql)
        return run(sql, params, many, context)

    with connection.execute_wrapper(watch):
        found = neighbours.nearest(
            ProductImageEmbedding,
            stored,
            candidates=Product.objects.all(),
            limit=20,
            using="default",
        )
    assert len({match.item_pk for match in found}) == 20
    assert found[0].source_pk == 20
    assert any("OFFSET 0" in sql for sql in statements) is (exact_rows > 1)


@isolate_apps("tests.testapp")
def introduced() -> type[Embedding]:
    """Returns a model whose encoder is being introduced: it declares no index yet."""

    class PosterEmbeddingV2(Embedding):
        source = models.OneToOneField(Poster, models.CASCADE, primary_key=True, related_name="+")
        vector = EmbeddingField(dimensions=16)

        class Meta(Embedding.Meta):
            app_label = "testapp"

    return PosterEmbeddingV2


@pytest.fixture
def second(table: None) -> Iterator[type[Embedding]]:
    model = introduced()
    with connection.schema_editor() as editor:
        editor.create_model(model)
    yield model
    with connection.schema_editor() as editor:
        editor.delete_model(model)


class TestNoIndexYet:
    """Step 1 of an encoder swap: an embedding without an index, which gets it after its vectors."""

    def test_django_names_it(self, second: type[Embedding]) -> None:
        [index] = indexes.chosen(second, using="default")
        assert re.fullmatch(r"testapp_pos_vector_\w{6}_hnsw", index.name)
        built = indexes.build(second, index, using="default")
        assert built.action == "built"
        health = indexes.health(second, using="default")
        assert health.state is IndexState.VALID
        assert health.hints == [
            f"No Meta names {index.name}: put EmbeddingIndex(name='{index.name}', "
            'fields=["vector"]) into the indexes of testapp.PosterEmbeddingV2.Meta.'
        ]

    def test_an_index_of_ones_own_choice(self, second: type[Embedding]) -> None:
        [index] = indexes.chosen(
            second, using="default", name="v2_hnsw", m=24, ef_construction=None
        )
        indexes.build(second, index, using="default")
        options = value("SELECT reloptions FROM pg_class WHERE relname = 'v2_hnsw'")
        assert options == ["m=24", "ef_construction=128"]
        # Later runs know it again without its name.
        assert indexes.chosen(second, using="default")[0].name == "v2_hnsw"

    def test_a_declared_one_leaves_no_choice(self, table: None) -> None:
        with pytest.raises(CommandError) as caught:
            run("build_index", LABEL, name="other", m=8)
        assert str(caught.value) == (
            f"{LABEL} declares {INDEX} in its Meta, which leaves no choice of name, m. Change it "
            "there."
        )

    @pytest.mark.parametrize("is_built", [True, False], ids=["built before", "not built before"])
    def test_the_migration_that_declares_it_later(
        self, second: type[Embedding], is_built: bool
    ) -> None:
        if is_built:
            [index] = indexes.chosen(second, using="default", name="v2_hnsw")
            indexes.build(second, index, using="default")
            before = value("SELECT 'v2_hnsw'::regclass::oid")
        declared = EmbeddingIndex(name="v2_hnsw", fields=["vector"])
        migrate(second, AddIndex("PosterEmbeddingV2", declared))
        assert indexes.health(second, using="default").state is IndexState.VALID
        if is_built:
            assert value("SELECT 'v2_hnsw'::regclass::oid") == before


def migrate(model: type[Embedding], operation: AddIndex) -> None:
    """Applies an operation to a table that is there, as a later migration does."""
    before = ProjectState()
    for other in (
        Poster,
        *[field.related_model for field in model._meta.fields if field.is_relation],
    ):
        if (
            other is not None
            and (other._meta.app_label, other._meta.model_name) not in before.models
        ):
            before.add_model(ModelState.from_model(other))
    before.add_model(ModelState.from_model(model))
    after = before.clone()
    operation.state_forwards("testapp", after)
    with connection.schema_editor() as editor:
        operation.database_forwards("testapp", editor, before, after)


class TestSession:
    def test_a_host_that_vanishes_is_noticed(
        self, transactional_db: None, django_db_blocker: DjangoDbBlocker
    ) -> None:
        """In half a minute: a client that waits for an answer alone would wait for hours."""
        mine = {**connection.settings_dict["OPTIONS"], "keepalives_idle": 60}
        with django_db_blocker.unblock(), alias("far", OPTIONS=mine):
            # As every build has: Django asks a new alias for its types, by a connection of the
            # thread's that nobody would close.
            connections["far"].ensure_connection()
            with Session("far", Listener()) as session:
                session.run("SELECT pg_sleep(0.5)")
                for connected in (session._connection, session._watcher):
                    assert connected.connection is not None
                    told = connected.connection.info.get_parameters()
                    assert told["keepalives_idle"] == "60"
                    assert (told["keepalives_count"], told["tcp_user_timeout"]) == ("3", "25000")
            assert connections["far"].settings_dict["OPTIONS"] == mine


class TestReport:
    def test_a_table_as_it_should_be(self, indexed: vectors.Vectors) -> None:
        execute(f"VACUUM (ANALYZE) {TABLE}")
        vectors.count()
        lines = run("index_report", LABEL)[0].splitlines()
        assert lines[0] == f"{LABEL}: valid"
        assert lines[1].startswith("  rows      3,000 and 0 dead (0.0%), ")
        assert lines[2].startswith(f"  index     {INDEX}, valid, ")
        assert " bytes a row, " in lines[2]
        assert (
            lines[3].replace("\N{NO-BREAK SPACE}", " ")
            == "  vacuumed  0 minutes ago; analysed 0 minutes ago"
        )
        assert lines[4].startswith("  pgvector  0.")
        assert len(lines) == 5

    def test_absent(self, filled: vectors.Vectors) -> None:
        output, _errors = run("index_report", LABEL)
        assert output.startswith(f"{LABEL}: absent\n")
        assert (
            f"  to do     No search has an index: manage.py build_index {LABEL} --database default"
            in output.splitlines()
        )

    def test_being_built(self, slow: None, start: Start) -> None:
        start()
        [found] = json.loads(run("index_report", LABEL, "--json")[0])
        assert found["state"] == "invalid"
        [index] = found["indexes"]
        assert index["name"] == INDEX
        assert 0 < index["building"] <= 1
        assert found["hints"][0].startswith(f"{INDEX} is being built, ")

    @pytest.mark.parametrize("has_index", [True, False])
    def test_being_built_by_a_create_index_that_locks(self, table: None, has_index: bool) -> None:
        index = {} if has_index else {"index": None}
        vectors.fill(vectors.clustered(20), **index)
        with locking_build() as pid:
            found = indexes.health(ProductImageEmbedding, using="default")
            assert found.locking_build is not None
            assert found.locking_build.pid == pid
            hint = (
                f"Process {pid} of the server builds an index without CONCURRENTLY, 100% read; "
                f"writes wait for it. Wait, too, or end it: SELECT pg_cancel_backend({pid});"
            )
            assert found.hints == [hint]
            assert f"  to do     {hint}" in run("index_report", LABEL)[0].splitlines()
            [one] = json.loads(run("index_report", LABEL, "--json")[0])
            assert one["locking_build"] == {"pid": pid, "read": 1}
            with pytest.raises(CommandError) as caught:
                run("build_index", LABEL)
        assert str(caught.value) == (
            f"Process {pid} of the server builds an index of {LABEL}, without CONCURRENTLY. Wait "
            "for it, or end it, and see by index_report what is missing then."
        )
        found = indexes.health(ProductImageEmbedding, using="default")
        assert found.locking_build is None

    @pytest.mark.parametrize("held", ["TABLE", "INDEX"])
    def test_locked(self, table: None, held: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cardigan_reco.locks.LOCK_SECONDS", 0.2)
        params = {**connection.get_connection_params(), "application_name": "an ALTER"}
        for command in ("index_report", "build_index"):
            with psycopg.connect(**params) as other:
                if held == "TABLE":
                    other.execute(f"LOCK TABLE {TABLE}")
                else:
                    other.execute(f"REINDEX INDEX {INDEX}")
                pid = other.info.backend_pid
                with pytest.raises(CommandError) as caught:
                    run(command, LABEL)
                other.rollback()
            text = str(caught.value)
            assert text.startswith(
                f"In database 'default' a table, or an index of it, is locked: {TABLE}. In the "
                f"way: process {pid} (an ALTER, user "
            )
            assert text.endswith("Wait, or end it: SELECT pg_terminate_backend(PROCESS);")

    def test_locked_by_somebody_of_whom_little_may_be_known(
        self, table: None, reader: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cardigan_reco.locks.LOCK_SECONDS", 0.2)
        params = {**connection.get_connection_params(), "application_name": "an ALTER"}
        with psycopg.connect(**params) as other:
            other.execute(f"LOCK TABLE {TABLE}")
            (user,) = other.execute("SELECT current_user").fetchone() or ()
            with pytest.raises(CommandError) as caught:
                run("index_report", LABEL, database="reader")
            pid = other.info.backend_pid
        assert f"In the way: process {pid} (an ALTER, user {user}). Wait" in str(caught.value)

    def test_of_a_database_that_swallows_all_that_it_gets(
        self, transactional_db: None, django_db_blocker: DjangoDbBlocker
    ) -> None:
        with (
            black_hole() as port,
            django_db_blocker.unblock(),
            alias("hole", HOST="127.0.0.1", PORT=port, OPTIONS={}),
            pytest.raises(CommandError, match=r"Database 'hole' gives no answer in 0\.5 s\. See"),
        ):
            run("index_report", LABEL, "--timeout=0.5", database="hole")

    def test_databases_that_vanished_keep_none_from_being_told_of(
        self, table: None, settings: Settings, django_db_blocker: DjangoDbBlocker
    ) -> None:
        """They are asked side by side, so that --timeout is for all of them together."""
        settings.DATABASE_ROUTERS = [PostersElsewhere()]
        with (
            black_hole() as port,
            django_db_blocker.unblock(),
            alias("attic", HOST="127.0.0.1", PORT=port, OPTIONS={}),
        ):
            for form in ((), ("--json",)):
                output = io.StringIO()
                with pytest.raises(CommandError, match="'attic' gives no answer in 1 s"):
                    call_command("index_report", "--timeout=1", *form, stdout=output)
                if form:
                    [found] = json.loads(output.getvalue())
                    assert found["collection"] == LABEL
                else:
                    assert output.getvalue().startswith(f"{LABEL}: valid\n")

    def test_json_of_all(self, table: None) -> None:
        found = json.loads(run("index_report", "--json")[0])
        assert [one["collection"] for one in found] == [LABEL, "testapp.PosterEmbedding"]
        assert {one["state"] for one in found} == {"valid"}
        assert all(one["pgvector"].startswith("0.") for one in found)

    def test_stale_statistics(self, table: None) -> None:
        vectors.fill(vectors.clustered(2_000), index=None)
        execute(f"UPDATE {TABLE} SET digest = 'other' WHERE source_id <= 1500")
        execute("SELECT pg_stat_force_next_flush()")
        execute("SELECT pg_stat_clear_snapshot()")
        hints = indexes.health(ProductImageEmbedding, using="default").hints
        assert hints[-1].startswith("1,500 rows changed since the last ANALYZE")

    def test_a_table_that_waits_for_its_migration(self, scratch: str) -> None:
        output, _errors = run("index_report", LABEL, database=scratch)
        assert output.startswith(f"{LABEL}: no table\n")
        assert "  pgvector  is not there\n" in output
        assert "  to do     The table isn't there: manage.py migrate --database scratch" in output
        with pytest.raises(
            CommandError,
            match=f"Table {TABLE} of {LABEL} is not in database 'scratch': run migrate "
            "--database scratch.",
        ):
            run("build_index", LABEL, database=scratch)


class PostersElsewhere:
    """Keeps one of the collections in another database, which is asked before the others."""

    def db_for_write(self, model: type, **hints: object) -> str | None:
        return "attic" if model is PosterEmbedding else None


@contextmanager
def locking_build() -> Iterator[int]:
    """Lets a CREATE INDEX without CONCURRENTLY stand still meanwhile; yields its process."""
    execute(
        "CREATE FUNCTION halt(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql "
        "AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN $1; END'"
    )
    params = connection.get_connection_params()
    try:
        with (
            psycopg.connect(**params) as gate,
            psycopg.connect(**params, autocommit=True) as other,
        ):
            gate.execute("SELECT pg_advisory_xact_lock(4711)")
            pid = other.info.backend_pid
            statement = f"CREATE INDEX halting ON {TABLE} (halt(source_id))"
            thread = threading.Thread(target=other.execute, args=[statement])
            thread.start()
            sql = "SELECT pg_blocking_pids(%s) <> '{}'"
            wait_until(lambda: value(sql, [pid]), "it stands still")
            try:
                yield pid
            finally:
                gate.rollback()
                thread.join()
    finally:
        execute("DROP FUNCTION halt CASCADE")


@pytest.fixture
def scratch(transactional_db: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A database on the real server that nobody has migrated."""
    name = f"cardigan_indexes_{uuid.uuid4().hex[:8]}"
    execute(f"CREATE DATABASE {name} TEMPLATE template0")
    with django_db_blocker.unblock(), alias("scratch", NAME=name):
        yield "scratch"
    execute(f"DROP DATABASE {name}")


@pytest.fixture
def reader(transactional_db: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A user who may read everything and own nothing, as the alias "reader"."""
    role = f"cardigan_reader_{uuid.uuid4().hex[:8]}"
    execute(f"CREATE ROLE {role} LOGIN PASSWORD 'shop' IN ROLE pg_read_all_data")
    with django_db_blocker.unblock(), alias("reader", USER=role, PASSWORD="shop"):
        yield role
    execute(f"DROP ROLE {role}")
