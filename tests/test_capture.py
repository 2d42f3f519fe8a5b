"""Triggers: what each way to write leaves in the queue, in whose name, and what it costs nobody."""

from __future__ import annotations

import io
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest
from django.apps import apps
from django.core import checks, serializers
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command
from django.db import connection, connections, models, transaction
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import OperationWriter
from django.test.utils import isolate_apps
from pytest_django import DjangoDbBlocker, Settings

from cardigan_reco import capture, encoding, queue, sweep
from cardigan_reco.capture import Feed, State
from cardigan_reco.exceptions import CaptureError
from cardigan_reco.models import EncodingRequest
from cardigan_reco.operations import CaptureWrites
from cardigan_reco.queue import Failure
from cardigan_reco.signals import paused
from tests.conftest import GREEN, RED, AddProduct, encode_all, jpeg
from tests.processes import Broker
from tests.testapp.catalogue.models import Product, ProductImage, PromotedImage
from tests.testapp.models import Poster, PosterEmbedding, ProductImageEmbedding
from tests.workers import StartWorker, wait_for_worker, wait_until_encoded

pytestmark = pytest.mark.django_db(transaction=True)
DB = "default"
LABEL = "testapp.ProductImageEmbedding"
IMAGES, POSTERS = Feed.of(ProductImageEmbedding), Feed.of(PosterEmbedding)
TABLE = "catalogue_productimage"


def use_triggers(settings: Settings, mode: str = "triggers") -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "CAPTURE": mode}


@pytest.fixture
def no_triggers(transactional_db: None) -> Iterator[None]:
    """Takes away at the end what a test installs."""
    yield
    for label in capture.collections_captured(using=DB):
        capture.remove(label, using=DB)


@pytest.fixture
def triggers(no_triggers: None, settings: Settings, silent_doorbell: list[str]) -> None:
    use_triggers(settings)
    for feed in (IMAGES, POSTERS):
        capture.install(feed, using=DB)


def execute(statement: str, parameters: list[object] | None = None, using: str = DB) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters)


def requests(using: str = DB) -> dict[str, int]:
    """Returns the version of each source that waits."""
    rows = EncodingRequest.objects.using(using).filter(state="waiting")
    return dict(rows.values_list("source_pk", "version"))


@pytest.fixture
def images(triggers: None) -> list[ProductImage]:
    """Three pictures that nothing waits for; the third row has none."""
    product = Product.objects.create(title="mug")
    created = ProductImage.objects.bulk_create(
        ProductImage(product=product, original=name) for name in ("a.jpg", "b.jpg", "")
    )
    EncodingRequest.objects.all().delete()
    return created


Images = list[ProductImage]


def new(images: Images, *names: str) -> Images:
    return [ProductImage(product=images[0].product, original=name) for name in names]


def save(images: Images) -> None:
    images[0].original = "new.jpg"
    images[0].save()


def save_without_a_change(images: Images) -> None:
    images[0].caption = "A mug"
    images[0].save()


def create(images: Images) -> None:
    ProductImage.objects.create(product=images[0].product, original="new.jpg", id=9001)


def create_without_picture(images: Images) -> None:
    ProductImage.objects.create(product=images[0].product)


def create_child(images: Images) -> None:
    PromotedImage.objects.create(product=images[0].product, original="new.jpg", id=9001)


def bulk_create(images: Images) -> None:
    rows = new(images, "c.jpg", "d.jpg", "")
    for number, row in enumerate(rows):
        row.pk = 9001 + number
    ProductImage.objects.bulk_create(rows)


def bulk_create_ignoring_conflicts(images: Images) -> None:
    rows = new(images, "other.jpg", "c.jpg")
    rows[0].pk, rows[1].pk = images[0].pk, 9001
    ProductImage.objects.bulk_create(rows, ignore_conflicts=True)


def bulk_create_updating_conflicts(images: Images) -> None:
    rows = new(images, "other.jpg", "b.jpg", "c.jpg")
    rows[0].pk, rows[1].pk, rows[2].pk = images[0].pk, images[1].pk, 9001
    ProductImage.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["id"], update_fields=["original", "caption"]
    )


def update(images: Images) -> None:
    ProductImage.objects.exclude(original="").update(original="b.jpg")


def update_something_else(images: Images) -> None:
    ProductImage.objects.update(caption="A mug")


def update_to_nothing(images: Images) -> None:
    ProductImage.objects.update(original="")


def update_no_row(images: Images) -> None:
    ProductImage.objects.filter(pk=0).update(original="c.jpg")


def bulk_update(images: Images) -> None:
    images[0].original = "c.jpg"
    images[2].original = "d.jpg"
    ProductImage.objects.bulk_update(images, ["original"])


def bulk_update_something_else(images: Images) -> None:
    for image in images:
        image.original = "not written"
    ProductImage.objects.bulk_update(images, ["caption"])


def load_fixture(images: Images) -> None:
    images[0].original = "c.jpg"
    file = Path(str(images[0].original.storage.location)) / "fixture.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(serializers.serialize("json", images))
    call_command("loaddata", str(file), verbosity=0)


def raw_insert(images: Images) -> None:
    execute(
        f"INSERT INTO {TABLE} (id, product_id, original, caption, display_order) "
        f"SELECT 9000 + number, product_id, 'c.jpg', '', 0 FROM {TABLE}, "
        "generate_series(1, 2) AS number WHERE id = %s",
        [images[0].pk],
    )


def raw_update(images: Images) -> None:
    execute(f"UPDATE {TABLE} SET original = 'c' || original WHERE id = %s", [images[1].pk])


def raw_merge(images: Images) -> None:
    execute(
        f"""
        MERGE INTO {TABLE} AS target USING (VALUES (%s, 'c.jpg'), (%s, 'b.jpg'), (9001, 'd.jpg'))
            AS new (id, original) ON target.id = new.id
        WHEN MATCHED THEN UPDATE SET original = new.original
        WHEN NOT MATCHED THEN INSERT (id, product_id, original, caption, display_order)
            VALUES (new.id, %s, new.original, '', 0)
        """,
        [images[0].pk, images[1].pk, images[0].product_id],
    )


def copy(images: Images) -> None:
    columns = f"COPY {TABLE} (id, product_id, original, caption, display_order) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(columns) as rows:
        for number, name in enumerate(["c.jpg", "d.jpg", ""]):
            rows.write_row((9001 + number, images[0].product_id, name, "", 0))


def move_key(images: Images) -> None:
    execute(f"UPDATE {TABLE} SET id = 9001 WHERE id = %s", [images[0].pk])


def replace_row(images: Images) -> None:
    execute(
        f"""
        WITH old AS (DELETE FROM {TABLE} WHERE id = %s RETURNING *)
        INSERT INTO {TABLE} (id, product_id, original, caption, display_order)
        SELECT id, product_id, 'c.jpg', '', 0 FROM old
        """,
        [images[0].pk],
    )


@pytest.mark.parametrize(
    ("write", "marked"),
    [
        (save, [0]),
        (save_without_a_change, []),
        (create, [9001]),
        (create_without_picture, []),
        (create_child, [9001]),
        (bulk_create, [9001, 9002]),
        (bulk_create_ignoring_conflicts, [9001]),
        (bulk_create_updating_conflicts, [0, 9001]),
        (update, [0]),
        (update_something_else, []),
        (update_to_nothing, [0, 1]),
        (update_no_row, []),
        (bulk_update, [0, 2]),
        (bulk_update_something_else, []),
        (load_fixture, [0]),
        (raw_insert, [9001, 9002]),
        (raw_update, [1]),
        (raw_merge, [0, 9001]),
        (copy, [9001, 9002]),
        (move_key, [9001]),
        (replace_row, [0]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_way_to_write_marks_what_it_changed(
    images: Images, write: Callable[[Images], None], marked: list[int]
) -> None:
    pks = [images[at].pk if at < len(images) else at for at in marked]
    write(images)
    assert requests() == {str(pk): 1 for pk in pks}


def delete(images: Images) -> None:
    images[0].delete()


def delete_many(images: Images) -> None:
    ProductImage.objects.filter(pk=images[0].pk).delete()


def raw_delete_of_django(images: Images) -> None:
    rows = ProductImage.objects.filter(pk=images[0].pk)
    rows._raw_delete(rows.db)


def raw_delete(images: Images) -> None:
    execute(f"DELETE FROM {TABLE} WHERE id = %s", [images[0].pk])


@pytest.mark.parametrize(
    "write", [delete, delete_many, raw_delete_of_django, raw_delete], ids=lambda f: f.__name__
)
def test_a_deletion_takes_its_request_with_it(
    images: Images, write: Callable[[Images], None]
) -> None:
    ProductImage.objects.update(original="c.jpg")
    write(images)
    assert requests() == {str(image.pk): 1 for image in images[1:3]}


def test_truncation_takes_the_requests_of_its_collection(images: Images) -> None:
    Poster.objects.create(title="A", image="a.jpg")
    ProductImage.objects.update(original="c.jpg")
    execute(f"TRUNCATE {TABLE} CASCADE")
    assert list(EncodingRequest.objects.values_list("collection", flat=True)) == [
        PosterEmbedding._meta.label_lower
    ]


def test_keys_are_written_as_the_queue_writes_them(triggers: None) -> None:
    poster = Poster.objects.bulk_create([Poster(title="A", image="a.jpg")])[0]
    assert requests() == {str(poster.pk): 1}
    queue.mark(PosterEmbedding, [poster.pk], using=DB)
    assert requests() == {str(poster.pk): 2}


def test_a_rollback_leaves_nothing(images: Images) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        update(images)
        with transaction.atomic():
            bulk_create(images)
        assert len(requests()) == 3
        raise ZeroDivisionError
    assert requests() == {}


def test_fault_48_an_import_waits_once_a_picture_and_holds_up_no_save(images: Images) -> None:
    imported = 1_000_000 if os.environ.get("CARDIGAN_FULL") else 20_000
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    with psycopg.connect(**parameters) as importing:
        importing.execute(
            f"INSERT INTO {TABLE} (product_id, original, caption, display_order) "
            "SELECT %s, 'x.jpg', '', 0 FROM generate_series(1, %s)",
            [images[0].product_id, imported],
        )
        importing.execute(f"UPDATE {TABLE} SET original = 'y.jpg' WHERE original = 'x.jpg'")
        execute("SET lock_timeout = '2s'")  # A save that the open import held up would fail.
        images[0].original = "new.jpg"
        images[0].save()
        assert list(requests()) == [str(images[0].pk)]
    assert EncodingRequest.objects.count() == imported + 1
    connection.close()


def test_a_write_takes_the_lease_away_and_brings_the_dead_back(images: Images) -> None:
    queue.mark(ProductImageEmbedding, [images[0].pk, images[1].pk], using=DB)
    first, second = queue.claim(ProductImageEmbedding, limit=2, using=DB)
    queue.fail(second, Failure.DEAD, "broken", using=DB)
    ProductImage.objects.update(original="c.jpg")
    with transaction.atomic():
        assert queue.lock([first], using=DB) == set()
    rows = EncodingRequest.objects.values_list(
        "source_pk", "state", "version", "attempts", "error", "lease_token"
    )
    assert sorted(rows) == [
        (str(images[0].pk), "waiting", 2, 0, "", None),
        (str(images[1].pk), "waiting", 2, 0, "", None),
        (str(images[2].pk), "waiting", 1, 0, "", None),
    ]
    assert len(queue.claim(ProductImageEmbedding, limit=9, using=DB)) == 3


def test_a_deletion_waits_for_no_worker(images: Images) -> None:
    """A worker that stores its results holds requests, and may wait for the shop's rows."""
    ProductImage.objects.update(original="c.jpg")
    claims = queue.claim(ProductImageEmbedding, limit=9, using=DB)
    deleted: list[bool] = []

    def work() -> None:
        try:
            raw_delete(images)
            deleted.append(True)
        finally:
            connections.close_all()

    with transaction.atomic():
        assert len(queue.lock(claims, using=DB)) == 3
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(10)
        assert deleted == [True]
    # The worker finds it gone.
    EncodingRequest.objects.update(lease_expires_at="2000-01-01T00:00Z")
    ProductImage.objects.update(original="")
    encode_all()
    assert not EncodingRequest.objects.exists()


class TestSignals:
    def test_they_ring_and_leave_the_marking_to_the_triggers(
        self, images: Images, silent_doorbell: list[str]
    ) -> None:
        with transaction.atomic():
            save(images)
            assert silent_doorbell == []
        assert silent_doorbell == ["default"]
        assert requests() == {str(images[0].pk): 1}

    def test_an_import_that_holds_them_back_wakes_a_worker_at_its_end(
        self, images: Images, silent_doorbell: list[str]
    ) -> None:
        with paused():
            save(images)
            assert silent_doorbell == []
        assert silent_doorbell == ["default"]
        assert requests() == {str(images[0].pk): 1}

    def test_a_new_file_under_an_old_name_is_marked(
        self, images: Images, monkeypatch: pytest.MonkeyPatch, media: Path
    ) -> None:
        storage = FileSystemStorage(location=media, allow_overwrite=True)
        monkeypatch.setattr(ProductImage._meta.get_field("original"), "storage", storage)
        monkeypatch.setattr(ProductImage._meta.get_field("original"), "upload_to", "")
        image = ProductImage.objects.get(pk=images[0].pk)
        image.original = ContentFile(jpeg(GREEN), name="a.jpg")
        image.save()
        assert ProductImage.objects.get(pk=image.pk).original.name == "a.jpg"
        assert requests() == {str(image.pk): 1}
        image.save()
        assert requests() == {str(image.pk): 1}

    def test_a_field_that_is_not_loaded_stays_so(
        self, images: Images, django_assert_num_queries: Callable[..., object]
    ) -> None:
        image = ProductImage.objects.only("caption").get(pk=images[0].pk)
        with django_assert_num_queries(1):
            image.save()
        assert requests() == {}

    def test_workers_encode_what_was_captured(
        self, triggers: None, add_product: AddProduct
    ) -> None:
        product = add_product("mug", RED, GREEN)
        assert encode_all().encoded == 2
        ProductImage.objects.filter(product=product).update(original="")
        assert encode_all().removed == 2


class TestOthers:
    """Programs that know nothing of Django, or of the queue."""

    def test_they_need_no_right_on_the_queue_and_may_have_another_search_path(
        self, images: Images, importer: str
    ) -> None:
        with connections[importer].cursor() as cursor:
            cursor.execute("SET search_path = pg_temp")
            cursor.execute(
                f"UPDATE public.{TABLE} SET original = 'c.jpg' WHERE id = %s", [images[0].pk]
            )
            cursor.execute(f"DELETE FROM public.{TABLE} WHERE id = %s", [images[1].pk])
            with pytest.raises(Exception, match="permission denied"):
                cursor.execute("SELECT * FROM public.cardigan_reco_encodingrequest")
        assert requests() == {str(images[0].pk): 1}

    def test_they_can_not_use_the_function_for_a_table_of_their_own(
        self, images: Images, importer: str
    ) -> None:
        (function,) = capture.installed.functions(
            capture.function_name(IMAGES.collection), using=DB
        )
        with connections[importer].cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE own (id int, original text)")
            with pytest.raises(Exception, match="permission denied for function"):
                cursor.execute(
                    "CREATE TRIGGER own AFTER TRUNCATE ON own EXECUTE FUNCTION "
                    f"{function}('{IMAGES.collection}')"
                )

    def test_a_worker_that_nobody_wakes_encodes_what_they_wrote(
        self, images: Images, start_worker: StartWorker, tmp_path: Path, media: Path
    ) -> None:
        worker = start_worker(Broker.in_folder(tmp_path), POLL_SECONDS=1)
        wait_for_worker(worker)
        media.mkdir(exist_ok=True)
        (media / "raw.jpg").write_bytes(jpeg(RED))
        execute(f"UPDATE {TABLE} SET original = 'raw.jpg' WHERE id = %s", [images[2].pk])
        wait_until_encoded(images[2], worker)
        assert list(ProductImageEmbedding.objects.values_list("pk", flat=True)) == [images[2].pk]


@pytest.fixture
def importer(images: Images, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A user who may write the pictures and nothing else."""
    role = f"cardigan_importer_{uuid.uuid4().hex[:8]}"
    execute(f"CREATE ROLE {role} LOGIN PASSWORD 'shop'")
    execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO {role}")
    connections.settings["importer"] = {
        **connection.settings_dict,
        "USER": role,
        "PASSWORD": "shop",
    }
    with django_db_blocker.unblock():
        yield "importer"
    connections["importer"].close()
    del connections["importer"], connections.settings["importer"]
    execute(f"DROP OWNED BY {role}")
    execute(f"DROP ROLE {role}")


class TestTables:
    """Tables of other shapes and names, and tables that change."""

    def test_a_source_that_is_a_child_model(self, triggers: None) -> None:
        feed = Feed("shop.promotedembedding", PromotedImage, "original")
        assert feed.tables() == ["catalogue_promotedimage", TABLE]
        capture.remove(IMAGES.collection, using=DB)
        assert capture.install(feed, using=DB)
        product = Product.objects.create(title="mug")
        plain = ProductImage.objects.create(product=product, original="a.jpg")
        child = PromotedImage.objects.create(product=product, original="b.jpg", slogan="New")
        blank = PromotedImage.objects.create(product=product, slogan="New")
        captured = EncodingRequest.objects.filter(collection=feed.collection)
        assert dict(captured.values_list("source_pk", "version")) == {str(child.pk): 1}
        PromotedImage.objects.update(slogan="Newer")
        ProductImage.objects.update(caption="A mug")
        assert dict(captured.values_list("source_pk", "version")) == {str(child.pk): 1}
        ProductImage.objects.filter(pk__in=[plain.pk, child.pk, blank.pk]).update(original="c.jpg")
        assert dict(captured.values_list("source_pk", "version")) == {
            str(child.pk): 2,
            str(blank.pk): 1,
        }
        execute("DELETE FROM catalogue_promotedimage WHERE productimage_ptr_id = %s", [child.pk])
        assert list(captured.values_list("source_pk", flat=True)) == [str(blank.pk)]

    @isolate_apps("tests.testapp")
    def test_odd_names_in_another_schema(self, no_triggers: None) -> None:
        class Odd(models.Model):  # noqa: DJ008
            key = models.CharField(max_length=50, primary_key=True, db_column="Schlüssel's")
            file = models.ImageField(db_column='100% "Bild" {}')

            class Meta:
                app_label = "testapp"
                db_table = 'Läden"."A table whose name is as long as PostgreSQL would ever have it'

        feed = Feed(f"testapp.{'very' * 10}longembedding", Odd, "file")
        table = '"Läden"."A table whose name is as long as PostgreSQL would ever have it"'
        key, file = '"Schlüssel\'s"', '"100% ""Bild"" {}"'
        execute('CREATE SCHEMA "Läden"')
        try:
            execute(f"CREATE TABLE {table} ({key} varchar(50) PRIMARY KEY, {file} varchar(100))")
            assert capture.state(feed, using=DB) is State.ABSENT
            capture.install(feed, using=DB)
            assert capture.state(feed, using=DB) is State.CURRENT
            assert capture.collections_captured(using=DB) == [feed.collection]
            execute(f"INSERT INTO {table} VALUES ('it''s', 'a.jpg'), ('Ü 2', 'b.jpg'), ('3', NULL)")
            assert requests() == {"it's": 1, "Ü 2": 1}
            execute(f"UPDATE {table} SET {file} = coalesce({file}, '')")
            assert requests() == {"it's": 1, "Ü 2": 1}
            execute(f"UPDATE {table} SET {file} = 'c.jpg' WHERE {key} <> 'Ü 2'")
            assert requests() == {"it's": 2, "Ü 2": 1, "3": 1}
            execute(f"DELETE FROM {table} WHERE {key} = 'it''s'")
            assert requests() == {"Ü 2": 1, "3": 1}
            capture.remove(feed.collection, using=DB)
            assert capture.state(feed, using=DB) is State.ABSENT
        finally:
            execute('DROP SCHEMA "Läden" CASCADE')

    def test_a_key_is_written_alike_whatever_style_a_writer_has(self, no_triggers: None) -> None:
        with isolate_apps("tests.testapp"):

            class Dated(models.Model):  # noqa: DJ008
                day = models.DateField(primary_key=True)
                image = models.ImageField()

                class Meta:
                    app_label = "testapp"

        feed = Feed(POSTERS.collection, Dated, "image")
        execute("CREATE TABLE testapp_dated (day date PRIMARY KEY, image text)")
        try:
            capture.install(feed, using=DB)
            with transaction.atomic():
                execute("SET LOCAL datestyle = 'German'")
                execute("INSERT INTO testapp_dated VALUES ('2026-11-25', 'a.jpg')")
            assert requests() == {"2026-11-25": 1}
            queue.mark(PosterEmbedding, [date(2026, 11, 25)], using=DB)
            assert requests() == {"2026-11-25": 2}
        finally:
            execute("DROP TABLE testapp_dated")

    def test_a_partitioned_table(self, no_triggers: None) -> None:
        with isolate_apps("tests.testapp"):

            class Split(models.Model):  # noqa: DJ008
                image = models.ImageField()

                class Meta:
                    app_label = "testapp"

        feed = Feed("testapp.splitembedding", Split, "image")
        execute(
            "CREATE TABLE testapp_split (id int PRIMARY KEY, image text) PARTITION BY RANGE (id);"
            "CREATE TABLE testapp_split_1 PARTITION OF testapp_split FOR VALUES FROM (0) TO (10);"
            "CREATE TABLE testapp_split_2 PARTITION OF testapp_split FOR VALUES FROM (10) TO (20)"
        )
        try:
            capture.install(feed, using=DB)
            execute("INSERT INTO testapp_split VALUES (1, 'a.jpg'), (11, 'b.jpg'), (12, '')")
            assert requests() == {"1": 1, "11": 1}
            execute("UPDATE testapp_split SET id = 13 WHERE id = 1")
            execute("UPDATE testapp_split SET image = 'c.jpg' WHERE id = 12")
            assert requests() == {"1": 1, "11": 1, "12": 1, "13": 1}
        finally:
            execute("DROP TABLE testapp_split")

    def test_a_column_that_comes_while_others_write(self, images: Images) -> None:
        update(images)
        execute(f"ALTER TABLE {TABLE} ADD COLUMN extra text DEFAULT 'x'")
        try:
            raw_update(images)
            assert requests() == {str(images[0].pk): 1, str(images[1].pk): 1}
        finally:
            execute(f"ALTER TABLE {TABLE} DROP COLUMN extra")

    def test_after_a_rename_each_row_is_marked_until_migrate_renews_the_triggers(
        self, images: Images, settings: Settings
    ) -> None:
        execute(f"ALTER TABLE {TABLE} RENAME COLUMN original TO picture")
        try:
            execute(f"UPDATE {TABLE} SET caption = 'A mug'")
            assert len(requests()) == 3
            execute(
                f"INSERT INTO {TABLE} (id, product_id, picture, caption, display_order) "
                f"VALUES (9001, %s, '', '', 0)",
                [images[0].product_id],
            )
            assert len(requests()) == 4
            with isolate_apps("tests.testapp"):

                class Renamed(models.Model):  # noqa: DJ008
                    original = models.ImageField(db_column="picture")

                    class Meta:
                        app_label = "testapp"
                        db_table = TABLE

            assert capture.install(Feed(IMAGES.collection, Renamed, "original"), using=DB)
            EncodingRequest.objects.all().delete()
            execute(f"UPDATE {TABLE} SET caption = 'A cup'")
            assert requests() == {}
            execute(f"UPDATE {TABLE} SET picture = 'c.jpg' WHERE id = 9001")
            assert requests() == {"9001": 1}
        finally:
            execute(f"ALTER TABLE {TABLE} RENAME COLUMN picture TO original")

    def test_an_uninstalled_package_stops_no_shop(self, images: Images) -> None:
        queue_table = queue.TABLE
        execute(f"ALTER TABLE {queue_table} RENAME TO elsewhere")
        try:
            update(images)
            raw_delete(images)
        finally:
            execute(f"ALTER TABLE elsewhere RENAME TO {queue_table}")
        assert requests() == {}

    @isolate_apps("tests.testapp")
    def test_what_triggers_can_not_serve_is_said(self, no_triggers: None) -> None:
        class Moment(models.Model):  # noqa: DJ008
            at = models.DateTimeField(primary_key=True)
            image = models.ImageField()

            class Meta:
                app_label = "testapp"

        class View(models.Model):  # noqa: DJ008
            image = models.ImageField()

            class Meta:
                app_label = "testapp"
                db_table = "testapp_view"

        class Nothing(models.Model):  # noqa: DJ008
            image = models.ImageField()

            class Meta:
                app_label = "testapp"

        with pytest.raises(CaptureError, match=r"testapp.Moment has a DateTimeField as its prima"):
            capture.install(Feed("testapp.momentembedding", Moment, "image"), using=DB)
        execute("CREATE VIEW testapp_view AS SELECT 1 AS id, 'a.jpg' AS image")
        try:
            with pytest.raises(CaptureError, match=r"public.testapp_view is no table, so that no"):
                capture.install(Feed("testapp.viewembedding", View, "image"), using=DB)
        finally:
            execute("DROP VIEW testapp_view")
        nothing = Feed("testapp.nothingembedding", Nothing, "image")
        assert capture.state(nothing, using=DB) is State.NO_TABLE
        with pytest.raises(CaptureError, match=r"are not in database 'default'. Run migrate first"):
            capture.install(nothing, using=DB)


class TestInstallation:
    def test_it_is_done_once(self, no_triggers: None) -> None:
        assert capture.state(IMAGES, using=DB) is State.ABSENT
        assert capture.install(IMAGES, using=DB) is True
        assert capture.install(IMAGES, using=DB) is False
        assert capture.state(IMAGES, using=DB) is State.CURRENT
        assert capture.remove(IMAGES.collection, using=DB) is True
        assert capture.remove(IMAGES.collection, using=DB) is False
        assert capture.state(IMAGES, using=DB) is State.ABSENT

    @pytest.mark.parametrize(
        "change",
        [
            f'ALTER TABLE {TABLE} DISABLE TRIGGER "{{}}_update"',
            f'DROP TRIGGER "{{}}_delete" ON {TABLE}',
            f"CREATE TRIGGER other AFTER DELETE ON {TABLE} EXECUTE FUNCTION \"{{}}\"('other.x')",
            'ALTER FUNCTION "{}" SECURITY INVOKER',
            'ALTER FUNCTION "{}" RESET search_path',
            'CREATE OR REPLACE FUNCTION "{}"() RETURNS trigger LANGUAGE plpgsql AS '
            "'BEGIN RETURN NULL; END'",
        ],
        ids=["switched off", "dropped", "one more", "invoker", "search path", "body"],
    )
    def test_what_differs_is_outdated_and_migrate_renews_it(
        self, images: Images, settings: Settings, change: str
    ) -> None:
        execute(change.format(capture.function_name(IMAGES.collection)))
        use_triggers(settings, "signals")
        assert capture.state(IMAGES, using=DB) is State.OUTDATED
        call_command("migrate", verbosity=0)
        assert capture.state(IMAGES, using=DB) is State.CURRENT
        update(images)
        raw_delete(images)
        assert requests() == {}

    def test_migrate_installs_what_the_setting_asks_for(
        self, no_triggers: None, settings: Settings
    ) -> None:
        call_command("migrate", verbosity=0)
        assert capture.collections_captured(using=DB) == []
        use_triggers(settings)
        call_command("migrate", verbosity=0)
        assert capture.collections_captured(using=DB) == [POSTERS.collection, IMAGES.collection]

    def test_migrate_says_nothing_of_what_nobody_asked_for(
        self, no_triggers: None, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        execute(f"ALTER TABLE {TABLE} RENAME TO elsewhere; CREATE VIEW {TABLE} AS TABLE elsewhere")
        try:
            capture.keep_up(using=DB)
            assert caplog.records == []
            use_triggers(settings)
            capture.keep_up(using=DB)
            assert [record.levelname for record in caplog.records] == ["WARNING"]
        finally:
            execute(f"DROP VIEW {TABLE}; ALTER TABLE elsewhere RENAME TO {TABLE}")

    def test_a_busy_table_is_not_waited_for(
        self,
        no_triggers: None,
        settings: Settings,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        has_lock, is_done = threading.Event(), threading.Event()

        def hold() -> None:
            try:
                with transaction.atomic():
                    execute(f"LOCK TABLE {TABLE} IN ROW EXCLUSIVE MODE")
                    has_lock.set()
                    is_done.wait(30)
            finally:
                connections.close_all()

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            assert has_lock.wait(10)
            with pytest.raises(CaptureError, match="something has held its table for too long"):
                capture.install(IMAGES, using=DB, lock_seconds=0.1)
            with pytest.raises(CommandError, match="something has held its table for too long"):
                call_command("capture_writes", "--lock-seconds=0.1")
            use_triggers(settings)
            monkeypatch.setattr(capture, "LOCK_SECONDS", 0.1)
            capture.keep_up(using=DB)  # It must not break the end of a migration.
        finally:
            is_done.set()
            thread.join()
        assert capture.state(IMAGES, using=DB) is State.ABSENT
        assert capture.state(POSTERS, using=DB) is State.CURRENT
        assert [record.levelname for record in caplog.records] == ["WARNING"]

    def test_who_may_not_is_told(self, images: Images, importer: str) -> None:
        capture.remove(IMAGES.collection, using=DB)
        with pytest.raises(CaptureError, match="would own the function and has no right to SELECT"):
            capture.install(IMAGES, using=importer)
        execute(f"GRANT ALL ON {queue.TABLE} TO {connections[importer].settings_dict['USER']}")
        with pytest.raises(CaptureError, match=r"permission denied.* Let the owner of the table"):
            capture.install(IMAGES, using=importer)

    def test_rights_that_everybody_has_are_taken_back(self, images: Images) -> None:
        """As after `pg_restore --no-privileges`: a new function may be used by anybody."""
        function = f'"{capture.function_name(IMAGES.collection)}"'
        execute(f"GRANT EXECUTE ON FUNCTION {function}() TO PUBLIC")
        assert capture.state(IMAGES, using=DB) is State.OUTDATED
        assert capture.install(IMAGES, using=DB)
        assert capture.state(IMAGES, using=DB) is State.CURRENT

    def test_another_projects_functions_are_not_ours(self, no_triggers: None) -> None:
        other = f'other."{capture.function_name("x.y")}"'
        execute(
            f"CREATE SCHEMA other; CREATE FUNCTION {other}() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN DELETE FROM other.cardigan_reco_encodingrequest; RETURN NULL; END';"
            f"CREATE TRIGGER other AFTER DELETE ON {TABLE} EXECUTE FUNCTION {other}('x.y')"
        )
        try:
            assert capture.collections_captured(using=DB) == []
            assert capture.remove("x.y", using=DB) is False
        finally:
            execute("DROP SCHEMA other CASCADE")


class TestMigration:
    def test_the_operation_installs_and_removes(
        self, no_triggers: None, django_assert_num_queries: Callable[..., object]
    ) -> None:
        operation = CaptureWrites(LABEL, image_field="original")
        state = project_state()
        with connection.schema_editor() as editor:
            operation.database_forwards("testapp", editor, state, state)
        assert capture.state(IMAGES, using=DB) is State.CURRENT
        with connection.schema_editor() as editor:
            operation.database_forwards("testapp", editor, state, state)
            operation.database_backwards("testapp", editor, state, state)
        assert capture.state(IMAGES, using=DB) is State.ABSENT

    def test_it_can_be_written_to_a_file(self) -> None:
        operation = CaptureWrites(LABEL, image_field="original")
        source, imports = OperationWriter(operation, indentation=0).serialize()
        assert imports == {"import cardigan_reco.operations"}
        assert source == (
            "cardigan_reco.operations.CaptureWrites(\n"
            "    collection='testapp.ProductImageEmbedding',\n"
            "    image_field='original',\n"
            "),"
        )
        assert operation.describe() == f"Capture writes for {LABEL} by triggers"
        assert operation.migration_name_fragment == "capture_writes_productimageembedding"

    def test_a_database_that_does_not_have_the_model_is_left_alone(
        self, no_triggers: None, settings: Settings
    ) -> None:
        settings.DATABASE_ROUTERS = [Nowhere()]
        state = project_state()
        with connection.schema_editor() as editor:
            CaptureWrites(LABEL, "original").database_forwards("testapp", editor, state, state)
        use_triggers(settings)
        capture.keep_up(using=DB)
        assert capture.collections_captured(using=DB) == []


class Nowhere:
    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        return False


def project_state() -> ProjectState:
    return ProjectState.from_apps(apps)


class TestCommand:
    def test_installs_says_and_removes(self, no_triggers: None) -> None:
        poster = "testapp.PosterEmbedding"
        assert run("--status") == [f"{poster}: not installed", f"{LABEL}: not installed"]
        assert run(LABEL.lower()) == [f"{LABEL}: installed"]
        assert run() == [f"{poster}: installed", f"{LABEL}: installed already"]
        execute(f"ALTER TABLE {TABLE} DISABLE TRIGGER USER")
        assert run("--status") == [f"{poster}: installed", f"{LABEL}: outdated"]
        assert run(LABEL) == [f"{LABEL}: installed"]
        assert run("--remove", poster) == [f"{poster}: removed"]
        assert run("--remove") == [f"{poster}: not installed", f"{LABEL}: removed"]

    def test_a_collection_may_be_named_by_its_purpose(self, no_triggers: None) -> None:
        assert run("similar") == [f"{LABEL}: installed"]
        assert run("--status", "similar") == [f"{LABEL}: installed"]
        assert run("--remove", "similar") == [f"{LABEL}: removed"]
        with pytest.raises(CommandError, match="Collection 'other' is not defined"):
            run("other")

    @pytest.mark.parametrize("value", ["0", "0.0001", "-1", "nan", "inf", "soon"])
    def test_a_lock_is_waited_for_within_limits(self, value: str) -> None:
        message = f"'{value}' is not a number of seconds from 0.001 to 86400"
        with pytest.raises(CommandError, match=message):
            run(f"--lock-seconds={value}", "--status")

    def test_a_model_that_is_gone(self, no_triggers: None) -> None:
        capture.install(Feed("testapp.gone", ProductImage, "original"), using=DB)
        with pytest.raises(CommandError, match=r"'testapp.gone' is not an embedding model"):
            run("testapp.gone")
        assert run("--status")[0] == (
            "testapp.gone: installed, but there is no such model; "
            "capture_writes testapp.gone --remove removes it"
        )
        assert run("--remove", "testapp.Gone") == ["testapp.gone: removed"]
        with pytest.raises(CommandError, match=r"'testapp.gone' is not an embedding model"):
            run("--remove", "testapp.gone")


def run(*arguments: str) -> list[str]:
    output = io.StringIO()
    call_command("capture_writes", *arguments, stdout=output)
    return output.getvalue().splitlines()


class TestChecks:
    def messages(self) -> list[tuple[str, str]]:
        found = checks.run_checks(tags=["cardigan_reco"], databases=[DB])
        return [(message.id or "", message.msg) for message in found]

    def test_w020_w021(self, no_triggers: None, settings: Settings) -> None:
        where = f"The triggers of {LABEL} in database 'default' are"
        capture.install(POSTERS, using=DB)
        use_triggers(settings)
        absent = (
            "cardigan_reco.W020",
            f"{where} not installed, although CARDIGAN_RECO['CAPTURE'] is 'triggers': no picture "
            "that is saved is marked.",
        )
        assert self.messages() == [absent]
        run(LABEL)
        assert self.messages() == []
        execute(f"ALTER TABLE {TABLE} DISABLE TRIGGER USER")
        outdated = (
            "cardigan_reco.W020",
            f"{where} outdated: they are not what this version would install for these tables, or "
            "are switched off.",
        )
        assert self.messages() == [outdated]
        capture.remove(POSTERS.collection, using=DB)
        use_triggers(settings, "signals")
        assert self.messages() == [outdated]
        run(LABEL)
        assert self.messages() == [
            (
                "cardigan_reco.W021",
                f"{where} installed, although CARDIGAN_RECO['CAPTURE'] is 'signals': each save is "
                "marked twice, which is right and a little slower.",
            )
        ]
        run(LABEL, "--remove")
        assert self.messages() == []

    def test_w022_a_table_that_can_not_have_them(
        self, no_triggers: None, settings: Settings
    ) -> None:
        execute(f"ALTER TABLE {TABLE} RENAME TO elsewhere; CREATE VIEW {TABLE} AS TABLE elsewhere")
        try:
            assert self.messages() == []
            use_triggers(settings)
            assert [id for id, _message in self.messages()] == [
                "cardigan_reco.W022",
                "cardigan_reco.W020",
            ]
        finally:
            execute(f"DROP VIEW {TABLE}; ALTER TABLE elsewhere RENAME TO {TABLE}")


def test_a_flush_empties_the_queue_as_well(images: Images) -> None:
    update(images)
    call_command("flush", verbosity=0, interactive=False)
    assert requests() == {}
    assert capture.state(IMAGES, using=DB) is State.CURRENT


def test_both_ways_at_once_are_right(images: Images, settings: Settings) -> None:
    use_triggers(settings, "signals")
    save(images)
    assert requests() == {str(images[0].pk): 2}


def test_a_second_database_has_a_queue_of_its_own(
    no_triggers: None, settings: Settings, django_db_blocker: DjangoDbBlocker
) -> None:
    use_triggers(settings)
    name = f"cardigan_second_{uuid.uuid4().hex[:8]}"
    execute(f"CREATE DATABASE {name} TEMPLATE template0")
    connections.settings["second"] = {**connection.settings_dict, "NAME": name}
    try:
        with django_db_blocker.unblock():
            call_command("migrate", database="second", verbosity=0)
            assert capture.state(IMAGES, using="second") is State.CURRENT
            product = Product.objects.using("second").create(title="mug")
            ProductImage.objects.using("second").bulk_create(
                ProductImage(pk=pk, product=product, original="a.jpg") for pk in (1, 2)
            )
            ProductImage.objects.using("second").filter(pk=2).update(original="b.jpg")
            assert requests(using="second") == {"1": 1, "2": 2}
            assert requests() == {}
            ProductImage.objects.using("second").filter(pk=2).delete()
            assert requests(using="second") == {"1": 1}
    finally:
        connections["second"].close()
        del connections["second"], connections.settings["second"]
        execute(f"DROP DATABASE {name}")


def test_writers_and_workers_never_lock_each_other_out(images: Images) -> None:
    """Four who change overlapping rows in bulk, one who marks them, one who encodes them."""
    product = images[0].product
    rows = ProductImage.objects.bulk_create(
        ProductImage(product=product, original="a.jpg") for _ in range(300)
    )
    pks = [row.pk for row in rows]
    errors: list[BaseException] = []

    def in_thread(work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                for _ in range(15):
                    work()
            except BaseException as error:
                errors.append(error)
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def writer(number: int) -> Callable[[], object]:
        part = pks[number * 50 : number * 50 + 150]

        def write() -> None:
            # In the order of their keys, as the rows themselves must be taken.
            execute(
                f"UPDATE {TABLE} SET original = %s || random() FROM (SELECT id AS chosen FROM "
                f"{TABLE} WHERE id = ANY(%s) ORDER BY id FOR UPDATE) AS rows WHERE id = chosen",
                [f"{number}-", part],
            )

        return write

    works = [writer(number) for number in range(4)]
    works.append(lambda: queue.mark(ProductImageEmbedding, reversed(pks), using=DB))
    works.append(lambda: list(encoding.drain(ProductImageEmbedding, using=DB, limit=100)))
    works.append(lambda: list(sweep.run(ProductImageEmbedding, using=DB, size=50)))
    threads = [in_thread(work) for work in works]
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert errors == []
    EncodingRequest.objects.all().delete()
    ProductImage.objects.update(original="z.jpg")
    assert set(requests()) == {str(pk) for pk in [*pks, *(image.pk for image in images)]}
