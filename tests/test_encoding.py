"""What becomes of claimed sources: vectors, refusals, retries."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage
from django.db import (
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
    transaction,
)
from django.db.backends.dummy.base import DatabaseWrapper as NoDatabase
from django.test import override_settings
from pytest_django import DjangoDbBlocker, Settings

from cardigan_reco import encoding, queue, stopping, tallies
from cardigan_reco.encoders.base import Encoder
from cardigan_reco.exceptions import EncoderError
from cardigan_reco.models import CollectionRevision, EncoderVersion, EncodingRequest
from cardigan_reco.summary import Summary
from tests.aliases import alias
from tests.conftest import BLUE, GREEN, RED, AddProduct, encode_all, jpeg, unmeasured
from tests.processes import wait_until
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import Poster, PosterEmbedding, ProductImageEmbedding

pytestmark = pytest.mark.django_db(transaction=True)


class Unwell(Encoder):
    """Fails on one colour: NaN for green, an exception for blue. Counts its pictures."""

    encoded = 0
    fitted = 0
    while_encoding: Any = None

    @property
    def dimensions(self) -> int:
        return 16

    @property
    def fingerprint(self) -> str:
        return "unwell"

    def fit(self, image: Any) -> Any:
        Unwell.fitted += 1
        return image

    def vectors(self, images: Any) -> Any:
        Unwell.encoded += len(images)
        if Unwell.while_encoding:
            Unwell.while_encoding()
        rows = np.ones((len(images), 16), np.float32)
        for row, image in enumerate(images):
            colour = image.getpixel((50, 50))
            if colour[2] > 180:
                raise RuntimeError("device lost")
            if colour[1] > 160:
                rows[row] = np.nan
        return rows


class Absent(Unwell):
    def vectors(self, images: Any) -> Any:
        raise EncoderError("The weights are not there.")


@pytest.fixture
def unwell() -> Iterator[None]:
    Unwell.encoded, Unwell.fitted, Unwell.while_encoding = 0, 0, None
    with override_settings(
        CARDIGAN_RECO={"ENCODERS": {"default": {"BACKEND": "tests.test_encoding.Unwell"}}}
    ):
        yield


def poster(title: str = "A", data: bytes | None = None) -> Poster:
    return Poster.objects.create(title=title, image=ContentFile(data or jpeg(), name="a.jpg"))


def request() -> tuple[str, int, str]:
    return EncodingRequest.objects.values_list("state", "attempts", "error").get()


def test_a_picture_becomes_a_row_with_digest_and_version() -> None:
    mine = poster()
    assert encode_all().encoded == 1
    row = PosterEmbedding.objects.get(pk=mine.pk)
    assert row.digest == hashlib.sha256(jpeg()).hexdigest()
    assert row.encoder_version == EncoderVersion.objects.current("default")
    assert np.linalg.norm(row.vector) == pytest.approx(1, abs=1e-3)
    assert not EncodingRequest.objects.exists()


def test_the_same_picture_is_not_encoded_again() -> None:
    mine = poster()
    encode_all()
    before = PosterEmbedding.objects.values().get()
    mine.save()
    summary = encode_all()
    assert (summary.skipped, summary.encoded) == (1, 0)
    assert PosterEmbedding.objects.values().get() == before


def test_another_picture_and_another_encoder_are_encoded() -> None:
    mine = poster()
    encode_all()
    mine.image.save("b.jpg", ContentFile(jpeg(BLUE)))
    assert encode_all().encoded == 1
    with override_settings(
        CARDIGAN_RECO={
            "ENCODERS": {
                "default": {
                    "BACKEND": "cardigan_reco.encoders.dummy.DummyEncoder",
                    "OPTIONS": {"dimensions": 16},
                }
            }
        }
    ):
        EncoderVersion.objects.update(fingerprint="an older state")
        mine.save()
        assert encode_all().encoded == 1
    assert PosterEmbedding.objects.get().encoder_version == EncoderVersion.objects.latest("pk")


def test_a_picture_is_encoded_where_the_default_database_is_none(
    add_product: AddProduct, django_db_blocker: DjangoDbBlocker
) -> None:
    add_product("mug", RED)
    default = connections["default"]
    with django_db_blocker.unblock(), alias("shop") as shop:
        connections["default"] = NoDatabase(default.settings_dict, "default")
        try:
            list(encoding.drain(ProductImageEmbedding, using=shop))
        finally:
            connections["default"] = default
    assert ProductImageEmbedding.objects.count() == 1


class Elsewhere:
    """A router by which the shop writes to its default database alone."""

    def db_for_write(self, model: type, **hints: object) -> str:
        return "default"


def test_a_picture_is_encoded_by_way_of_an_alias_that_the_routers_do_not_know(
    settings: Settings, django_db_blocker: DjangoDbBlocker
) -> None:
    poster()
    settings.DATABASE_ROUTERS = [Elsewhere()]
    with django_db_blocker.unblock(), alias("direct") as direct:
        (summary,) = encoding.drain(PosterEmbedding, using=direct)
    assert summary.encoded == 1


def test_a_batch_is_claimed_in_pieces_and_limited(add_product: AddProduct) -> None:
    add_product("mug", *[RED] * 7)
    sizes = [s.total for s in encoding.drain(ProductImageEmbedding, using="default", batch_size=3)]
    assert sizes == [3, 3, 1]
    for image in ProductImage.objects.all():
        image.save()
    limited = encoding.drain(ProductImageEmbedding, using="default", batch_size=3, limit=4)
    assert [s.total for s in limited] == [3, 1]


@pytest.mark.parametrize("ordering", ["product__title", "product__parent__title"])
def test_the_order_of_the_sources_locks_no_other_rows(
    ordering: str, add_product: AddProduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are there any to lock where a product has no parent, which PostgreSQL refuses."""
    mug = add_product("mug", RED)
    monkeypatch.setattr(ProductImage._meta, "ordering", [ordering])
    with held(Product, mug.pk):
        assert encode_all().encoded == 1


@pytest.mark.parametrize("data", [b"", b"<html>", jpeg()[:400]], ids=["empty", "html", "cut"])
def test_a_picture_that_is_none_is_bad_image_and_takes_the_old_vector_along(data: bytes) -> None:
    mine = poster()
    encode_all()
    mine.image.save("bad.jpg", ContentFile(data))
    assert encode_all().failed == {"bad_image": 1}
    state, attempts, error = request()
    assert (state, attempts) == ("bad_image", 1)
    assert error
    assert not PosterEmbedding.objects.exists()


def test_a_missing_file_is_retried_then_missing() -> None:
    mine = poster()
    mine.image.storage.delete(mine.image.name)
    for attempt in (1, 2):
        assert encode_all().retried == 1
        assert request()[:2] == ("waiting", attempt)
        EncodingRequest.objects.update(available_at="2000-01-01T00:00Z")
    assert encode_all().failed == {"missing": 1}
    assert request() == ("missing", 3, f"The storage has no file {mine.image.name!r}.")


def test_a_file_that_arrives_late_is_encoded() -> None:
    mine = poster()
    mine.image.storage.delete(mine.image.name)
    encode_all()
    mine.image.storage.save(mine.image.name, ContentFile(jpeg()))
    EncodingRequest.objects.update(available_at="2000-01-01T00:00Z")
    assert encode_all().encoded == 1


class BrokenStorage(FileSystemStorage):
    """A storage whose client library has exceptions of its own."""

    class ClientError(Exception):
        pass

    def _open(self, name: str, mode: str = "rb") -> File:
        raise self.ClientError("503 Slow Down")


def test_a_storage_that_fails_is_never_the_pictures_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = poster()
    encode_all()
    field = Poster._meta.get_field("image")
    monkeypatch.setattr(field, "storage", BrokenStorage())
    for _ in range(5):
        mine.save()
        EncodingRequest.objects.update(available_at="2000-01-01T00:00Z")
        assert encode_all().retried == 1
    state, attempts, error = request()
    assert (state, attempts) == ("waiting", 0)
    assert "ClientError: 503 Slow Down" in error
    assert PosterEmbedding.objects.exists()


def test_a_lost_file_whose_size_is_not_known_keeps_no_other_from_being_encoded(
    add_product: AddProduct,
) -> None:
    mug = add_product("mug", RED, GREEN)
    lost = mug.images.earliest("pk")
    lost.original.storage.delete(lost.original.name)
    with unmeasured():
        summary = encode_all()
    assert (summary.encoded, summary.retried) == (1, 1)
    assert request() == ("waiting", 1, f"The storage has no file {lost.original.name!r}.")


def test_no_file_is_opened_outside_the_threads_that_may_be_left_behind(
    add_product: AddProduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_by = []
    original = FileSystemStorage._open

    def open_file(self: FileSystemStorage, name: str, mode: str = "rb") -> File:
        opened_by.append(threading.current_thread())
        return original(self, name, mode)

    add_product("mug", RED)
    monkeypatch.setattr(FileSystemStorage, "_open", open_file)
    with unmeasured():
        assert encode_all().encoded == 1
    assert len(opened_by) == 1
    assert threading.current_thread() not in opened_by


@pytest.mark.usefixtures("unwell")
class TestEncoderTrouble:
    def test_a_vector_that_is_nan_is_rejected_alone(self) -> None:
        for title, colour in [("red", RED), ("green", GREEN), ("red too", RED)]:
            poster(title, jpeg(colour))
        summary = encode_all()
        assert (summary.encoded, dict(summary.failed)) == (2, {"dead": 1})
        assert [row.source.title for row in PosterEmbedding.objects.all()] == ["red", "red too"]

    def test_an_error_is_pinned_on_the_picture_that_causes_it(self) -> None:
        for title, colour in [("red", RED), ("blue", BLUE), ("red too", RED)]:
            poster(title, jpeg(colour))
        for _ in range(6):
            with suppress(RuntimeError):
                encode_all()
        assert {row.source.title for row in PosterEmbedding.objects.all()} == {"red", "red too"}
        assert request() == ("dead", 3, "RuntimeError: device lost")

    def test_a_picture_that_dies_is_told_counted_and_leaves_no_old_vector(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        mine, label = poster("red", jpeg(RED)), PosterEmbedding._meta.label_lower
        poster("red too", jpeg(RED))
        encode_all()
        mine.image.save("blue.jpg", ContentFile(jpeg(BLUE)))
        for _ in range(3):
            with pytest.raises(RuntimeError):
                encode_all()
        revision = CollectionRevision.objects.get(collection=label).revision
        encode_all()
        encode_all()
        assert [row.source.title for row in PosterEmbedding.objects.all()] == ["red too"]
        assert CollectionRevision.objects.get(collection=label).revision == revision + 1
        (total,) = tallies.totals(using="default")
        assert total.results["dead"] == 1
        (record,) = [one for one in caplog.records if one.name == "cardigan_reco.writing"]
        assert record.levelno == logging.WARNING
        assert record.getMessage() == (
            f"{label} {mine.pk} is given up as dead: RuntimeError: device lost"
        )
        fields = ("collection", "database", "source_pk", "state", "attempts")
        assert [getattr(record, field) for field in fields] == [
            *(label, "default", str(mine.pk), "dead", 3)
        ]

    def test_a_key_that_is_none_dies_and_keeps_nobody_waiting(self) -> None:
        queue.mark(PosterEmbedding, ["no key"], using="default")
        for _ in range(3):
            with pytest.raises(ValidationError):
                encode_all()
        poster("red", jpeg(RED))
        assert encode_all().encoded == 1
        state, attempts, error = request()
        assert (state, attempts) == ("dead", 3)
        assert "“no key” is not a valid UUID" in error

    def test_an_encoder_that_cannot_run_charges_nobody(self) -> None:
        poster()
        with (
            override_settings(
                CARDIGAN_RECO={"ENCODERS": {"default": {"BACKEND": "tests.test_encoding.Absent"}}}
            ),
            pytest.raises(EncoderError, match="The weights are not there"),
        ):
            encode_all()
        assert request() == ("waiting", 0, "")

    def test_a_migration_that_waits_charges_nobody_and_is_told(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        mine, table = poster(), PosterEmbedding._meta.db_table
        encode_all()
        mine.image.save("b.jpg", ContentFile(jpeg(GREEN)))
        with renamed(table, "digest", "not_yet"):
            for _ in range(4):
                with pytest.raises(ProgrammingError):
                    encode_all()
        assert request() == ("waiting", 0, "")
        assert PosterEmbedding.objects.exists()
        record = caplog.records[-1]
        assert (record.name, record.levelno) == ("cardigan_reco.batches", logging.ERROR)
        assert record.getMessage() == (
            "Database 'default' can't do what this code asks of it, so its pictures wait. Run "
            "manage.py migrate, and see what cardigan_status says: column "
            f"{table}.digest does not exist"
        )

    def test_an_interrupt_gives_the_batch_back(self) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        Unwell.while_encoding = interrupt
        poster()
        with pytest.raises(KeyboardInterrupt):
            encode_all()
        assert request() == ("waiting", 0, "")

    def test_a_picture_replaced_meanwhile_wins(self) -> None:
        mine = poster()

        def replace() -> None:
            Unwell.while_encoding = None
            mine.image.save("b.jpg", ContentFile(jpeg((200, 40, 40))))

        Unwell.while_encoding = replace
        summary = encode_all()
        assert (summary.outdated, summary.encoded) == (1, 1)
        digest = hashlib.sha256(jpeg((200, 40, 40))).hexdigest()
        assert PosterEmbedding.objects.get().digest == digest

    def test_a_source_saved_again_each_time_gets_its_vector(self) -> None:
        """And stays marked, since its picture may be another one now."""
        mine = poster()
        Unwell.while_encoding = mine.save
        summaries = encoding.drain(PosterEmbedding, using="default")
        summary = next(summaries)
        summaries.close()
        assert (summary.outdated, summary.encoded, summary.sources) == (1, 0, [mine.pk])
        assert request() == ("waiting", 0, "")
        assert PosterEmbedding.objects.get().digest == hashlib.sha256(jpeg()).hexdigest()
        summary = encode_all()
        assert (summary.skipped, summary.encoded) == (1, 0)
        assert not EncodingRequest.objects.exists()

    def test_a_source_that_another_worker_has_taken_meanwhile_is_left_to_it(self) -> None:
        mine = poster()

        def take() -> None:
            Unwell.while_encoding = None
            mine.save()
            queue.claim(PosterEmbedding, limit=1, using="default")

        Unwell.while_encoding = take
        assert encode_all().outdated == 1
        assert not PosterEmbedding.objects.exists()

    @pytest.mark.parametrize("how", ["signals", "sql"])
    def test_a_source_deleted_meanwhile_leaves_no_row(self, how: str) -> None:
        mine = poster()

        def delete() -> None:
            Unwell.while_encoding = None
            if how == "signals":
                mine.delete()
            else:
                with connection.cursor() as cursor:
                    cursor.execute("DELETE FROM testapp_poster")

        Unwell.while_encoding = delete
        encode_all()
        EncodingRequest.objects.update(available_at="2000-01-01T00:00Z")
        encode_all()
        assert not PosterEmbedding.objects.exists()
        assert not EncodingRequest.objects.exists()

    def test_a_source_that_the_shop_locks_is_encoded_later(self) -> None:
        mine = poster()
        with held(Poster, mine.pk):
            assert encode_all().retried == 1
        EncodingRequest.objects.update(available_at="2000-01-01T00:00Z")
        assert encode_all().encoded == 1


@contextmanager
def held(model: type[Any], pk: Any) -> Iterator[None]:
    """Locks a row in another transaction, as the shop does to change it."""
    locked, finish = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            model.objects.select_for_update().get(pk=pk)
            locked.set()
            finish.wait(10)
        connections.close_all()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert locked.wait(10)
        yield
    finally:
        finish.set()
        thread.join()


def draining(**options: Any) -> Iterator[Summary]:
    return encoding.drain(PosterEmbedding, using="default", **{"batch_size": 2, **options})


def requests() -> list[tuple[str, int]]:
    return list(EncodingRequest.objects.order_by("id").values_list("state", "attempts"))


@pytest.mark.usefixtures("unwell")
class TestNextBatch:
    """It is claimed, and decoded, before the one that is encoded is written."""

    LEASED, WAITING = ("leased", 1), ("waiting", 0)

    def test_is_decoded_while_the_summary_is_looked_at(self) -> None:
        for title in "ABCD":
            poster(title)
        summaries = draining()
        assert next(summaries).encoded == 2
        assert requests() == [self.LEASED] * 2
        wait_until(lambda: Unwell.fitted == 4, "the next two are decoded")
        assert Unwell.encoded == 2
        assert [summary.encoded for summary in summaries] == [2]
        assert requests() == []

    def test_is_given_back_when_nobody_wants_it(self) -> None:
        for title in "ABCDE":
            poster(title)
        summaries = draining()
        next(summaries)
        summaries.close()  # type: ignore[attr-defined]
        assert requests() == [self.WAITING] * 3

    def test_is_given_back_when_its_summary_is_too_much_for_the_caller(self) -> None:
        for title in "ABCDE":
            poster(title)
        with pytest.raises(ZeroDivisionError):
            for _summary in draining():
                1 / 0  # noqa: B018
        assert requests() == [self.WAITING] * 3

    def test_is_given_back_when_the_process_is_asked_to_stop(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stopping, "_asked", bytearray(1))
        for title in "ABCDE":
            poster(title)
        summaries = draining()
        next(summaries)
        stopping.ask()
        assert list(summaries) == []
        assert requests() == [self.WAITING] * 3

    def test_is_none_for_a_process_that_is_asked_to_stop_while_it_encodes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stopping, "_asked", bytearray(1))
        Unwell.while_encoding = stopping.ask
        for title in "ABCDE":
            poster(title)
        assert [summary.encoded for summary in draining()] == [2]
        assert requests() == [self.WAITING] * 3

    def test_is_none_once_the_time_is_over(self) -> None:
        for title in "ABCDE":
            poster(title)
        assert [summary.encoded for summary in draining(ends_at=0)] == [2]
        assert requests() == [self.WAITING] * 3

    def test_is_within_the_limit(self) -> None:
        for title in "ABCDE":
            poster(title)
        summaries = draining(limit=3)
        next(summaries)
        assert requests() == [self.LEASED, self.WAITING, self.WAITING]
        assert [summary.encoded for summary in summaries] == [1]

    def test_is_none_beside_a_picture_whose_worker_was_lost(self) -> None:
        """Which a crash of the next batch's decoder would charge."""
        for title in "ABC":
            poster(title)
        lost = queue.claim(PosterEmbedding, limit=1, using="default")
        queue.abandon(lost, "", using="default")
        summaries = draining(batch_size=1)
        next(summaries)
        assert requests() == [self.WAITING] * 2
        next(summaries)
        assert requests() == [self.LEASED]

    def test_alone_is_charged_for_its_error(self) -> None:
        for title, colour in [("A", RED), ("B", RED), ("C", RED), ("D", BLUE), ("E", RED)]:
            poster(title, jpeg(colour))
        with pytest.raises(RuntimeError, match="device lost"):
            list(draining())
        assert PosterEmbedding.objects.count() == 2
        assert requests() == [self.LEASED, self.LEASED, self.WAITING]

    @pytest.mark.parametrize(
        ("code", "error", "expected"),
        [
            ("check_violation", IntegrityError, [LEASED, LEASED, WAITING, WAITING, WAITING]),
            ("disk_full", OperationalError, [WAITING] * 5),
            ("undefined_column", ProgrammingError, [WAITING] * 5),
            ("feature_not_supported", NotSupportedError, [WAITING] * 5),
        ],
    )
    def test_is_not_to_blame_for_what_is_not_written(
        self, code: str, error: type[Exception], expected: list[tuple[str, int]]
    ) -> None:
        for title in "ABCDE":
            poster(title)
        with refusing(code), pytest.raises(error):
            list(draining())
        assert requests() == expected

    def test_is_tried_anew_when_half_its_lease_is_over(self, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "LEASE_SECONDS": 4}
        for title in "ABCD":
            poster(title)
        summaries = draining()
        next(summaries)
        time.sleep(2.1)
        summary = next(summaries)
        assert (summary.retried, summary.encoded) == (2, 0)
        assert Unwell.encoded == 2
        assert sum(summary.encoded for summary in summaries) == 2
        assert requests() == []

    def test_that_cannot_be_begun_charges_nobody(self, settings: Settings) -> None:
        def reconfigure() -> None:
            settings.CARDIGAN_RECO = {"ENCODERS": {"default": {"BACKEND": "nowhere.Encoder"}}}

        Unwell.while_encoding = reconfigure
        for title in "ABCDE":
            poster(title)
        with pytest.raises(ImproperlyConfigured, match="nowhere"):
            list(draining())
        assert requests() == [self.WAITING] * 5


@contextmanager
def renamed(table: str, column: str, other: str) -> Iterator[None]:
    """Gives a column another name, as if its migration had not come yet."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME {column} TO {other}")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} RENAME {other} TO {column}")


@contextmanager
def refusing(code: str) -> Iterator[None]:
    """Lets the database refuse each vector with an error of that code."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END $$"
        )
        cursor.execute(
            f"CREATE TRIGGER refuse BEFORE INSERT ON {PosterEmbedding._meta.db_table} "
            "EXECUTE FUNCTION refuse()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")
