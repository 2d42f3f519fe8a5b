"""Fixtures: pictures whose likeness is obvious, and a product with pictures."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.apps import apps
from django.core.files.base import ContentFile
from django.db import connection, models
from django.db.models.signals import post_init, post_save, pre_delete, pre_save
from PIL import Image
from pytest_django import Settings

from cardigan_reco import collection, encoding, estimates, signals
from cardigan_reco.models import Embedding
from cardigan_reco.summary import Summary
from tests import celery  # noqa: F401  The app of the tests, before any task is sent.
from tests.order import put_longest_first
from tests.processes import RabbitServer, RedisServer
from tests.testapp.catalogue.models import Product, ProductImage
from tests.workers import StartWorker, workers

Colour = tuple[int, int, int]
RED, ORANGE, GREEN, BLUE = (220, 30, 30), (230, 110, 30), (30, 180, 60), (30, 60, 220)


def jpeg(colour: Colour = RED, side: int = 64) -> bytes:
    """Returns a JPEG of one colour with a darker bar."""
    picture = Image.new("RGB", (side, side), colour)
    picture.paste(tuple(value // 2 for value in colour), (0, 0, side // 4, side))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=95)
    return data.getvalue()


@pytest.hookimpl(trylast=True)  # pytest-django has an order too.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    put_longest_first(items)


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    return tmp_path / "media"


@pytest.fixture(autouse=True)
def fresh_estimates() -> None:
    """What the planner said of another test's table may hold for some seconds."""
    estimates.forget()


Declare = Callable[..., None]


@pytest.fixture
def declare(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Declare]:
    """Returns a function that gives models their tables and hooks, as if they were the shop's."""
    declared: list[type[models.Model]] = []

    def create(*classes: type[models.Model]) -> None:
        declared.extend(classes)
        with connection.schema_editor() as editor:
            for model in classes:
                if not model._meta.proxy:
                    editor.create_model(model)
        embeddings = tuple(model for model in classes if issubclass(model, Embedding))
        monkeypatch.setattr(collection, "models", lambda: embeddings)
        collection.steps_through.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(apps, "get_models", lambda: classes)
            signals.connect()

    yield create
    collection.steps_through.cache_clear()
    for model in declared:
        pre_save.disconnect(sender=model, dispatch_uid="cardigan_reco.saving")
        post_save.disconnect(sender=model, dispatch_uid="cardigan_reco.saved")
        pre_delete.disconnect(sender=model, dispatch_uid="cardigan_reco.deleted")
    with connection.schema_editor() as editor:
        for model in reversed(declared):
            if not model._meta.proxy:
                editor.delete_model(model)


AddProduct = Callable[..., Product]


@pytest.fixture
def add_product() -> AddProduct:
    """Returns a function that saves a product with a picture of each colour."""

    def add(title: str, *colours: Colour, **fields: object) -> Product:
        product = Product.objects.create(title=title, **fields)
        for order, colour in enumerate(colours):
            add_image(product, colour, order)
        return product

    return add


def add_image(product: Product, colour: Colour, order: int = 0) -> ProductImage:
    file = ContentFile(jpeg(colour), name=f"{product.pk}-{order}.jpg")
    return ProductImage.objects.create(product=product, original=file, display_order=order)


@contextmanager
def unmeasured() -> Iterator[None]:
    """Lets pictures keep a width, and none has one yet: a row that is loaded opens its file."""
    field = ProductImage._meta.get_field("original")
    ProductImage.objects.update(display_order=0)
    field.width_field = "display_order"
    post_init.connect(field.update_dimension_fields, sender=ProductImage)
    try:
        yield
    finally:
        post_init.disconnect(field.update_dimension_fields, sender=ProductImage)
        field.width_field = None


def encode_all(using: str = "default") -> Summary:
    """Encodes all that waits, in this process; returns what became of it."""
    summary = Summary()
    for embedding in collection.models():
        for done in encoding.drain(embedding, using=using):
            summary += done
    return summary


def need(program: str) -> str:
    """Returns where a program is; without it the test skips, or fails in CI."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
    if (found := shutil.which(program, path=path)) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{program} is not on the PATH, and CI needs it.")
        pytest.skip(f"{program} is not on the PATH.")
    return found


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    need("redis-server")
    server = RedisServer(tmp_path / "redis.log")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    need("rabbitmq-server")
    server = RabbitServer(tmp_path_factory.mktemp("rabbitmq"))
    yield server
    server.stop()


@pytest.fixture
def rabbit(rabbitmq: RabbitServer) -> RabbitServer:
    """A RabbitMQ whose queues are empty."""
    rabbitmq.reset()
    return rabbitmq


@pytest.fixture
def start_worker(transactional_db: None, tmp_path: Path) -> Iterator[StartWorker]:
    with workers(tmp_path) as start:
        yield start


@pytest.fixture
def silent_doorbell(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Records wake-ups in place of sending them: the test is about when they are due."""
    from cardigan_reco import doorbell

    rung: list[str] = []
    monkeypatch.setattr(doorbell, "ring", rung.append)
    return rung
