"""Paths from a model through foreign keys, such as "image__file"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field, Model


def fields_along(model: type[Model], path: str) -> Iterator[tuple[type[Model], Field[Any, Any]]]:
    """Yields each model on the way, and its field by which the path goes on.

    Raises FieldDoesNotExist where it comes by a name that the model there doesn't have, or goes on
    behind what leads to no model, such as a text or a GenericForeignKey.
    """
    at: Any = model
    for name in path.split("__"):
        if not hasattr(at, "_meta"):
            raise FieldDoesNotExist(f"{path!r} of {model._meta.label} leads to no {name!r}")
        field = at._meta.get_field(name)
        yield at, field
        at = field.related_model
