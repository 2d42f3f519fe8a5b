"""Collections: the embedding models of the shop, found by purpose, label or source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import connections, router
from django.db.models import Field, Model

from . import conf
from .models import Embedding
from .models.paths import fields_along


@cache
def models() -> tuple[type[Embedding], ...]:
    """Returns every embedding model that the shop declares."""
    return tuple(model for model in apps.get_models() if issubclass(model, Embedding))


def models_in(using: str) -> tuple[type[Embedding], ...]:
    """Returns those embedding models whose tables are in that database, or should be.

    What the routers say isn't enough: a replica isn't migrated, and has them.
    """
    tables = connections[using].introspection.table_names()
    return tuple(
        model
        for model in models()
        if model._meta.db_table in tables or router.allow_migrate_model(using, model)
    )


def written_to(embedding: type[Embedding]) -> str:
    """Returns the database that the shop's routers let its vectors be written to."""
    return router.db_for_write(embedding)


def databases() -> list[str]:
    """Returns the databases that the shop's vectors are written to, in order."""
    return sorted({written_to(model) for model in models()})


@dataclass(frozen=True)
class Step:
    """A model on the way from an embedding's source to the picture."""

    embedding: type[Embedding]
    to_here: str
    """Lookup from the source to its row; "": it is the source itself."""
    field: Field[Any, Any]
    """Of its rows, leads on: a foreign key, or at last the picture."""

    @property
    def is_last(self) -> bool:
        return not self.field.is_relation


@cache
def steps_through(model: type[Model]) -> tuple[Step, ...]:
    """Returns the steps of all embedding models that rows of `model`, or of a parent of it, are.

    A source that is a proxy may be saved as its concrete model, too.
    """
    return tuple(
        step
        for embedding in models()
        for at, step in _steps(embedding)
        if at._meta.concrete_model in model.__mro__
    )


def _steps(embedding: type[Embedding]) -> Iterator[tuple[type[Model], Step]]:
    names: list[str] = []
    # A path that leads nowhere, or a source that is no relation: the system checks say so, and must
    # be reached for that.
    with suppress(FieldDoesNotExist, TypeError):
        for at, field in fields_along(embedding.source_model(), embedding.image_field):
            yield at, Step(embedding, "__".join(names), field)
            names.append(field.name)


def labelled(label: str) -> type[Embedding]:
    """Returns the embedding model with the label "app.Model"; raises LookupError."""
    for model in models():
        if model._meta.label_lower == label.lower():
            return model
    choices = ", ".join(model._meta.label for model in models()) or "none"
    raise LookupError(f"{label!r} is not an embedding model. Choices are: {choices}.")


def serving(purpose: str) -> type[Embedding]:
    """Returns the embedding model that CARDIGAN_RECO["COLLECTIONS"] names for `purpose`.

    Raises LookupError for a purpose that is not there.
    """
    collections = conf.current().collections
    if purpose not in collections:
        choices = ", ".join(collections) or "none"
        raise LookupError(
            f"Collection {purpose!r} is not defined in CARDIGAN_RECO['COLLECTIONS']. "
            f"Choices are: {choices}."
        )
    return labelled(collections[purpose])


def named(name: str) -> type[Embedding]:
    """Returns the embedding model of a label, "app.Model", or else of a purpose.

    Raises LookupError, and TypeError for the model itself.
    """
    if not isinstance(name, str):
        raise TypeError(f'collection must be a purpose or a label, "app.Model", got {name!r}.')
    return labelled(name) if "." in name else serving(name)
