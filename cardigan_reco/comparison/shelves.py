"""The shelves of one item, each filled by one encoder."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db.models import F, Model

from cardigan_reco.models import Embedding
from cardigan_reco.querysets import EmbeddingQuerySet

from .tables import Tables


class Shelf(NamedTuple):
    """What one table recommends for an item."""

    embedding: type[Embedding]
    versions: tuple[str, ...]
    """The states of the encoder that the item's own pictures are of, as votes hold them: one, or
    none where it isn't encoded yet, or two while the table is being encoded anew.
    """
    items: list[Any]
    """Most similar first, as recommendations.similar_to() returns them."""


class Comparison(NamedTuple):
    """Both shelves of an item."""

    item: Any
    old: Shelf
    new: Shelf

    @property
    def common(self) -> set[Any]:
        """The primary keys of the items that stand on both."""
        return {item.pk for item in self.old.items} & {item.pk for item in self.new.items}

    @property
    def versions(self) -> tuple[str, str] | None:
        """The old and the new encoder, where each shelf is of one, and these differ; else None:
        a vote would say nothing of an encoder.
        """
        return _pair(self.old.versions, self.new.versions)


def compare(item: Model, tables: Tables, *, limit: int = 8) -> Comparison:
    """Returns both shelves of up to `limit` items around `item`, in the way that a shop shows them.

    Raises what `recommendations.similar_to()` does.
    """
    return Comparison(item, _shelf(item, tables.old, limit), _shelf(item, tables.new, limit))


def versions(item: Model, tables: Tables) -> tuple[str, str] | None:
    """Returns what `Comparison.versions` would be, without filling the shelves."""
    return _pair(versions_of(item, tables.old), versions_of(item, tables.new))


def _pair(old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, str] | None:
    if len(old) == len(new) == 1 and old != new:
        return old[0], new[0]
    return None


def _shelf(item: Model, embedding: type[Embedding], limit: int) -> Shelf:
    # Every process imports the admin, and with it this module; few search.
    from cardigan_reco import recommendations

    items = recommendations.similar_to(item, limit=limit, collection=embedding._meta.label)
    return Shelf(embedding, versions_of(item, embedding), items)


def versions_of(item: Model, embedding: type[Embedding]) -> tuple[str, ...]:
    """Returns the versions of the item's pictures, as votes hold them, in order."""
    rows = EmbeddingQuerySet(embedding, using=embedding.candidates().db)
    own = rows.filter(**{embedding.item_path(): embedding.pictured_item(item).pk})
    found = own.values_list(F("encoder_version__encoder"), F("encoder_version__fingerprint"))
    return tuple(sorted(f"{encoder} {fingerprint}" for encoder, fingerprint in found.distinct()))
