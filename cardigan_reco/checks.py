"""System checks: `manage.py check`, and with the database `check --database default`."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps.config import AppConfig
from django.core import checks
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import connections, router
from django.db.models import FileField, Model, OneToOneField

from . import collection, conf, database
from .encoders import encoders
from .exceptions import CardiganError
from .fields import OPERATOR_CLASS, EmbeddingField, EmbeddingIndex
from .models import Embedding

TAG = "cardigan_reco"
Messages = Iterator[checks.CheckMessage]


def connect() -> None:
    """Registers the checks with Django."""
    checks.register(check_settings, TAG)
    checks.register(check_models, TAG)
    checks.register(check_workers, TAG)
    checks.register(check_database, TAG, checks.Tags.database)


def check_settings(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    return list(_settings())


def _settings() -> Messages:
    problems = conf.problems()
    for problem in problems:
        yield checks.Error(problem.message, hint=problem.hint, id=f"{TAG}.{problem.code}")
    if any(problem.code != "E001" for problem in problems):
        return
    for purpose, label in conf.current().collections.items():
        try:
            collection.labelled(label)
        except LookupError as error:
            yield checks.Error(
                f"{conf.SETTING}['COLLECTIONS'][{purpose!r}]: {error.args[0]}",
                hint="Name a subclass of cardigan_reco.models.Embedding as 'app.Model'.",
                id=f"{TAG}.E003",
            )


def check_models(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    return [message for model in collection.models() for message in _model(model)]


def _model(model: type[Embedding]) -> Messages:
    structure = [*_source(model), *_vector(model)]
    yield from structure
    if not structure:
        yield from _image_field(model)
        yield from _item_field(model)
        yield from _index(model)
        yield from _encoder(model)


def _source(model: type[Embedding]) -> Messages:
    try:
        field = model._meta.get_field("source")
    except FieldDoesNotExist:
        field = None
    if not (isinstance(field, OneToOneField) and field.primary_key):
        yield checks.Error(
            f"{model._meta.label}.source is not a OneToOneField with primary_key=True.",
            hint='source = models.OneToOneField("shop.ProductImage", models.CASCADE, '
            'primary_key=True, related_name="+")',
            obj=model,
            id=f"{TAG}.E004",
        )


def _vector(model: type[Embedding]) -> Messages:
    try:
        field = model._meta.get_field("vector")
    except FieldDoesNotExist:
        field = None
    if not isinstance(field, EmbeddingField):
        yield checks.Error(
            f"{model._meta.label}.vector is not an EmbeddingField.",
            hint="vector = EmbeddingField(dimensions=512)",
            obj=model,
            id=f"{TAG}.E005",
        )


def _image_field(model: type[Embedding]) -> Messages:
    source = model.source_model()
    names = [field.name for field in source._meta.get_fields() if isinstance(field, FileField)]
    if model.image_field not in names:
        yield checks.Error(
            f"{model._meta.label}.image_field is {model.image_field!r}, which is not an image "
            f"or file field of {source._meta.label}.",
            hint=f"Choices are: {', '.join(names) or 'none'}.",
            obj=model,
            id=f"{TAG}.E006",
        )


def _item_field(model: type[Embedding]) -> Messages:
    try:
        model.item_model()
    except (FieldDoesNotExist, TypeError) as error:
        source = model.source_model()
        names = [f.name for f in source._meta.get_fields() if f.many_to_one or f.one_to_one]
        yield checks.Error(
            f"{model._meta.label}.item_field is {model.item_field!r}: {error}",
            hint=f"Name a foreign key of {source._meta.label} ({', '.join(names) or 'none'}), a "
            "path of foreign keys, or None to recommend the source itself.",
            obj=model,
            id=f"{TAG}.E007",
        )


def _index(model: type[Embedding]) -> Messages:
    own = [index for index in model._meta.indexes if isinstance(index, EmbeddingIndex)]
    if not own:
        yield checks.Warning(
            f"{model._meta.label} has no EmbeddingIndex: each search reads the whole table.",
            hint='indexes = [EmbeddingIndex(name="...", fields=["vector"])] in its Meta. An '
            "encoder that is being introduced gets its index after its vectors.",
            obj=model,
            id=f"{TAG}.W001",
        )
    for index in own:
        if list(index.opclasses) != [OPERATOR_CLASS]:
            yield checks.Error(
                f"Index {index.name} of {model._meta.label} has operator class "
                f"{', '.join(index.opclasses)}, which no search uses.",
                hint=f"Leave opclasses out; EmbeddingIndex chooses {OPERATOR_CLASS}.",
                obj=model,
                id=f"{TAG}.E008",
            )


def _encoder(model: type[Embedding]) -> Messages:
    try:
        encoder = encoders[model.encoder]
        dimensions = encoder.dimensions if encoder.describes_itself else None
    except (CardiganError, ImproperlyConfigured) as error:
        yield checks.Error(
            f"{model._meta.label}: {error}",
            hint=f"See {conf.SETTING}['ENCODERS'][{model.encoder!r}].",
            obj=model,
            id=f"{TAG}.E009",
        )
        return
    declared = model._meta.get_field("vector").dimensions  # type: ignore[union-attr]
    if dimensions is not None and declared != dimensions:
        yield checks.Error(
            f"{model._meta.label}.vector has {declared} dimensions, but encoder "
            f"{model.encoder!r} makes {dimensions}.",
            hint=f"vector = EmbeddingField(dimensions={dimensions}), and a migration.",
            obj=model,
            id=f"{TAG}.E011",
        )


def check_workers(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[checks.CheckMessage]:
    return list(_workers())


def _workers() -> Messages:
    used = {model.encoder for model in collection.models()}
    try:
        built = {alias: encoders[alias] for alias in sorted(used)}
    except (CardiganError, ImproperlyConfigured):
        return  # Reported by check_models.
    for alias, encoder in built.items():
        for package in encoder.requires:
            if importlib.util.find_spec(package) is None:
                yield checks.Warning(
                    f"Encoder {alias!r} needs {package}, which is not installed here.",
                    hint="pip install 'cardigan-reco[torch]' where pictures are encoded; "
                    "elsewhere silence this check.",
                    id=f"{TAG}.W003",
                )
    if importlib.util.find_spec("celery") is None:
        yield checks.Warning(
            "Celery is not installed: saved pictures wait until encode_images runs.",
            hint="pip install 'cardigan-reco[celery]', or run encode_images from cron and "
            "silence this check.",
            id=f"{TAG}.W004",
        )
        return
    on_cuda = [alias for alias, encoder in built.items() if encoder.uses_cuda]
    if on_cuda and _pool() == "prefork":
        yield checks.Warning(
            f"Encoder {on_cuda[0]!r} runs on CUDA, and Celery's worker pool is prefork: such a "
            "worker refuses to start.",
            hint="Start it with --pool=solo, one for each GPU, or set worker_pool = 'solo'.",
            id=f"{TAG}.W002",
        )


def _pool() -> str:
    from celery import current_app

    return str(current_app.conf.worker_pool)


def check_database(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    messages = []
    for using in databases or []:
        here = [m for m in collection.models() if router.allow_migrate_model(using, m)]
        if here:
            messages += [*_server(using), *_indexes(here, using)]
    return messages


def _server(using: str) -> Messages:
    if connections[using].vendor != "postgresql":
        yield checks.Error(
            f"Database {using!r} is {connections[using].display_name}; embeddings need PostgreSQL.",
            hint="Use django.db.backends.postgresql, or route the embedding models elsewhere.",
            id=f"{TAG}.E020",
        )
        return
    extension = database.extension(using)
    if extension.installed is None:
        if extension.available is None:
            yield checks.Error(
                f"The server of database {using!r} has no pgvector.",
                hint="Install it there (package postgresql-NN-pgvector, or the provider's switch).",
                id=f"{TAG}.E021",
            )
        elif not extension.may_create:
            yield checks.Error(
                f"Database {using!r} has no extension vector, and its user may not create it.",
                hint="Let an administrator run CREATE EXTENSION vector; once, in this database.",
                id=f"{TAG}.E022",
            )
    elif extension.installed < database.MINIMUM:
        installed = ".".join(map(str, extension.installed))
        yield checks.Error(
            f"Database {using!r} has pgvector {installed}, whose indexes can lose rows.",
            hint="Install 0.8.4 or newer on the server, then ALTER EXTENSION vector UPDATE.",
            id=f"{TAG}.E023",
        )


def _indexes(models: Sequence[type[Model]], using: str) -> Messages:
    if connections[using].vendor != "postgresql":
        return
    for model in models:
        for index in [i for i in model._meta.indexes if isinstance(i, EmbeddingIndex)]:
            state = database.index_state(model._meta.db_table, index.name, using)
            if state is database.IndexState.INVALID:
                yield checks.Error(
                    f"Index {index.name} of {model._meta.label} is invalid: its build was broken "
                    "off, and no search uses it.",
                    hint=f"DROP INDEX CONCURRENTLY {index.name}; then build it again.",
                    obj=model,
                    id=f"{TAG}.E024",
                )
            elif state is database.IndexState.ABSENT:
                yield checks.Warning(
                    f"Index {index.name} of {model._meta.label} is not in database {using!r}: "
                    "each search reads the whole table.",
                    hint="Run migrate, or build it by hand as the migration would.",
                    obj=model,
                    id=f"{TAG}.W005",
                )
            elif state is database.IndexState.OTHER_OPERATOR:
                yield checks.Error(
                    f"Index {index.name} of {model._meta.label} is not an HNSW index with "
                    f"{OPERATOR_CLASS} in database {using!r}: no search uses it.",
                    hint="Drop it, and build it as the migration would.",
                    obj=model,
                    id=f"{TAG}.E025",
                )
