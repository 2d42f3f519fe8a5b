"""Which two tables are compared: embedding models that recommend the same items."""

from __future__ import annotations

from typing import NamedTuple

from django.db import ProgrammingError, router, transaction
from django.db.models import Model

from cardigan_reco import collection, conf
from cardigan_reco.models import Embedding


class Tables(NamedTuple):
    """Two embedding models of the same items: what serves now, and what may follow."""

    old: type[Embedding]
    new: type[Embedding]

    @property
    def old_label(self) -> str:
        return self.old._meta.label

    @property
    def new_label(self) -> str:
        return self.new._meta.label

    @property
    def items(self) -> type[Model]:
        return self.old.item_model()


def chosen(old: str, new: str) -> Tables:
    """Returns the tables of two labels.

    Raises LookupError for a label that is none, and ValueError for two that can't be compared.
    """
    tables = Tables(collection.labelled(old), collection.labelled(new))
    if tables.old is tables.new:
        raise ValueError(f"{tables.old._meta.label} can't be compared with itself.")
    if tables.old.item_model() is not tables.new.item_model():
        raise ValueError(
            f"{tables.old._meta.label} recommends {tables.old.item_model()._meta.label} objects, "
            f"{tables.new._meta.label} recommends {tables.new.item_model()._meta.label} objects."
        )
    return tables


def default() -> Tables | None:
    """Returns what serves a purpose and another table of its items with vectors; None: there is no
    such pair.

    Of several others, one that serves nothing yet is taken, and the one declared last.
    """
    purposes = {label.lower() for label in conf.current().collections.values()}
    serving = [model for model in collection.models() if model._meta.label_lower in purposes]
    others = [model for model in collection.models() if model not in serving]
    for old in serving:
        for new in [*reversed(others), *serving]:
            if new is not old and new.item_model() is old.item_model() and _has_rows(new):
                return Tables(old, new)
    return None


def tables_of(items: type[Model]) -> list[type[Embedding]]:
    """Returns the embedding models that recommend these items."""
    return [model for model in collection.models() if model.item_model() is items]


def _has_rows(model: type[Embedding]) -> bool:
    try:
        with transaction.atomic(using=router.db_for_read(model)):
            return bool(model._base_manager.exists())
    except ProgrammingError:  # Its migration hasn't run yet.
        return False
