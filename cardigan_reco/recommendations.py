"""Recommendations: items that look like an item."""

from __future__ import annotations

from typing import Any

from django.db.models import Model, QuerySet

from . import collection as collections
from . import metrics, neighbours, search
from .models import Embedding


def similar_to(
    item: Model,
    *,
    within: QuerySet[Any] | None = None,
    limit: int = 8,
    min_similarity: float = 0.0,
    collection: str = "similar",
) -> list[Any]:
    """Returns up to `limit` items of `within` that look like `item`, most similar first.

    `within` defaults to the embedding's candidates(); the answers are its objects, one an item,
    `item` itself left out. Each has `similarity`, the cosine from 0 to 1 between the nearest two
    of their pictures, and `matched_source`, the row with the picture that is near. An item whose
    pictures aren't encoded yet gets an empty list. `collection` is a purpose, or the label of an
    embedding model that serves none yet, such as "shop.ProductImageEmbeddingV2".

    Raises LookupError for an unknown collection, TypeError for an item of another model or a
    `within` that is no queryset of such, and ValueError for a limit outside 1 to 100, a
    min_similarity outside 0 to 1 or a `within` that is sliced or a union.
    """
    embedding = collections.named(collection)
    model = embedding.item_model()
    if not isinstance(item, model):
        raise TypeError(
            f"{embedding._meta.label} recommends {model._meta.label} objects, got {item!r}."
        )
    pictured = embedding.pictured_item(item)
    if pictured.pk is None:
        return []
    excluded = [pk for pk in (item.pk, pictured.pk) if pk is not None]
    within = embedding.candidates() if within is None else within
    with metrics.search("item", embedding._meta.label_lower) as answer:
        return answer.of(
            search.around_item(
                embedding,
                pictured.pk,
                within=within,
                excluded=excluded,
                limit=limit,
                min_similarity=min_similarity,
            )
        )


def similar_to_picture(
    picture: Embedding,
    *,
    within: QuerySet[Any] | None = None,
    limit: int = 8,
    min_similarity: float = 0.0,
) -> list[Any]:
    """Returns items that look like one picture: as similar_to, but from a row of embeddings.

    A row that the database of `within` doesn't have, or not yet, gets an empty list.
    """
    if not isinstance(picture, Embedding):
        raise TypeError(f"picture must be a row of an embedding model, got {picture!r}.")
    embedding = type(picture)
    within = embedding.candidates() if within is None else within
    search.check_within(embedding, within)
    rows = embedding._base_manager.using(within.db).filter(pk=picture.pk)
    own_items = list(rows.values_list(embedding.item_path(), flat=True))
    own = neighbours.of_source(embedding, picture.pk, within.db)
    with metrics.search("picture", embedding._meta.label_lower) as answer:
        return answer.of(
            search.items(
                embedding,
                own,
                within=within,
                excluded=own_items,
                limit=limit,
                min_similarity=min_similarity,
            )
        )
