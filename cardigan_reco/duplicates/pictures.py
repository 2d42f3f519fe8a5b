"""The pictures that may be compared at all, as a query: whose they are, and kept from whom."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import EmptyResultSet, FieldDoesNotExist
from django.db.models import (
    Case,
    Expression,
    F,
    Field,
    Model,
    QuerySet,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce, Concat

from cardigan_reco.querysets import EmbeddingQuerySet

from .listings import Listings

COLUMNS = "source, item, tenant, family, digest, version, vector"
"""Of the query, in this order. Pictures of one family are never compared: those of an item, of its
variants and of their parent. Nor are pictures of different tenants.
"""


@dataclass(frozen=True)
class Pictures:
    """A query, with COLUMNS, for the encoded pictures of the shop's listings."""

    shop: Listings
    using: str
    sql: str
    parameters: tuple[Any, ...]
    source_type: str
    """PostgreSQL's type of the sources' primary keys."""
    narrowed: bool
    """Whether the shop compares only some of its listings."""

    @property
    def collection(self) -> str:
        """The name that pairs and checks know the pictures by."""
        return self.shop.collection

    def key(self, text: str) -> Any:
        """Returns a source's primary key from its text."""
        return self.shop.embedding.source_model()._meta.pk.to_python(text)


def comparable(
    shop: Listings, *, within: QuerySet[Any] | None = None, using: str
) -> Pictures | None:
    """Returns the pictures of the shop's listings; None: there can be none.

    `within` narrows them to those of its items.
    """
    embedding = shop.embedding
    path = embedding.item_path()
    rows = EmbeddingQuerySet(embedding, using=using).filter(**{f"{path}__isnull": False})
    items = shop.queryset()
    chosen = items.query.where or items.query.combinator or items.query.distinct_fields
    narrowed = bool(chosen) or items.query.is_sliced
    for allowed in [*([items] if narrowed else []), *([] if within is None else [within])]:
        rows = rows.filter(**{f"{path}__in": allowed.values("pk")})
    tenant = F(f"{path}__{shop.tenant_field}") if shop.tenant_field else Value(None, TextField())
    rows = rows.annotate(
        cardigan_item=F(path), cardigan_tenant=tenant, cardigan_family=_family(shop, path)
    )
    names = ["pk", "cardigan_item", "cardigan_tenant", "cardigan_family"]
    rows = rows.order_by().values_list(*names, "digest", "encoder_version_id", "vector")
    compiler = rows.query.get_compiler(using)
    try:
        sql, parameters = compiler.as_sql()
    except EmptyResultSet:
        return None
    source_type = embedding._meta.pk.db_type(compiler.connection) or "text"
    return Pictures(shop, using, sql, tuple(parameters), source_type, narrowed)


def field(model: type[Model], lookup: str) -> Field[Any, Any]:
    """Returns the field at the end of a lookup such as "category__name".

    Raises FieldDoesNotExist, which says what isn't there.
    """
    at: Any = model
    found: Any = None
    for name in lookup.split("__"):
        if at is None:
            raise FieldDoesNotExist(f"{found} is no relation, so it has no field {name!r}")
        found = at._meta.pk if name == "pk" else at._meta.get_field(name)
        at = found.related_model
    if not isinstance(found, Field) or found.many_to_many:
        raise FieldDoesNotExist(f"{lookup!r} leads to several rows of each, where one is needed")
    return found


def values(
    shop: Listings, item_pks: Collection[str], using: str
) -> Mapping[str, Mapping[str, Any]]:
    """Returns what is known of each listing: title, brand, price and SKU, as far as the shop names
    their fields.
    """
    named = {
        "title": shop.title_field,
        "brand": shop.brand_field,
        "price": shop.price_field,
        "sku": shop.sku_field,
    }
    lookups = {word: lookup for word, lookup in named.items() if lookup}
    if not lookups or not item_pks:
        return {}
    items = shop.embedding.item_model()._base_manager.using(using).filter(pk__in=list(item_pks))
    return {
        str(pk): dict(zip(lookups, of, strict=True))
        for pk, *of in items.values_list("pk", *lookups.values())
    }


def _family(shop: Listings, path: str) -> F | Expression:
    if shop.parent_field is None:
        return F(path)
    parent = f"{path}__{shop.parent_field}"
    model = shop.embedding.item_model()
    if field(model, shop.parent_field).related_model is model:
        return Coalesce(F(parent), F(path))
    alone = Concat(Value("item "), Cast(F(path), TextField()), output_field=TextField())
    family = Concat(Value("family "), Cast(F(parent), TextField()), output_field=TextField())
    return Case(When(**{f"{parent}__isnull": True}, then=alone), default=family)
