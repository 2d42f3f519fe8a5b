"""Feeds: which tables and columns the pictures of a collection come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Model

from cardigan_reco.exceptions import CaptureError
from cardigan_reco.models import Embedding
from cardigan_reco.models.paths import fields_along

EXACT_KEYS = {
    "AutoField",
    "BigAutoField",
    "BigIntegerField",
    "CharField",
    "DateField",
    "DecimalField",
    "IntegerField",
    "PositiveBigIntegerField",
    "PositiveIntegerField",
    "PositiveSmallIntegerField",
    "SlugField",
    "SmallAutoField",
    "SmallIntegerField",
    "TextField",
    "UUIDField",
}
"""Types of keys that PostgreSQL writes as Python does."""


@dataclass(frozen=True)
class Link:
    """How a row finds the row of its parent model, or the one that a foreign key leads to."""

    column: str
    next_column: str
    may_change: bool
    """Whether it is a foreign key, which may be empty as well."""


@dataclass(frozen=True)
class Feed:
    """The model whose rows a collection embeds, and the path to their pictures."""

    collection: str
    """Label of the embedding model, in lower case."""
    source: type[Model]
    image_field: str

    @classmethod
    def of(cls, embedding: type[Embedding]) -> Feed:
        return cls(embedding._meta.label_lower, embedding.source_model(), embedding.image_field)

    def tables(self) -> list[str]:
        """Returns the tables from the source's to the one with the pictures: those of parent
        models, and what foreign keys lead to.
        """
        return [model._meta.db_table for model, _link in self._lineage()]

    def links(self) -> list[Link]:
        """Returns how each of the tables leads to the next."""
        return [link for _model, link in self._lineage() if link is not None]

    def changing(self) -> list[int]:
        """Returns the places of the tables in which a row may be given another picture."""
        keys = [place for place, link in enumerate(self.links()) if link.may_change]
        return [*keys, len(self.links())]

    def key_column(self) -> str:
        return str(self.source._meta.pk.column)

    def needed_columns(self) -> list[tuple[int, str]]:
        """Returns what a shop's migration may take away, by the place of its table: the picture's
        column, and those of foreign keys on the way.
        """
        keys = [(at, link.column) for at, link in enumerate(self.links()) if link.may_change]
        return [*keys, (len(self.links()), self.image_column())]

    def image_column(self) -> str:
        return str(self._path()[-1].column)

    def require_exact_key(self) -> None:
        """Raises CaptureError where Python and PostgreSQL write the primary key differently."""
        key: Any = self.source._meta.pk
        while key.remote_field:
            key = key.target_field
        if key.get_internal_type() not in EXACT_KEYS:
            raise CaptureError(
                f"{self.source._meta.label} has a {type(key).__name__} as its primary key, which "
                "PostgreSQL and Python write differently, so that triggers would mark each "
                "picture a second time. Leave CAPTURE at 'signals', and run sweeps."
            )

    def _path(self) -> list[Any]:
        """Returns the foreign keys on the way, and the field with the pictures."""
        return [field for _model, field in fields_along(self.source, self.image_field)]

    def _lineage(self) -> list[tuple[type[Model], Link | None]]:
        *keys, picture = self._path()
        model: Any = self.source._meta.concrete_model
        lineage: list[tuple[type[Model], Link | None]] = []
        for key in keys:
            lineage += _ancestors(model, key.model)
            link = Link(key.column, key.target_field.column, may_change=True)
            lineage.append((key.model._meta.concrete_model, link))
            model = key.related_model._meta.concrete_model
        lineage += _ancestors(model, picture.model)
        return [*lineage, (picture.model._meta.concrete_model, None)]


def _ancestors(model: Any, owner: Any) -> Iterator[tuple[type[Model], Link]]:
    """Yields a model and its parents below `owner`, each with what leads to the next."""
    owner = owner._meta.concrete_model
    while model is not owner:
        parent, field = next(
            (parent, field)
            for parent, field in model._meta.parents.items()
            if field is not None and field.model is model and issubclass(parent, owner)
        )
        yield model, Link(field.column, field.target_field.column, may_change=False)
        model = parent._meta.concrete_model
