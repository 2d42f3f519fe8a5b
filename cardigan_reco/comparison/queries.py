"""The items that two encoders are compared by: by chance, and in the same order every time."""

from __future__ import annotations

from typing import Any

from django.db.models import (
    BigIntegerField,
    Exists,
    Func,
    Model,
    OuterRef,
    Q,
    QuerySet,
    TextField,
    Value,
)
from django.db.models.functions import Cast

from cardigan_reco.models import ComparisonVote

from .tables import Tables
from .votes import in_order

SEED = 2018
"""Of the order; another one would be as good."""


def shown(tables: Tables) -> QuerySet[Any]:
    """Returns the items that may be shown, with vectors or without."""
    candidates = tables.old.candidates()
    items = tables.items._default_manager.using(candidates.db)
    return items.filter(pk__in=candidates.values("pk"))


def queries(tables: Tables) -> QuerySet[Any]:
    """Returns the items with vectors in both tables, of those that may be shown, in an order that
    looks like chance and is the same for everybody.

    It reads the keys of all.
    """
    items = shown(tables)
    for embedding in (tables.old, tables.new):
        rows = embedding._base_manager.filter(**{embedding.item_path(): OuterRef("pk")})
        items = items.filter(Exists(rows))
    place = Func(
        Cast("pk", TextField()),
        Value(SEED),
        function="hashtextextended",
        output_field=BigIntegerField(),
    )
    ordered: QuerySet[Any] = items.annotate(cardigan_place=place)
    return ordered.order_by("cardigan_place", "pk")


def unvoted(items: QuerySet[Any], versions: tuple[str, str], voter: str) -> QuerySet[Any]:
    """Returns those of `items` for which that person hasn't compared these two encoders."""
    first, second = in_order(versions)
    votes = ComparisonVote.objects.using(items.db).filter(
        items=items.model._meta.label_lower,
        first=first,
        second=second,
        voter=voter,
        item_pk=Cast(OuterRef("pk"), TextField()),
    )
    return items.filter(~Exists(votes))


def following(items: QuerySet[Any], item: Model) -> Any:
    """Returns the item that comes next in the order of `queries()`; None: there is no other.

    After the last, it starts over. `item` itself needn't be among `items`.
    """
    others = items.exclude(pk=item.pk)
    places = items.model._default_manager.using(items.db).filter(pk=item.pk)
    place = places.values_list(items.query.annotations["cardigan_place"]).first()
    if place is None:
        return others.first()
    later = Q(cardigan_place__gt=place[0]) | Q(cardigan_place=place[0], pk__gt=item.pk)
    return others.filter(later).first() or others.first()
