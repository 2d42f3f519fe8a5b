"""Faults 54 and 56 to 58: poolers, full disks, replicas that lag, clocks that are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import dj_database_url
import pytest
from django.db import OperationalError, connection, connections
from django.db.backends.utils import CursorWrapper
from django.utils import timezone
from pytest_django import Settings

from cardigan_reco import prepared, queue, recommendations
from cardigan_reco.models import EncodingRequest
from tests import postgres
from tests.conftest import BLUE, GREEN, ORANGE, RED, AddProduct, add_image, encode_all, need
from tests.faults.conftest import AddImage, requests
from tests.processes import Broker, PgBouncer, wait_until
from tests.test_encoding import Unwell
from tests.testapp.catalogue.models import Product
from tests.testapp.models import ProductImageEmbedding
from tests.workers import StartWorker, wait_until_encoded

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bouncer(tmp_path: Path) -> Iterator[PgBouncer]:
    server = PgBouncer(need("pgbouncer"), tmp_path / "pgbouncer.log")
    yield server
    server.stop()


@pytest.fixture
def encoded(add_product: AddProduct) -> list[Product]:
    colours = {"mug": RED, "bowl": ORANGE, "vase": GREEN}
    products = [add_product(title, colour) for title, colour in colours.items()]
    encode_all()
    return products


def plain(database: dict[str, object]) -> dict[str, object]:
    """Returns what of a database's settings other processes take."""
    names = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
    return {name: database[name] for name in names}


class TestPgBouncer:
    def test_fault_54_workers_work_through_it(
        self, bouncer: PgBouncer, broker: Broker, start_worker: StartWorker, add_product: AddProduct
    ) -> None:
        """Two workers share the one connection that there is."""
        mug = add_product("mug", *[RED] * 40)
        databases = {"DATABASES": {"default": plain(bouncer.settings)}}
        workers = [
            start_worker(broker, pool, general=databases, BATCH_SIZE=4, POLL_SECONDS=1)
            for pool in ("threads", "solo")
        ]
        wait_until(lambda: requests() == {}, "the queue is empty", workers[0])
        assert ProductImageEmbedding.objects.count() == 40
        wait_until_encoded(add_image(mug, BLUE), workers[1])
        for worker in workers:
            assert "ERROR" not in worker.output()

    def test_fault_54_a_search_that_another_client_has_prepared_finds_the_same(
        self, bouncer: PgBouncer, encoded: list[Product]
    ) -> None:
        """The clients share one connection, and Django wasn't told so."""
        mug, bowl, vase = encoded
        own = connections["default"]
        clients = [connections.create_connection("default") for _ in range(2)]
        try:
            for turn in range(2 * prepared.AFTER):
                for client in clients:
                    client.settings_dict = bouncer.settings
                    connections["default"] = client
                    assert recommendations.similar_to(mug) == [bowl, vase], turn
                    assert recommendations.similar_to(vase) == [bowl, mug], turn
            with clients[0].cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_prepared_statements")
                assert cursor.fetchone()[0] == 1
                cursor.execute("DEALLOCATE ALL")
            connections["default"] = clients[0]
            assert recommendations.similar_to(mug) == [bowl, vase]
        finally:
            for client in clients:
                client.close()
            connections["default"] = own

    def test_fault_54_a_search_leaves_no_setting_behind(
        self, bouncer: PgBouncer, encoded: list[Product]
    ) -> None:
        mug, bowl, vase = encoded
        pooled = connections.create_connection("default")
        pooled.settings_dict = bouncer.settings
        own = connections["default"]
        connections["default"] = pooled
        names = ["statement_timeout", "hnsw.ef_search", "hnsw.iterative_scan"]
        shown = "SELECT '[1]'::vector, " + ", ".join(f"current_setting('{name}')" for name in names)
        try:
            with pooled.cursor() as cursor:
                cursor.execute(shown)
                before = cursor.fetchone()
            for _ in range(3):
                assert recommendations.similar_to(mug) == [bowl, vase]
                pooled.close()  # The next client has the same server connection.
                with pooled.cursor() as cursor:
                    cursor.execute(shown)
                    assert cursor.fetchone() == before
        finally:
            pooled.close()
            connections["default"] = own


def test_fault_56_a_full_disk_loses_nothing_and_charges_nobody(
    broker: Broker, start_worker: StartWorker, add_picture: AddImage
) -> None:
    """Stays full for more tries than MAX_ATTEMPTS and more leases than one."""
    images = [add_picture() for _ in range(10)]
    table = ProductImageEmbedding._meta.db_table
    with connection.cursor() as cursor:
        # What PostgreSQL says when it can't extend a table.
        cursor.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'could not extend file: No space left on device' "
            "USING ERRCODE = 'disk_full'; END $$"
        )
        cursor.execute(
            f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} EXECUTE FUNCTION full_disk()"
        )
    try:
        worker = start_worker(broker, POLL_SECONDS=1, LEASE_SECONDS=2)
        wait_until(
            lambda: worker.output().count("so its pictures wait") >= 5,
            "it was tried",
            worker,
        )
        worker.stop()
        assert requests() == {image.pk: ("waiting", 0) for image in images}
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION full_disk CASCADE")
    worker = start_worker(broker, POLL_SECONDS=1, LEASE_SECONDS=2)
    wait_until(lambda: requests() == {}, "the queue is empty", worker)
    assert ProductImageEmbedding.objects.count() == 10


@pytest.fixture
def unwell(settings: Settings) -> Iterator[type[Unwell]]:
    """An encoder that calls `while_encoding`, in this process."""
    backend = "tests.test_encoding.Unwell"
    settings.CARDIGAN_RECO = {"ENCODERS": {"default": {"BACKEND": backend}}}
    yield Unwell
    Unwell.while_encoding = None


def cut_off(sql: str = "SELECT") -> None:
    """Ends this process' connection, as a restart of the server does, after a statement."""
    name = connection.settings_dict["NAME"]
    with other_database() as cursor:
        cursor.execute(sql)
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            [name],
        )


@contextmanager
def other_database() -> Iterator[CursorWrapper]:
    other = connection.copy()
    other.settings_dict = {**connection.settings_dict, "NAME": "postgres"}
    try:
        with other.cursor() as cursor:
            yield cursor
    finally:
        other.close()


def test_fault_56_a_lost_connection_gives_its_batch_back(
    unwell: type[Unwell], add_picture: AddImage
) -> None:
    image = add_picture()
    unwell.while_encoding = cut_off
    with pytest.raises(OperationalError):
        encode_all()
    unwell.while_encoding = None
    # At once, not when the lease ends.
    assert requests() == {image.pk: ("waiting", 0)}
    assert encode_all().encoded == 1


def test_fault_56_a_database_that_stays_away_gets_its_batch_when_it_is_back(
    unwell: type[Unwell], add_picture: AddImage
) -> None:
    image = add_picture()
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    # Longer than MAX_ATTEMPTS would allow.
    for _ in range(4):
        unwell.while_encoding = partial(cut_off, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            with pytest.raises(OperationalError):
                encode_all()
            with pytest.raises(OperationalError):
                encode_all()
        finally:
            with other_database() as cursor:
                cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert requests() == {image.pk: ("leased", 1)}
    unwell.while_encoding = None
    assert encode_all().encoded == 1
    assert requests() == {}


def test_fault_57_a_worker_reads_what_was_written_not_what_a_replica_has(
    broker: Broker, start_worker: StartWorker, add_picture: AddImage
) -> None:
    """The replica is so late that it has no tables yet."""
    with postgres.database("replica") as address:
        primary = plain(connection.settings_dict)
        replica = dict(dj_database_url.parse(address))
        worker = start_worker(
            broker,
            general={
                "DATABASES": {"default": primary, "replica": replica},
                "DATABASE_ROUTERS": ["tests.faults.routers.ReplicaRouter"],
            },
            POLL_SECONDS=1,
        )
        image = add_picture()
        wait_until_encoded(image, worker)
        image.save()
        wait_until(lambda: requests() == {}, "the second save is seen too", worker)
        assert "ERROR" not in worker.output()
        worker.stop()


@pytest.mark.parametrize("skew_seconds", [86400, -86400])
def test_fault_58_a_worker_whose_clock_is_wrong(
    skew_seconds: int,
    broker: Broker,
    start_worker: StartWorker,
    add_picture: AddImage,
    settings: Settings,
) -> None:
    later = {"RETRY_SECONDS": 600, "LEASE_SECONDS": 600}  # Than any worker takes to start.
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, **later}
    held, late, image = add_picture(), add_picture(), add_picture()
    queue.claim(ProductImageEmbedding, limit=1, using="default")
    (other,) = queue.claim(ProductImageEmbedding, limit=1, using="default")
    queue.postpone(other, "", charged=True, using="default")
    environment = {
        "PYTHONPATH": str(Path(__file__).parent / "clocks"),
        "CARDIGAN_TESTS_SKEW_SECONDS": str(skew_seconds),
    }
    worker = start_worker(broker, environment=environment, POLL_SECONDS=1)
    wait_until_encoded(image, worker)
    # Nothing that isn't due yet: neither what another has leased, nor what is to be tried later.
    waiting = {held.pk: ("leased", 1), late.pk: ("waiting", 1)}
    assert requests() == waiting
    encoded_at = ProductImageEmbedding.objects.get(pk=image.pk).encoded_at
    assert abs(timezone.now() - encoded_at) < timedelta(hours=1)
    wait_until_encoded(add_picture(), worker)
    # And what is, whatever the worker's clock says.
    EncodingRequest.objects.filter(lease_expires_at=None).update(available_at=timezone.now())
    EncodingRequest.objects.exclude(lease_expires_at=None).update(lease_expires_at=timezone.now())
    wait_until(lambda: requests() == {}, "all are encoded", worker)
    assert skewed_in(worker.output(), skew_seconds)


def skewed_in(output: str, seconds: int) -> bool:
    """Whether a log's lines have the wrong day, without which the test would show nothing."""
    here = timezone.localtime() + timedelta(seconds=seconds)  # Celery writes the shop's own time.
    return any(f"[{at:%Y-%m-%d}" in output for at in (here, here - timedelta(minutes=5)))
