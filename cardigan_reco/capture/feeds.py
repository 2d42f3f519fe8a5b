"""Feeds: which tables and columns the pictures of a collection come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Model

from cardigan_reco.exceptions import CaptureError
from cardigan_reco.models import Embedding

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
    """How a row finds the row of its parent model."""

    column: str
    parent_column: str


@dataclass(frozen=True)
class Feed:
    """The model whose rows a collection embeds, and the field with their pictures."""

    collection: str
    """Label of the embedding model, in lower case."""
    source: type[Model]
    image_field: str

    @classmethod
    def of(cls, embedding: type[Embedding]) -> Feed:
        return cls(embedding._meta.label_lower, embedding.source_model(), embedding.image_field)

    def tables(self) -> list[str]:
        """Returns the source's table, and those of its parents up to the one with the pictures."""
        return [model._meta.db_table for model, _link in self._lineage()]

    def links(self) -> list[Link]:
        """Returns how each of the tables leads to the next."""
        return [link for _model, link in self._lineage() if link is not None]

    def key_column(self) -> str:
        return str(self.source._meta.pk.column)

    def image_column(self) -> str:
        return str(self._picture().column)

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

    def _picture(self) -> Any:
        return self.source._meta.get_field(self.image_field)

    def _lineage(self) -> list[tuple[type[Model], Link | None]]:
        owner = self._picture().model._meta.concrete_model
        model: Any = self.source._meta.concrete_model
        lineage: list[tuple[type[Model], Link | None]] = []
        while model is not owner:
            parent, field = next(
                (parent, field)
                for parent, field in model._meta.parents.items()
                if field is not None and field.model is model and issubclass(parent, owner)
            )
            lineage.append((model, Link(field.column, field.target_field.column)))
            model = parent._meta.concrete_model
        return [*lineage, (model, None)]
