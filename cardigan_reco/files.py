"""Files: the pictures of sources, found without loading a row.

A row whose ImageField keeps a size that isn't known opens its file while it is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models.fields.files import FieldFile

from .models import Embedding


def names(
    embedding: type[Embedding], source_pks: Iterable[Any], *, using: str
) -> dict[Any, str | None]:
    """Returns the name of each source's file, by the primary keys of those that are there."""
    rows = embedding.source_model()._base_manager.using(using).filter(pk__in=list(source_pks))
    return dict(rows.order_by().values_list("pk", embedding.image_field))


def named(embedding: type[Embedding], name: str) -> FieldFile:
    """Returns a file of the storage that the sources have theirs in; it isn't opened yet.

    Fields that choose a storage by their row, as django-filer's do, are given a blank one.
    """
    field: Any = embedding.picture_field()
    file: FieldFile = field.attr_class(field.model(), field, name)
    return file
