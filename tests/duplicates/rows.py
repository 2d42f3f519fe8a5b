"""Pairs and groups of the report, made without looking at a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Model

from cardigan_reco.duplicates import grouping
from cardigan_reco.duplicates.listings import collection_of
from cardigan_reco.models import DuplicateGroup, DuplicatePair
from tests.testapp.models import ProductImageEmbedding

COLLECTION = collection_of(ProductImageEmbedding)


def pair(
    first: Model | str,
    second: Model | str,
    *,
    probability: float = 0.9,
    kind: str = "same_photo",
    reasons: Sequence[dict[str, Any]] = ({"code": "cropped", "value": 0.82},),
    facts: Sequence[dict[str, Any]] = ({"code": "title", "value": 0.93},),
    **fields: Any,
) -> DuplicatePair:
    """Stores an open pair of two items, whose first pictures match, outside of any group."""
    pictures = [
        {
            "first": source_of(first),
            "second": source_of(second),
            "first_digest": f"{key(first):0>64}",
            "second_digest": f"{key(second):0>64}",
            "kind": kind,
            "probability": probability,
            "reasons": list(reasons),
        }
    ]
    return DuplicatePair.objects.create(
        collection=COLLECTION,
        first_pk=key(first),
        second_pk=key(second),
        kind=kind,
        probability=probability,
        evidence={"pictures": pictures, "facts": list(facts)},
        **fields,
    )


def group_of(*pairs: DuplicatePair) -> DuplicateGroup:
    """Forms the groups of these pairs; returns that of the first."""
    item_pks = {pk for one in pairs for pk in (one.first_pk, one.second_pk)}
    with transaction.atomic():
        grouping.regroup(COLLECTION, item_pks, using="default")
    pairs[0].refresh_from_db()
    assert pairs[0].group is not None
    return pairs[0].group


def key(item: Model | str) -> str:
    return item if isinstance(item, str) else str(item.pk)


def source_of(item: Model | str) -> str:
    """Returns the key of the item's first picture, or one that no picture has."""
    image = None if isinstance(item, str) else item.images.first()  # type: ignore[attr-defined]
    return str(image.pk) if image else f"9{key(item)}"
