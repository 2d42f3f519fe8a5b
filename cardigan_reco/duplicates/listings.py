"""How a shop's listings are read, compared and merged: what a shop subclasses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db.models import Model, QuerySet
from django.utils.module_loading import import_string

from cardigan_reco import collection, conf
from cardigan_reco.models import Embedding


def current() -> Listings | None:
    """Returns the listings that CARDIGAN_RECO["DUPLICATES"] names; None where it is not set.

    Raises LookupError for an unknown collection, and ImportError for a path that leads nowhere.
    """
    settings = conf.current().duplicate_listings
    if settings is None:
        return None
    listings: Listings = import_string(settings.listings)(collection.serving(settings.collection))
    return listings


def collection_of(embedding: type[Embedding]) -> str:
    """Returns the name that pairs, groups and checks of the embedding's pictures are stored by.

    It is that of the pictures, such as "catalogue.productimage.original", and not that of the table
    of their vectors: verdicts outlive an encoder.
    """
    return f"{embedding.source_model()._meta.label_lower}.{embedding.image_field}"


def embedding_of(name: str) -> type[Embedding]:
    """Returns a table of vectors of the pictures of that name: where one serves, that.

    Raises LookupError when there is none, such as after its model was deleted.
    """
    serving = [collection.serving(purpose) for purpose in conf.current().collections]
    for embedding in [*serving, *collection.models()]:
        if collection_of(embedding) == name:
            return embedding
    raise LookupError(f"No embedding model is of the pictures {name!r} any more.")


class Listings:
    """The shop's side of the report of duplicates; every part of it is optional.

    The fields are lookups from an item, such as "name" or "category__name".
    """

    title_field: ClassVar[str | None] = None
    brand_field: ClassVar[str | None] = None
    price_field: ClassVar[str | None] = None
    sku_field: ClassVar[str | None] = None
    category_field: ClassVar[str | None] = None
    """Filters the report."""
    tenant_field: ClassVar[str | None] = None
    """Listings of different tenants are never compared."""
    parent_field: ClassVar[str | None] = None
    """Listings of one parent are variants, and never compared, with each other or with it."""
    shown_fields: ClassVar[Sequence[str]] = ()
    """What the report shows of a listing beside its pictures, differences highlighted."""

    def __init__(self, embedding: type[Embedding]) -> None:
        self.embedding = embedding

    @property
    def collection(self) -> str:
        """The name that pairs, groups and checks are stored by; see `collection_of()`."""
        return collection_of(self.embedding)

    def queryset(self) -> QuerySet[Any]:
        """Returns the items that are compared: by default all of them."""
        return self.embedding.item_model()._default_manager.all()

    def may_compare(self, first: Model, second: Model) -> bool:
        """Returns whether two items may be duplicates at all, beyond tenant and parent."""
        return True

    def merge_listings(self, survivor: Model, duplicates: Sequence[Model]) -> None:
        """Merges `duplicates` into `survivor`, all of them locked, in the caller's transaction.

        `duplicates` are in the order of their keys. What it raises undoes all of it. Without it,
        the report only marks listings as confirmed.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no merge_listings(), which says how the shop merges."
        )

    @property
    def can_merge(self) -> bool:
        """Whether the shop says how to merge."""
        return type(self).merge_listings is not Listings.merge_listings
