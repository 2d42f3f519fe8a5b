"""Each system check: its id, its message, its hint, and that the hint helps."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core import checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import OperationalError, connection, connections, models
from django.test.utils import isolate_apps
from numpy.typing import NDArray
from PIL import Image
from psycopg import sql
from pytest_django import DjangoDbBlocker, Settings

from cardigan_reco import collection, database, doorbell
from cardigan_reco.checks.models import check_models
from cardigan_reco.checks.workers import check_workers
from cardigan_reco.encoders.base import Encoder
from cardigan_reco.models import Embedding, EmbeddingField, EmbeddingIndex
from tests import celery
from tests.aliases import alias
from tests.testapp.catalogue.models import ProductImage
from tests.testapp.models import Poster, PosterEmbedding, ProductImageEmbedding

ENCODERS = {
    "default": {
        "BACKEND": "cardigan_reco.encoders.dummy.DummyEncoder",
        "OPTIONS": {"dimensions": 16},
    }
}
INDEX = "poster_vector_hnsw"
TABLE = "testapp_posterembedding"
CREATE_INDEX = (
    f'CREATE INDEX CONCURRENTLY "{INDEX}" ON "{TABLE}" USING hnsw ("vector" halfvec_ip_ops) '
    "WITH (ef_construction = 128);"
)


def run(*databases: str) -> list[checks.CheckMessage]:
    return checks.run_checks(tags=["cardigan_reco"], databases=list(databases))


def summary(messages: Sequence[checks.CheckMessage]) -> list[tuple[str, str, str]]:
    """Returns id, message and hint, which are what a user reads."""
    return [(message.id, message.msg, message.hint) for message in messages]


def test_the_test_project_has_no_problems(db: None) -> None:
    assert run("default") == []


def test_checks_of_the_database_run_on_demand_alone(
    django_assert_num_queries: Callable[..., object], db: None
) -> None:
    with django_assert_num_queries(0):
        assert run() == []


class TestSettings:
    def test_e001_unknown_key(self, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "BATCHSIZE": 8}
        assert summary(run()) == [
            (
                "cardigan_reco.E001",
                "CARDIGAN_RECO has an unknown key 'BATCHSIZE'.",
                "Did you mean 'BATCH_SIZE'?",
            )
        ]

    def test_e002_bad_value_is_reported_once(self, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "BATCH_SIZE": 0}
        assert summary(run()) == [
            (
                "cardigan_reco.E002",
                "CARDIGAN_RECO['BATCH_SIZE'] is 0.",
                "It must be a whole number above 0.",
            )
        ]

    def test_e003_collection_that_is_no_embedding(self, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {"ENCODERS": ENCODERS, "COLLECTIONS": {"similar": "shop.Gone"}}
        assert summary(run()) == [
            (
                "cardigan_reco.E003",
                "CARDIGAN_RECO['COLLECTIONS']['similar']: 'shop.Gone' is not an embedding model. "
                "Choices are: testapp.ProductImageEmbedding, testapp.PosterEmbedding.",
                "Name a subclass of cardigan_reco.models.Embedding as 'app.Model'.",
            )
        ]


Declare = Callable[[type[Embedding]], list[checks.CheckMessage]]


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Returns a function that checks a project whose one embedding model is the given one."""

    def check(model: type[Embedding]) -> list[checks.CheckMessage]:
        monkeypatch.setattr(collection, "models", lambda: (model,))
        # Connecting the hooks asks this of each model, before there is any check.
        collection.steps_through.__wrapped__(ProductImage)
        messages = check_models(None)
        assert all(message.obj is model for message in messages)
        return messages

    return check


def key(to: type[models.Model] | str = ProductImage) -> models.OneToOneField:
    return models.OneToOneField(to, models.CASCADE, primary_key=True, related_name="+")


class Declared(Embedding):
    """What a shop's models.py would derive from; this module is no app's."""

    class Meta(Embedding.Meta):
        abstract = True
        app_label = "testapp"


class TestModels:
    @pytest.fixture(autouse=True)
    def registry(self) -> Iterator[None]:
        with isolate_apps("tests.testapp"):
            yield

    def test_a_good_one(self, declared: Declare) -> None:
        class Good(Declared):
            source = key()
            vector = EmbeddingField(dimensions=16)
            image_field = "original"
            item_field = "product__parent"

            class Meta(Declared.Meta):
                indexes = [EmbeddingIndex(name="good", fields=["vector"])]

        assert declared(Good) == []

    @pytest.mark.parametrize("number", [0, 1001, "64", True])
    def test_e026_candidates_that_pgvector_refuses(self, declared: Declare, number: object) -> None:
        class Bad(Declared):
            source = key()
            vector = EmbeddingField(dimensions=16)
            image_field = "original"
            ef_search = number  # type: ignore[assignment]

            class Meta(Declared.Meta):
                indexes = [EmbeddingIndex(name="bad", fields=["vector"])]

        assert summary(declared(Bad)) == [
            (
                "cardigan_reco.E026",
                f"testapp.Bad.ef_search is {number!r}.",
                "It must be a whole number from 1 to 1000, or None for that of CARDIGAN_RECO.",
            )
        ]

    def test_apps_that_were_not_asked_for_are_left_out(self) -> None:
        assert check_models([]) == []

    def test_e004_source_that_is_no_primary_key(self, declared: Declare) -> None:
        class Bad(Declared):
            source = models.ForeignKey(ProductImage, models.CASCADE, related_name="+")
            vector = EmbeddingField(dimensions=16)

        expected = (
            "cardigan_reco.E004",
            "testapp.Bad.source is not a OneToOneField with primary_key=True.",
            'source = models.OneToOneField("shop.ProductImage", models.CASCADE, '
            'primary_key=True, related_name="+")',
        )
        assert summary(declared(Bad)) == [expected]

        class Worse(Declared):
            vector = EmbeddingField(dimensions=16)

        assert [message.id for message in declared(Worse)] == ["cardigan_reco.E004"]

    def test_a_source_that_does_not_exist_is_reported_by_django(self, declared: Declare) -> None:
        class Bad(Declared):
            source = key("shop.Gone")
            vector = EmbeddingField(dimensions=16)

        assert declared(Bad) == []
        assert "fields.E300" in [message.id for message in Bad.check()]

    def test_e029_source_that_points_to_no_primary_key(self, declared: Declare) -> None:
        class Portrait(models.Model):
            code = models.CharField(max_length=20, unique=True)
            image = models.ImageField()

            class Meta:
                app_label = "testapp"

            def __str__(self) -> str:
                return self.code

        class Bad(Declared):
            source = models.OneToOneField(
                Portrait, models.CASCADE, primary_key=True, to_field="code", related_name="+"
            )
            vector = EmbeddingField(dimensions=16)

            class Meta(Declared.Meta):
                indexes = [EmbeddingIndex(name="bad", fields=["vector"])]

        assert summary(declared(Bad)) == [
            (
                "cardigan_reco.E029",
                "testapp.Bad.source points to testapp.Portrait.code. Sources are known by their "
                "primary key.",
                "Leave to_field out, and write a migration.",
            )
        ]

    @pytest.mark.parametrize(
        ("field", "fits"),
        [
            (models.CharField(max_length=255, primary_key=True), True),
            (models.SlugField(max_length=256, primary_key=True), False),
            (models.CharField(primary_key=True), False),
            (models.TextField(primary_key=True), False),
        ],
        ids=["short", "long", "char", "text"],
    )
    def test_e030_source_whose_key_may_be_too_long_for_the_queue(
        self, declared: Declare, field: models.Field, fits: bool
    ) -> None:
        class Portrait(models.Model):
            code = field
            image = models.ImageField()

            class Meta:
                app_label = "testapp"

            def __str__(self) -> str:
                return str(self.pk)

        class Framed(Portrait):
            class Meta:
                app_label = "testapp"

        class Bad(Declared):
            source = key(Framed)
            vector = EmbeddingField(dimensions=16)

            class Meta(Declared.Meta):
                indexes = [EmbeddingIndex(name="bad", fields=["vector"])]

        expected = (
            "cardigan_reco.E030",
            "testapp.Framed has testapp.Portrait.code as its primary key, a text that may be "
            "longer than the 255 characters that the queue has for it: such a save would fail.",
            "Let it be a CharField with max_length=255 at most, or give testapp.Framed another "
            "primary key.",
        )
        assert summary(declared(Bad)) == ([] if fits else [expected])

    def test_e005_vector_of_another_kind(self, declared: Declare) -> None:
        class Bad(Declared):
            source = key()
            vector = models.JSONField()

        assert summary(declared(Bad)) == [
            (
                "cardigan_reco.E005",
                "testapp.Bad.vector is not an EmbeddingField.",
                "vector = EmbeddingField(dimensions=512)",
            )
        ]

    @pytest.mark.parametrize(
        ("path", "reason", "hint"),
        [
            (
                "caption",
                "which is not an image or file field of catalogue.ProductImage",
                "Choices are: original.",
            ),
            (
                "product__title",
                "which is not an image or file field of catalogue.Product",
                "A picture behind a foreign key is named with it, as in 'image__file'.",
            ),
            (
                "original__name",
                "but 'original' is not a foreign key of catalogue.ProductImage to another "
                "model's primary key",
                "Choices are: product.",
            ),
            (
                "product__children__image",
                "but 'children' is not a foreign key of catalogue.Product to another model's "
                "primary key",
                "Choices are: parent.",
            ),
        ],
    )
    def test_e006_image_field_that_leads_to_no_file(
        self, declared: Declare, path: str, reason: str, hint: str
    ) -> None:
        class Bad(Declared):
            source = key()
            vector = EmbeddingField(dimensions=16)
            image_field = path
            item_field = "product"

            class Meta(Declared.Meta):
                indexes = [EmbeddingIndex(name="bad", fields=["vector"])]

        assert summary(declared(Bad)) == [
            ("cardigan_reco.E006", f"testapp.Bad.image_field is {path!r}, {reason}.", hint)
        ]

    @pytest.mark.parametrize(
        ("path", "name", "model", "choices"),
        [
            ("products", "products", "ProductImage", "product"),
            ("caption", "caption", "ProductImage", "product"),
            ("product.parent", "product.parent", "ProductImage", "product"),
            ("product__children", "children", "Product", "parent"),
            ("product__title", "title", "Product", "parent"),
        ],
    )
    def test_e007_item_field_that_is_no_path_of_foreign_keys(
        self, declared: Declare, path: str, name: str, model: str, choices: str
    ) -> None:
        class Bad(Declared):
            source = key()
            vector = EmbeddingField(dimensions=16)
            image_field = "original"
            item_field = path

            class Meta(Declared.Meta):
                indexes = [EmbeddingIndex(name="bad", fields=["vector"])]

        assert summary(declared(Bad)) == [
            (
                "cardigan_reco.E007",
                f"testapp.Bad.item_field is {path!r}, but {name!r} is not a foreign key of "
                f"catalogue.{model}.",
                f"Choices are: {choices}; several are joined by '__'. None recommends the source "
                "itself.",
            )
        ]

    def test_e027_item_field_that_ends_at_no_primary_key(self, declared: Declare) -> None:
        class Portrait(models.Model):
            user = models.ForeignKey(User, models.CASCADE, to_field="username")
            image = models.ImageField()

            class Meta:
                app_label = "testapp"

            def __str__(self) -> str:
                return str(self.user)

        class Bad(Declared):
            source = key(Portrait)
            vector = EmbeddingField(dimensions=16)
            image_field = "image"
            item_field = "user"

            class Meta(Declared.Meta):
                indexes = [EmbeddingIndex(name="bad", fields=["vector"])]

        assert summary(declared(Bad)) == [
            (
                "cardigan_reco.E027",
                "testapp.Bad.item_field is 'user', which ends in a foreign key to "
                "auth.User.username. Items are known by their primary key.",
                "Leave to_field out of testapp.Portrait.user, or add a foreign key to the "
                "primary key of auth.User and name that.",
            )
        ]

    @pytest.mark.parametrize("path", [None, "maker"])
    def test_e031_keys_that_are_not_as_they_are_stored(
        self, path: str | None, declared: Declare
    ) -> None:
        class PrefixedField(models.BigAutoField):
            def from_db_value(self, value: int | None, *_how: object) -> str | None:
                return None if value is None else f"maker_{value}"

        class Maker(models.Model):
            id = PrefixedField(primary_key=True)
            image = models.ImageField()

            class Meta:
                app_label = "testapp"

            def __str__(self) -> str:
                return str(self.id)

        class Branch(Maker):
            class Meta:
                app_label = "testapp"

        class Label(models.Model):
            maker = models.ForeignKey(Branch, models.CASCADE)
            image = models.ImageField()

            class Meta:
                app_label = "testapp"

            def __str__(self) -> str:
                return str(self.maker)

        class Bad(Declared):
            source = key(Label if path else Branch)
            vector = EmbeddingField(dimensions=16)
            item_field = path

            class Meta(Declared.Meta):
                indexes = [EmbeddingIndex(name="bad", fields=["vector"])]

        assert summary(declared(Bad)) == [
            (
                "cardigan_reco.E031",
                "testapp.Maker.id makes keys of its own of what PostgreSQL has, by "
                "from_db_value(). Keys are looked up as PostgreSQL has them: searches would find "
                "nothing.",
                "Let the primary key be a number, a UUID or a text as it is stored, and write it "
                "in another way where it is shown. Silence this check if the keys are equal to "
                "what is stored, and as text as well.",
            )
        ]

    def test_w001_no_index(self, declared: Declare) -> None:
        class Bad(Declared):
            source = key(Poster)
            vector = EmbeddingField(dimensions=16)

        (message,) = declared(Bad)
        assert isinstance(message, checks.Warning)
        assert summary([message]) == [
            (
                "cardigan_reco.W001",
                "testapp.Bad has no EmbeddingIndex: each search reads the whole table.",
                'indexes = [EmbeddingIndex(name="...", fields=["vector"])] in its Meta. An '
                "encoder that is being introduced gets its index after its vectors.",
            )
        ]

    def test_e008_index_with_another_operator_class(self, declared: Declare) -> None:
        class Bad(Declared):
            source = key(Poster)
            vector = EmbeddingField(dimensions=16)

            class Meta(Declared.Meta):
                indexes = [
                    EmbeddingIndex(name="bad", fields=["vector"], opclasses=["halfvec_l2_ops"])
                ]

        assert summary(declared(Bad)) == [
            (
                "cardigan_reco.E008",
                "Index bad of testapp.Bad has operator class halfvec_l2_ops, which no search uses.",
                "Leave opclasses out; EmbeddingIndex chooses halfvec_ip_ops.",
            )
        ]

    def test_e009_encoder_that_is_not_defined(self, declared: Declare) -> None:
        class Bad(Declared):
            source = key(Poster)
            vector = EmbeddingField(dimensions=16)
            encoder = "clipp"

            class Meta(Declared.Meta):
                indexes = [EmbeddingIndex(name="bad", fields=["vector"])]

        assert summary(declared(Bad)) == [
            (
                "cardigan_reco.E009",
                "testapp.Bad: Encoder 'clipp' is not defined in CARDIGAN_RECO['ENCODERS']. "
                "Choices are: default.",
                "See CARDIGAN_RECO['ENCODERS']['clipp'].",
            )
        ]

    def test_e009_encoder_that_cannot_be_built(self, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {
            "ENCODERS": {
                "default": {
                    "BACKEND": "cardigan_reco.encoders.torch.TorchEncoder",
                    "OPTIONS": {"weights": "/nowhere/shop.safetensors"},
                }
            }
        }
        messages = run()
        assert [message.id for message in messages] == ["cardigan_reco.E009"] * 2
        assert "/nowhere/shop.safetensors" in messages[0].msg
        assert messages[0].hint == "See CARDIGAN_RECO['ENCODERS']['default']."

    @pytest.mark.parametrize(
        ("dimensions", "problem"),
        [
            (None, "EmbeddingField needs dimensions=, the length of the encoder's vectors."),
            (0, "EmbeddingField(dimensions=0) can't be indexed."),
            (4001, "EmbeddingField(dimensions=4001) can't be indexed."),
        ],
    )
    def test_e010_dimensions_that_cannot_be_indexed(
        self, dimensions: int | None, problem: str
    ) -> None:
        class Bad(Declared):
            source = key(Poster)
            vector = EmbeddingField(dimensions=dimensions)

        messages = [message for message in Bad.check() if message.id == "cardigan_reco.E010"]
        hint = "Choose 1 to 4000; the bundled encoder has 512."
        assert summary(messages) == [("cardigan_reco.E010", problem, hint)]
        assert messages[0].obj == Bad._meta.get_field("vector")

    def test_e011_dimensions_that_are_not_the_encoders(self, declared: Declare) -> None:
        class Bad(Declared):
            source = key(Poster)
            vector = EmbeddingField(dimensions=512)

            class Meta(Declared.Meta):
                indexes = [EmbeddingIndex(name="bad", fields=["vector"])]

        assert summary(declared(Bad)) == [
            (
                "cardigan_reco.E011",
                "testapp.Bad.vector has 512 dimensions, but encoder 'default' makes 16.",
                "vector = EmbeddingField(dimensions=16), and a migration.",
            )
        ]


class CudaEncoder(Encoder):
    """Says that it would run on CUDA."""

    dimensions = 16
    fingerprint = "0" * 64
    uses_cuda = True

    def vectors(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        raise AssertionError("No check encodes.")


class HungryEncoder(CudaEncoder):
    """Says that it needs packages that nobody has, and one that is here."""

    uses_cuda = False
    requires = ("numpy", "cardigan_absent")


def use(settings: Settings, encoder: type[Encoder]) -> None:
    backend = f"{encoder.__module__}.{encoder.__qualname__}"
    settings.CARDIGAN_RECO = {"ENCODERS": {"default": {"BACKEND": backend}}}


class TestWorkers:
    @pytest.fixture
    def pool(self) -> Iterator[Callable[[str], None]]:
        before = celery.app.conf.worker_pool
        yield lambda name: celery.app.conf.update(worker_pool=name)
        celery.app.conf.update(worker_pool=before)

    def test_w002_cuda_in_a_pool_that_forks(
        self, settings: Settings, pool: Callable[[str], None]
    ) -> None:
        use(settings, CudaEncoder)
        pool("prefork")
        (message,) = run()
        assert isinstance(message, checks.Warning)
        assert summary([message]) == [
            (
                "cardigan_reco.W002",
                "Encoder 'default' runs on CUDA, and Celery's worker pool is prefork: such a "
                "worker refuses to start.",
                "Start it with --pool=solo, one for each GPU, or set worker_pool = 'solo'.",
            )
        ]

    def test_w002_is_silent_with_the_solo_pool(
        self, settings: Settings, pool: Callable[[str], None]
    ) -> None:
        use(settings, CudaEncoder)
        pool("solo")
        assert run() == []

    def test_w003_packages_that_are_missing(self, settings: Settings) -> None:
        use(settings, HungryEncoder)
        (message,) = run()
        assert isinstance(message, checks.Warning)
        assert summary([message]) == [
            (
                "cardigan_reco.W003",
                "Encoder 'default' needs cardigan_absent, not installed here.",
                "pip install cardigan_absent where pictures are encoded; elsewhere silence this "
                "check.",
            )
        ]

    def test_w003_names_the_extra(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.CARDIGAN_RECO = {}
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        (message,) = check_workers(None)[:1]
        assert message.msg == (
            "Encoder 'default' needs torch, torchvision, safetensors, not installed here."
        )
        assert message.hint == (
            "pip install 'cardigan-reco[torch]' where pictures are encoded; elsewhere silence this "
            "check."
        )

    def test_e015_photos_for_workers_without_a_way_back(self, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH": {"ENCODE_IN": "worker"}}
        (message,) = run()
        assert summary([message]) == [
            (
                "cardigan_reco.E015",
                "CARDIGAN_RECO['SEARCH'] says that workers encode photos, but Celery has no result "
                "backend that could bring their answers.",
                "Set result_backend, to Redis for instance, or ENCODE_IN to 'process'.",
            )
        ]
        with celery.configured(result_backend="redis://127.0.0.1:6379/0"):
            assert run() == []

    def test_e032_results_that_keep_the_photos(self, settings: Settings) -> None:
        stored = {"result_backend": "redis://127.0.0.1:6379/0", "result_extended": True}
        with celery.configured(**stored):
            assert run() == []
            search = {"ENCODE_IN": "worker"}
            settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH": search}
            (message,) = run()
        assert isinstance(message, checks.Error)
        assert summary([message]) == [
            (
                "cardigan_reco.E032",
                "CARDIGAN_RECO['SEARCH'] says that workers encode photos, and Celery's "
                "result_extended keeps what a task is given, which is the shopper's photo.",
                "Set result_extended to False, or ENCODE_IN to 'process'.",
            )
        ]

    def test_e028_photos_for_workers_without_celery(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH": {"ENCODE_IN": "worker"}}
        monkeypatch.setattr(doorbell, "celery_is_installed", lambda: False)
        message, saved = run()
        assert saved.id == "cardigan_reco.W004"
        assert isinstance(message, checks.Error)
        assert summary([message]) == [
            (
                "cardigan_reco.E028",
                "CARDIGAN_RECO['SEARCH'] says that workers encode photos, but Celery is not "
                "installed, without which none is sent to them.",
                "pip install 'cardigan-reco[celery]', or set ENCODE_IN to 'process'.",
            )
        ]

    def test_w004_celery_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doorbell, "celery_is_installed", lambda: False)
        (message,) = run()
        assert isinstance(message, checks.Warning)
        assert summary([message]) == [
            (
                "cardigan_reco.W004",
                "Celery is not installed: saved pictures wait until encode_images runs.",
                "pip install 'cardigan-reco[celery]', or run encode_images from cron and silence "
                "this check.",
            )
        ]


Scratch = str
"""The alias of an empty database."""


def execute(statement: str, using: str = "default") -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(statement)


def open_alias(alias: str, **changes: str) -> None:
    connections.settings[alias] = {**connection.settings_dict, **changes}


def close_alias(alias: str) -> None:
    if alias in connections.settings:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]


@pytest.fixture
def scratch(transactional_db: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Scratch]:
    """A database on the real server that nobody has migrated."""
    name = f"cardigan_checks_{uuid.uuid4().hex[:8]}"
    execute(f"CREATE DATABASE {name} TEMPLATE template0")
    open_alias("scratch", NAME=name)
    with django_db_blocker.unblock():  # pytest-django knows the databases of the settings alone.
        yield "scratch"
    close_alias("scratch")
    execute(f"DROP DATABASE {name}")


@pytest.fixture
def powerless(scratch: Scratch) -> Iterator[str]:
    """The same database, for a user who may log in and nothing else."""
    role = f"cardigan_shop_{uuid.uuid4().hex[:8]}"
    execute(f"CREATE ROLE {role} LOGIN PASSWORD 'shop'", scratch)
    name = connections[scratch].settings_dict["NAME"]
    open_alias("powerless", NAME=name, USER=role, PASSWORD="shop")
    yield "powerless"
    close_alias("powerless")
    execute(f"DROP ROLE {role}")


class TestExtension:
    def test_one_that_migrate_will_create_is_no_problem(self, scratch: Scratch) -> None:
        messages = run(scratch)
        assert messages == []
        extension = database.extension(scratch)
        assert extension.installed is None  # The trial left nothing behind.
        assert extension.available is not None
        call_command("migrate", database=scratch, verbosity=0, skip_checks=False)
        assert database.extension(scratch).installed == extension.available
        assert run(scratch) == []

    def test_e020_another_kind_of_database(self, settings: Settings) -> None:
        sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        with alias("legacy", **sqlite) as legacy:
            assert run(legacy) == []  # Nothing is written there.
            settings.DATABASE_ROUTERS = [ToLegacy()]
            assert summary(run(legacy)) == [
                (
                    "cardigan_reco.E020",
                    "Database 'legacy' is SQLite; embeddings need PostgreSQL.",
                    "Use django.db.backends.postgresql, or route the embedding models elsewhere "
                    "together with their sources: both must be in one PostgreSQL.",
                )
            ]

    def test_e033_our_tables_are_kept_out(self, scratch: Scratch, settings: Settings) -> None:
        settings.DATABASE_ROUTERS = [KeepsUsOut(writes_to="default")]
        assert run(scratch) == []  # Nothing is written there.
        settings.DATABASE_ROUTERS = [KeepsUsOut(writes_to=scratch)]
        assert summary(run(scratch)) == [
            (
                "cardigan_reco.E033",
                "The routers let testapp.ProductImageEmbedding, testapp.PosterEmbedding be in "
                f"database {scratch!r}, but not what cardigan_reco itself needs beside it.",
                "Let db_for_read, db_for_write and allow_migrate say of the app 'cardigan_reco' "
                "what they say of the pictures' app, and migrate that database.",
            )
        ]

    def test_e021_a_server_without_pgvector(
        self, db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The server of the tests has it, and its files are not ours to move.
        monkeypatch.setattr(
            database, "extension", lambda using: database.Extension(None, available=None)
        )
        assert summary(run("default")) == [
            (
                "cardigan_reco.E021",
                "The server of database 'default' has no pgvector.",
                "Install it there (package postgresql-NN-pgvector, or the provider's switch).",
            )
        ]

    def test_e022_a_user_without_rights(self, powerless: str) -> None:
        assert summary(run(powerless)) == [
            (
                "cardigan_reco.E022",
                "Database 'powerless' has no extension vector, and its user may not create it.",
                "Let an administrator run CREATE EXTENSION vector; once, in this database.",
            )
        ]
        with pytest.raises(SystemCheckError, match="may not create it"):
            call_command("migrate", database=powerless, verbosity=0, skip_checks=False)

    def test_e022_goes_when_an_administrator_has_created_it(
        self, powerless: str, scratch: Scratch
    ) -> None:
        execute("CREATE EXTENSION vector", scratch)
        assert run(powerless) == []

    def test_e023_an_old_extension(self, scratch: Scratch) -> None:
        execute("CREATE EXTENSION vector", scratch)
        # The server has one version's library; this is the catalogue of a database in which
        # ALTER EXTENSION was forgotten.
        execute("UPDATE pg_extension SET extversion = '0.8.3' WHERE extname = 'vector'", scratch)
        assert summary(run(scratch)) == [
            (
                "cardigan_reco.E023",
                "Database 'scratch' has pgvector 0.8.3, whose indexes can lose rows.",
                "Install 0.8.4 or newer on the server, then run ALTER EXTENSION vector UPDATE; in "
                "this database.",
            )
        ]
        execute("ALTER EXTENSION vector UPDATE", scratch)
        assert run(scratch) == []

    @pytest.mark.parametrize(
        ("version", "ids"),
        [
            ("0.8.0", ["cardigan_reco.E023"]),
            ("0.8.4", []),
            ("0.8.10", []),
            ("0.10", []),
            ("1.0.0", []),
        ],
    )
    def test_versions_are_compared_as_numbers(
        self, scratch: Scratch, version: str, ids: list[str]
    ) -> None:
        execute("CREATE EXTENSION vector", scratch)
        execute(
            f"UPDATE pg_extension SET extversion = '{version}' WHERE extname = 'vector'", scratch
        )
        assert [message.id for message in run(scratch)] == ids

    def test_e024_a_server_that_would_install_an_old_one(
        self, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "MINIMUM", (99, 0))
        available = ".".join(map(str, database.extension(scratch).available or ()))
        assert summary(run(scratch)) == [
            (
                "cardigan_reco.E024",
                f"The server of database 'scratch' offers pgvector {available}, whose indexes can "
                "lose rows.",
                "Install 99.0 or newer on the server before migrating.",
            )
        ]


class KeepsUsOut:
    """Knows the shop's own apps, and has forgotten cardigan_reco."""

    def __init__(self, writes_to: str) -> None:
        self.writes_to = writes_to

    def db_for_write(self, model: type[models.Model], **hints: object) -> str:
        return self.writes_to

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        return app_label != "cardigan_reco"


class ToLegacy:
    """Routes everything to the database 'legacy'."""

    def db_for_write(self, model: type[models.Model], **hints: object) -> str:
        return "legacy"


@pytest.fixture
def posters(transactional_db: None) -> Iterator[None]:
    """Leaves the index of the posters as it was."""
    yield
    execute(f"DROP INDEX IF EXISTS {INDEX}")
    execute(CREATE_INDEX)


def follow(hint: str) -> None:
    """Runs the statements of a hint one by one, as psql would."""
    for statement in hint.split("; "):
        execute(statement)


@pytest.mark.usefixtures("posters")
class TestIndexes:
    def test_w005_absent(self) -> None:
        execute(f"DROP INDEX {INDEX}")
        (message,) = run("default")
        assert isinstance(message, checks.Warning)
        assert message.obj is PosterEmbedding
        assert summary([message]) == [
            (
                "cardigan_reco.W005",
                f"Index {INDEX} of testapp.PosterEmbedding is not in database 'default': each "
                "search reads the whole table.",
                f"Run migrate; if that has nothing to do: {CREATE_INDEX}",
            )
        ]
        follow(message.hint.partition(": ")[2])
        assert run("default") == []

    def test_w006_a_build_that_was_broken_off(self, django_db_blocker: DjangoDbBlocker) -> None:
        execute(f"DROP INDEX {INDEX}")
        with django_db_blocker.unblock():
            break_off_a_build()
        (message,) = run("default")
        assert isinstance(message, checks.Warning)
        assert message.obj is PosterEmbedding
        assert summary([message]) == [
            (
                "cardigan_reco.W006",
                f"Index {INDEX} of testapp.PosterEmbedding is invalid in database 'default': its "
                "build was broken off, and no search uses it.",
                f'REINDEX INDEX CONCURRENTLY "{INDEX}";',
            )
        ]
        follow(message.hint)
        assert run("default") == []

    @pytest.mark.parametrize(
        "definition",
        [
            "USING hnsw (vector halfvec_cosine_ops)",
            "USING ivfflat (vector halfvec_ip_ops) WITH (lists = 1)",
            "(encoded_at)",
        ],
    )
    def test_w007_another_operator_class_or_method(self, definition: str) -> None:
        execute(f"DROP INDEX {INDEX}")
        execute("SET client_min_messages = error")  # ivfflat warns of an empty table.
        execute(f"CREATE INDEX {INDEX} ON {TABLE} {definition}")
        execute("RESET client_min_messages")
        (message,) = run("default")
        assert isinstance(message, checks.Warning)
        assert message.obj is PosterEmbedding
        assert summary([message]) == [
            (
                "cardigan_reco.W007",
                f"Index {INDEX} of testapp.PosterEmbedding is not an HNSW index with "
                "halfvec_ip_ops in database 'default': no search uses it.",
                f'DROP INDEX CONCURRENTLY "{INDEX}"; {CREATE_INDEX}',
            )
        ]
        follow(message.hint)
        assert run("default") == []

    def test_an_index_of_that_name_on_another_table_does_not_count(self) -> None:
        execute(f"DROP INDEX {INDEX}")
        other = ProductImageEmbedding._meta.db_table
        execute(f"CREATE INDEX {INDEX} ON {other} USING hnsw (vector halfvec_ip_ops)")
        assert [message.id for message in run("default")] == ["cardigan_reco.W005"]

    def test_a_table_that_waits_for_its_migration_is_no_problem(self, scratch: Scratch) -> None:
        execute("CREATE EXTENSION vector", scratch)
        assert run(scratch) == []


def break_off_a_build() -> None:
    """Cancels a CREATE INDEX CONCURRENTLY that waits for another transaction, as an impatient
    administrator does.
    """
    open_alias("other")
    other = connections["other"]
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute(
                sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(sql.Identifier(TABLE))
            )
        execute("SET statement_timeout = '300ms'")
        with pytest.raises(OperationalError, match="statement timeout"):
            execute(CREATE_INDEX)
    finally:
        execute("RESET statement_timeout")
        other.rollback()
        close_alias("other")
