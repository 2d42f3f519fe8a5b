"""Checks of the PostgreSQL server: its kind, pgvector, and the indexes as they were built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import connections, router
from django.db.models import Model

from cardigan_reco import database
from cardigan_reco.fields import OPERATOR_CLASS, EmbeddingIndex
from cardigan_reco.models import EncoderVersion

from .models import declared_indexes, models_of
from .settings import TAG, AppConfigs, Messages


def check_database(
    app_configs: AppConfigs, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    messages: list[checks.CheckMessage] = []
    for using in databases or []:
        here = [m for m in models_of(app_configs) if router.allow_migrate_model(using, m)]
        if not here:
            continue
        if connections[using].vendor == "postgresql":
            messages += [
                *_extension(using),
                *_own_tables(here, using),
                *_built_indexes(here, using),
            ]
        elif any(router.db_for_write(model) == using for model in here):
            messages += _vendor(using)
    return messages


def _vendor(using: str) -> Messages:
    yield checks.Error(
        f"Database {using!r} is {connections[using].display_name}; embeddings need PostgreSQL.",
        hint="Use django.db.backends.postgresql, or route the embedding models elsewhere together "
        "with their sources: both must be in one PostgreSQL.",
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


def _own_tables(models: Sequence[type[Model]], using: str) -> Messages:
    """Without them, migrate ends at the first table of vectors, with a type that isn't there."""
    written = [model for model in models if router.db_for_write(model) == using]
    if written and not router.allow_migrate_model(using, EncoderVersion):
        labels = ", ".join(model._meta.label for model in written)
        yield checks.Error(
            f"The routers let {labels} be in database {using!r}, but not what cardigan_reco itself "
            "needs beside it.",
            hint="Let db_for_read, db_for_write and allow_migrate say of the app 'cardigan_reco' "
            "what they say of the pictures' app, and migrate that database.",
            id=f"{TAG}.E033",
        )


def _text(version: database.Version) -> str:
    return ".".join(map(str, version))


def _built_indexes(models: Sequence[type[Model]], using: str) -> Messages:
    """Warnings, not errors: an error would keep migrate from mending the index."""
    for model in models:
        for index in declared_indexes(model):
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
