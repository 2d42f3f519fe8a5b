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

from . import collection, conf, database, doorbell
from .encoders import encoders
from .encoders.base import Encoder
from .exceptions import CardiganError
from .fields import OPERATOR_CLASS, EmbeddingField, EmbeddingIndex
from .models import Embedding

TAG = "cardigan_reco"
EXTRAS = {"torch": "torch", "torchvision": "torch", "safetensors": "torch"}
"""Package -> the extra of ours that installs it."""
Messages = Iterator[checks.CheckMessage]
AppConfigs = Sequence[AppConfig] | None


def connect() -> None:
    """Registers the checks with Django."""
    checks.register(check_settings, TAG)
    checks.register(check_models, TAG)
    checks.register(check_workers, TAG)
    checks.register(check_database, TAG, checks.Tags.database)


def check_settings(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    return list(_settings())


def _settings() -> Messages:
    for problem in conf.problems():
        yield checks.Error(problem.message, hint=problem.hint, id=f"{TAG}.{problem.code}")
    if _unusable():
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


def _unusable() -> bool:
    return any(problem.is_fatal for problem in conf.problems())


def check_models(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    return [message for model in _models(app_configs) for message in _model(model)]


def _models(app_configs: AppConfigs) -> list[type[Embedding]]:
    return [
        model
        for model in collection.models()
        if app_configs is None or model._meta.app_config in app_configs
    ]


def _model(model: type[Embedding]) -> Messages:
    structure = [*_source(model), *_vector(model)]
    yield from structure
    if not structure and _is_resolved(model):
        yield from _image_field(model)
        yield from _item_field(model)
        yield from _index(model)
        yield from _encoder(model)


def _source(model: type[Embedding]) -> Messages:
    field = _field(model, "source")
    if not (isinstance(field, OneToOneField) and field.primary_key):
        yield checks.Error(
            f"{model._meta.label}.source is not a OneToOneField with primary_key=True.",
            hint='source = models.OneToOneField("shop.ProductImage", models.CASCADE, '
            'primary_key=True, related_name="+")',
            obj=model,
            id=f"{TAG}.E004",
        )


def _vector(model: type[Embedding]) -> Messages:
    field = _field(model, "vector")
    if not isinstance(field, EmbeddingField):
        yield checks.Error(
            f"{model._meta.label}.vector is not an EmbeddingField.",
            hint="vector = EmbeddingField(dimensions=512)",
            obj=model,
            id=f"{TAG}.E005",
        )


def _is_resolved(model: type[Embedding]) -> bool:
    """Whether the source's model exists; Django itself reports one that doesn't."""
    field = _field(model, "source")
    return field is not None and isinstance(field.related_model, type)


def _field(model: type[Model], name: str) -> Any:
    """Returns the field of that name or None."""
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist:
        return None


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
    at = model.source_model()
    for name in model.item_field.split("__") if model.item_field else []:
        keys = {
            field.name: field.related_model
            for field in at._meta.get_fields()
            if (field.many_to_one or (field.one_to_one and field.concrete))
        }
        related = keys.get(name)
        if not isinstance(related, type):
            yield checks.Error(
                f"{model._meta.label}.item_field is {model.item_field!r}, but {name!r} is not a "
                f"foreign key of {at._meta.label}.",
                hint=f"Choices are: {', '.join(keys) or 'none'}; several are joined by '__'. None "
                "recommends the source itself.",
                obj=model,
                id=f"{TAG}.E007",
            )
            return
        at = related


def _index(model: type[Embedding]) -> Messages:
    own = _declared_indexes(model)
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


def _declared_indexes(model: type[Model]) -> list[EmbeddingIndex]:
    return [index for index in model._meta.indexes if isinstance(index, EmbeddingIndex)]


def _encoder(model: type[Embedding]) -> Messages:
    if _unusable():
        return
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
    declared = _field(model, "vector").dimensions
    if dimensions is not None and declared != dimensions:
        yield checks.Error(
            f"{model._meta.label}.vector has {declared} dimensions, but encoder "
            f"{model.encoder!r} makes {dimensions}.",
            hint=f"vector = EmbeddingField(dimensions={dimensions}), and a migration.",
            obj=model,
            id=f"{TAG}.E011",
        )


def check_workers(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    return list(_workers(app_configs))


def _workers(app_configs: AppConfigs) -> Messages:
    used = sorted({model.encoder for model in _models(app_configs)})
    try:
        built = {alias: encoders[alias] for alias in used}
    except (CardiganError, ImproperlyConfigured):
        return  # Reported by check_settings or check_models.
    for alias, encoder in built.items():
        yield from _packages(alias, encoder)
    if not doorbell.celery_is_installed():
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


def _packages(alias: str, encoder: Encoder) -> Messages:
    missing = [name for name in encoder.requires if importlib.util.find_spec(name) is None]
    if missing:
        wanted = sorted({_installable(name) for name in missing})
        yield checks.Warning(
            f"Encoder {alias!r} needs {', '.join(missing)}, not installed here.",
            hint=f"pip install {' '.join(wanted)} where pictures are encoded; elsewhere silence "
            "this check.",
            id=f"{TAG}.W003",
        )


def _installable(package: str) -> str:
    return f"'cardigan-reco[{EXTRAS[package]}]'" if package in EXTRAS else package


def _pool() -> str:
    from celery import current_app

    return str(current_app.conf.worker_pool)


def check_database(
    app_configs: AppConfigs, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    messages: list[checks.CheckMessage] = []
    for using in databases or []:
        here = [m for m in _models(app_configs) if router.allow_migrate_model(using, m)]
        if not here:
            continue
        if connections[using].vendor == "postgresql":
            messages += [*_extension(using), *_built_indexes(here, using)]
        elif any(router.db_for_write(model) == using for model in here):
            messages += _vendor(using)
    return messages


def _vendor(using: str) -> Messages:
    yield checks.Error(
        f"Database {using!r} is {connections[using].display_name}; embeddings need PostgreSQL.",
        hint="Use django.db.backends.postgresql, or route the embedding models elsewhere.",
        id=f"{TAG}.E020",
    )


def _extension(using: str) -> Messages:
    """Django runs this before it migrates: an extension that migrate will create is no error."""
    extension = database.extension(using)
    if extension.installed is not None:
        if extension.installed < database.MINIMUM:
            yield checks.Error(
                f"Database {using!r} has pgvector {_text(extension.installed)}, whose indexes can "
                "lose rows.",
                hint=f"Install {_text(database.MINIMUM)} or newer on the server, then run ALTER "
                "EXTENSION vector UPDATE; in this database.",
                id=f"{TAG}.E023",
            )
    elif extension.available is None:
        yield checks.Error(
            f"The server of database {using!r} has no pgvector.",
            hint="Install it there (package postgresql-NN-pgvector, or the provider's switch).",
            id=f"{TAG}.E021",
        )
    elif extension.available < database.MINIMUM:
        yield checks.Error(
            f"The server of database {using!r} offers pgvector {_text(extension.available)}, whose "
            "indexes can lose rows.",
            hint=f"Install {_text(database.MINIMUM)} or newer on the server before migrating.",
            id=f"{TAG}.E024",
        )
    elif not database.may_create_extension(using):
        yield checks.Error(
            f"Database {using!r} has no extension vector, and its user may not create it.",
            hint="Let an administrator run CREATE EXTENSION vector; once, in this database.",
            id=f"{TAG}.E022",
        )


def _text(version: database.Version) -> str:
    return ".".join(map(str, version))


def _built_indexes(models: Sequence[type[Model]], using: str) -> Messages:
    """Warnings, not errors: an error would keep migrate from mending the index."""
    for model in models:
        for index in _declared_indexes(model):
            name = f"Index {index.name} of {model._meta.label}"
            match database.index_state(model._meta.db_table, index.name, using):
                case database.IndexState.ABSENT:
                    yield checks.Warning(
                        f"{name} is not in database {using!r}: each search reads the whole table.",
                        hint=f"Run migrate; if that has nothing to do: {_sql(index, model, using)}",
                        obj=model,
                        id=f"{TAG}.W005",
                    )
                case database.IndexState.INVALID:
                    yield checks.Warning(
                        f"{name} is invalid in database {using!r}: its build was broken off, and "
                        "no search uses it.",
                        hint=f"REINDEX INDEX CONCURRENTLY {_quoted(index, using)};",
                        obj=model,
                        id=f"{TAG}.W006",
                    )
                case database.IndexState.OTHER_OPERATOR:
                    yield checks.Warning(
                        f"{name} is not an HNSW index with {OPERATOR_CLASS} in database "
                        f"{using!r}: no search uses it.",
                        hint=f"DROP INDEX CONCURRENTLY {_quoted(index, using)}; "
                        f"{_sql(index, model, using)}",
                        obj=model,
                        id=f"{TAG}.W007",
                    )


def _quoted(index: EmbeddingIndex, using: str) -> str:
    return connections[using].ops.quote_name(index.name)


def _sql(index: EmbeddingIndex, model: type[Model], using: str) -> str:
    editor = connections[using].schema_editor(collect_sql=True)
    return f"{index.create_sql(model, editor, concurrently=True)};"
