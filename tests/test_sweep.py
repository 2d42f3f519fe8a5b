"""The sweep: what it finds, that it disturbs nobody, and that it goes on after a kill."""

from __future__ import annotations

import io
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection, connections, models
from kombu import Connection
from pytest_django import DjangoDbBlocker, Settings

from cardigan_reco import queue, sweep
from cardigan_reco.models import Embedding, EncoderVersion, EncodingRequest
from cardigan_reco.queue import Failure
from cardigan_reco.sweep import Kind, Swept
from cardigan_reco.tasks import sweep_up
from tests.celery import configured
from tests.conftest import GREEN, RED, AddProduct, encode_all
from tests.processes import Broker, Process, wait_until
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import Poster, PosterEmbedding, ProductImageEmbedding
from tests.workers import StartWorker, wait_for_worker, wait_until_encoded

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("silent_doorbell"),
]
DB = "default"
LABEL = "testapp.ProductImageEmbedding"
VECTOR = [1.0] + [0.0] * 15


def swept(embedding: type[Embedding] = ProductImageEmbedding, **options: object) -> Swept:
    total = Swept()
    for step in sweep.run(embedding, using=DB, **options):  # type: ignore[arg-type]
        total += step
    return total


def found(embedding: type[Embedding] = ProductImageEmbedding, **options: object) -> dict[str, int]:
    """Sweeps; returns what was found, without what was not."""
    return {kind: count for kind, count in swept(embedding, **options).found.items() if count}


def requests() -> dict[str, tuple[str, int]]:
    rows = EncodingRequest.objects.values_list("source_pk", "state", "version")
    return {pk: (state, version) for pk, state, version in rows}


def import_images(*names: str) -> list[ProductImage]:
    """Creates pictures that no signal tells of."""
    product = Product.objects.create(title="mug")
    return ProductImage.objects.bulk_create(
        ProductImage(product=product, original=name) for name in names
    )


def add_vector(source: models.Model, fingerprint: str = "current") -> None:
    version = EncoderVersion.objects.current("default")
    if fingerprint != "current":
        version, _created = EncoderVersion.objects.get_or_create(
            encoder="default", fingerprint=fingerprint, backend="x", dimensions=16
        )
    embedding = PosterEmbedding if isinstance(source, Poster) else ProductImageEmbedding
    embedding.objects.create(source=source, vector=VECTOR, digest="0" * 64, encoder_version=version)


def test_each_kind_is_found_and_nothing_else() -> None:
    missing, stale, current, emptied, blank, waiting, dead = import_images(
        "a.jpg", "b.jpg", "c.jpg", "", "", "f.jpg", "g.jpg"
    )
    add_vector(stale, "older")
    add_vector(current)
    add_vector(emptied)
    queue.mark(ProductImageEmbedding, [dead.pk], using=DB)
    (claim,) = queue.claim(ProductImageEmbedding, limit=1, using=DB)
    queue.fail(claim, Failure.DEAD, "broken", using=DB)
    queue.mark(ProductImageEmbedding, [waiting.pk, 0], using=DB)
    queue.mark(ProductImageEmbedding, ["no number"], using=DB)

    assert found(size=2) == {
        Kind.MISSING: 1,
        Kind.STALE: 1,
        Kind.EMPTIED: 1,
        Kind.ORPHAN: 2,
    }
    assert requests() == {
        str(missing.pk): ("waiting", 1),
        str(stale.pk): ("waiting", 1),
        str(emptied.pk): ("waiting", 1),
        str(waiting.pk): ("waiting", 1),
        str(dead.pk): ("dead", 1),
    }
    assert found() == {}
    assert str(blank.pk) not in requests()


def test_kinds_are_found_alone() -> None:
    missing, stale = import_images("a.jpg", "b.jpg")
    add_vector(stale, "older")
    assert found(kinds=[Kind.STALE]) == {Kind.STALE: 1}
    assert found(kinds=[Kind.MISSING]) == {Kind.MISSING: 1}
    assert set(requests()) == {str(missing.pk), str(stale.pk)}


def test_an_encoder_that_cannot_be_built_is_no_matter_for_what_is_missing(
    settings: Settings,
) -> None:
    import_images("a.jpg")
    encoder = {"BACKEND": "tests.nothing.Encoder"}
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "ENCODERS": {"default": encoder}}
    assert found(kinds=[Kind.MISSING]) == {Kind.MISSING: 1}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_ranges_cover_all_keys_once(count: int) -> None:
    import_images(*["a.jpg"] * count)
    total = swept(size=2)
    assert (total.sources, total.found[Kind.MISSING], total.last) == (count, count, None)
    assert EncodingRequest.objects.count() == count


def test_keys_that_are_no_numbers_have_ranges_too() -> None:
    posters = Poster.objects.bulk_create(Poster(title="A", image="a.jpg") for _ in range(7))
    gone = uuid.uuid4()
    queue.mark(PosterEmbedding, [gone], using=DB)
    assert found(PosterEmbedding, size=3) == {Kind.MISSING: 7, Kind.ORPHAN: 1}
    assert set(requests()) == {str(poster.pk) for poster in posters}


def test_it_goes_on_after_a_key() -> None:
    images = import_images(*["a.jpg"] * 5)
    steps = sweep.run(ProductImageEmbedding, using=DB, size=2)
    last = next(step.last for step in steps if step.last)
    steps.close()
    assert last == images[1].pk
    assert set(requests()) == {str(image.pk) for image in images[:2]}
    assert found(after=last) == {Kind.MISSING: 3}
    assert set(requests()) == {str(image.pk) for image in images}


def in_another_transaction(work: Callable[[], None]) -> Callable[[], None]:
    """Does the work in a transaction of another connection; returns what commits it."""
    connections.settings["shop"] = connection.settings_dict
    shop = connections["shop"]
    shop.set_autocommit(False)
    work()

    def commit() -> None:
        shop.commit()
        shop.close()
        del connections["shop"]
        del connections.settings["shop"]

    return commit


def test_what_the_shop_is_changing_is_left_to_the_shop(
    django_db_blocker: DjangoDbBlocker,
) -> None:
    first, second = import_images("a.jpg", "b.jpg")

    def save() -> None:
        with connections["shop"].cursor() as cursor:
            cursor.execute(
                "UPDATE catalogue_productimage SET caption = 'A mug' WHERE id = %s", [first.pk]
            )

    with django_db_blocker.unblock():
        commit = in_another_transaction(save)
        try:
            assert found() == {Kind.MISSING: 1}  # It returns at all: it waits for nobody.
        finally:
            commit()
    assert set(requests()) == {str(second.pk)}
    assert found() == {Kind.MISSING: 1}


def test_an_order_by_what_a_source_may_lack_keeps_nothing_from_being_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostgreSQL locks no rows of a table that may have none for a source."""
    import_images("a.jpg")
    monkeypatch.setattr(ProductImage._meta, "ordering", ["product__parent__title"])
    assert found() == {Kind.MISSING: 1}


def test_a_request_that_was_made_again_meanwhile_is_kept() -> None:
    queue.mark(ProductImageEmbedding, [1, 2], using=DB)
    seen = dict(EncodingRequest.objects.values_list("pk", "version"))
    queue.mark(ProductImageEmbedding, [1], using=DB)
    assert queue.drop(seen, using=DB) == 1
    assert requests() == {"1": ("waiting", 2)}


def test_workers_do_the_rest(add_product: AddProduct) -> None:
    product = add_product("mug", RED, GREEN)
    EncodingRequest.objects.all().delete()
    image = product.images.order_by("pk")[0]
    assert found() == {Kind.MISSING: 2}
    assert encode_all().encoded == 2
    ProductImage.objects.filter(pk=image.pk).update(original="")
    assert found() == {Kind.EMPTIED: 1}
    assert encode_all().removed == 1
    assert ProductImageEmbedding.objects.count() == 1
    assert found() == {}


def test_two_at_once_share_the_work() -> None:
    import_images(*["a.jpg"] * 600)
    totals: list[Swept] = []

    def work() -> None:
        try:
            totals.append(swept(size=20))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(total.found[Kind.MISSING] for total in totals) == 600
    assert len(totals) == 3
    assert set(requests().values()) == {("waiting", 1)}


def test_the_vectors_of_sources_without_a_constraint() -> None:
    """A shop may have its sources where no foreign key can be enforced."""
    images = import_images(*["a.jpg"] * 5)
    for image in images:
        add_vector(image)
    field = ProductImageEmbedding._meta.get_field("source")
    with connection.schema_editor() as editor:
        (constraint,) = (
            name
            for name, facts in connection.introspection.get_constraints(
                connection.cursor(), ProductImageEmbedding._meta.db_table
            ).items()
            if facts["foreign_key"] == ("catalogue_productimage", "id")
        )
        editor.execute(f"ALTER TABLE testapp_productimageembedding DROP CONSTRAINT {constraint}")
    try:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM catalogue_productimage WHERE id <> %s", [images[2].pk])
        assert found(size=2) == {}  # As long as the model says that PostgreSQL sees to it.
        field.db_constraint = False
        assert found(size=2) == {Kind.ORPHAN: 4}
        assert [row.pk for row in ProductImageEmbedding.objects.all()] == [images[2].pk]
    finally:
        field.db_constraint = True
        ProductImageEmbedding.objects.all().delete()
        with connection.schema_editor() as editor:
            editor.execute(
                f"ALTER TABLE testapp_productimageembedding ADD CONSTRAINT {constraint} "
                "FOREIGN KEY (source_id) REFERENCES catalogue_productimage (id) "
                "DEFERRABLE INITIALLY DEFERRED"
            )


class TestCommand:
    def run(self, *arguments: str) -> tuple[list[str], str]:
        output, errors = io.StringIO(), io.StringIO()
        call_command("encode_images", "--sweep", *arguments, stdout=output, stderr=errors)
        return output.getvalue().splitlines(), errors.getvalue()

    def test_says_what_it_found_and_encodes_nothing(self, silent_doorbell: list[str]) -> None:
        import_images("a.jpg", "b.jpg", "")
        queue.mark(ProductImageEmbedding, [0], using=DB)
        lines, errors = self.run()
        assert lines == [
            f"{LABEL}: 3 sources, 2 missing, 0 stale, 0 without picture, 1 without source",
            "testapp.PosterEmbedding: 0 sources, 0 missing, 0 stale, 0 without picture, "
            "0 without source",
        ]
        assert f"{LABEL}: " in errors
        assert EncodingRequest.objects.count() == 2
        assert silent_doorbell == ["default"]

    def test_the_bar_knows_about_how_many_there_are(self) -> None:
        import_images(*["a.jpg"] * 7)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE catalogue_productimage")
        _lines, errors = self.run(LABEL)
        assert "100%" in errors
        assert "7/7" in errors

    def test_what_was_given_up_is_tried_again_if_asked(self) -> None:
        (image,) = import_images("a.jpg")
        queue.mark(ProductImageEmbedding, [image.pk], using=DB)
        (claim,) = queue.claim(ProductImageEmbedding, limit=1, using=DB)
        queue.fail(claim, Failure.DEAD, "broken", using=DB)
        self.run(LABEL)
        assert requests() == {str(image.pk): ("dead", 1)}
        self.run(LABEL, "--retry")
        assert requests() == {str(image.pk): ("waiting", 1)}

    def test_limits_are_of_the_encoding(self) -> None:
        with pytest.raises(CommandError, match="--limit and --batch-size are of the encoding"):
            self.run("--limit=1")

    def test_goes_on_after_a_kill(self, tmp_path: Path, slow_queue: None) -> None:
        images = import_images(*["a.jpg"] * 7000)
        process = Process("manage.py", "encode_images", LABEL, "--sweep", log=tmp_path / "log")
        wait_until(lambda: EncodingRequest.objects.count() >= 2000, "2000 are marked", process)
        process.kill()
        marked = EncodingRequest.objects.count()
        assert marked % sweep.RANGE == 0
        assert marked < 7000
        lines, _errors = self.run(LABEL)
        assert lines == [
            f"{LABEL}: 7000 sources, {7000 - marked} missing, 0 stale, 0 without picture, "
            "0 without source"
        ]
        assert requests() == {str(image.pk): ("waiting", 1) for image in images}


@pytest.fixture
def slow_queue(transactional_db: None) -> Iterator[None]:
    """Has each statement that marks take a moment, so that a test can come in between."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END';"
            f"CREATE TRIGGER dawdle BEFORE INSERT ON {queue.TABLE} EXECUTE FUNCTION dawdle()"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION dawdle() CASCADE")


class TestTask:
    def test_sweeps_all_collections(self, silent_doorbell: list[str]) -> None:
        import_images("a.jpg")
        Poster.objects.bulk_create([Poster(title="A", image="a.jpg")])
        assert sweep_up() == {**dict.fromkeys(Kind, 0), Kind.MISSING: 2}
        assert EncodingRequest.objects.count() == 2
        assert set(silent_doorbell) == {"default"}

    def test_what_takes_long_goes_on_in_another_message(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sweep_up, "time_limit", 0.001)
        import_images(*["a.jpg"] * (2 * sweep.RANGE + 1))
        Poster.objects.bulk_create([Poster(title="A", image="a.jpg")])
        with configured(task_always_eager=True):
            found = sweep_up.delay().get()
        assert found[Kind.MISSING] == sweep.RANGE  # What this message alone has found.
        assert EncodingRequest.objects.count() == 2 * sweep.RANGE + 2
        assert found_nothing()

    def test_a_collection_that_can_not_be_swept_keeps_no_other_waiting(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ProductImageEmbedding, "encoder", "nothing")
        Poster.objects.bulk_create([Poster(title="A", image="a.jpg")])
        with pytest.raises(ImproperlyConfigured, match="Encoder 'nothing' is not defined"):
            sweep_up()
        assert EncodingRequest.objects.count() == 1

    def test_a_worker_finds_and_encodes_what_was_imported(
        self, add_product: AddProduct, start_worker: StartWorker, tmp_path: Path
    ) -> None:
        image = add_product("mug", RED).images.get()
        EncodingRequest.objects.all().delete()
        broker = Broker.in_folder(tmp_path)
        worker = start_worker(broker)
        wait_for_worker(worker)
        with Connection(broker.url, transport_options=broker.transport_options) as connection:
            sweep_up.apply_async(queue="cardigan", connection=connection)
        wait_until_encoded(image, worker)


def found_nothing() -> bool:
    return found() == found(PosterEmbedding) == {}
