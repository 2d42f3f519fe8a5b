"""Recommendations: items that look like an item."""

from __future__ import annotations

from typing import Any

from django.db.models import Model, QuerySet

from . import collection as collections
from . import search
from .models import Embedding
from .querysets import EmbeddingQuerySet

MAX_LIMIT = 100


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
    pictures aren't encoded yet gets an empty list.

    Raises LookupError for an unknown collection, TypeError for an item of another model, and
    ValueError for a limit outside 1 to 100, a min_similarity outside 0 to 1 or a sliced `within`.
    """
    embedding = collections.serving(collection)
    model = embedding.item_model()
    if not isinstance(item, model):
        raise TypeError(
            f"{embedding._meta.label} recommends {model._meta.label} objects, got {item!r}."
        )
    pictured = embedding.pictured_item(item)
    if pictured.pk is None:
        return []
    own = {embedding.item_path(): pictured.pk}
    return _nearest(embedding, own, [item.pk, pictured.pk], within, limit, min_similarity)


def similar_to_picture(
    picture: Embedding,
    *,
    within: QuerySet[Any] | None = None,
    limit: int = 8,
    min_similarity: float = 0.0,
) -> list[Any]:
    """Returns items that look like one picture: as similar_to, but from a row of embeddings."""
    embedding = type(picture)
    item_pk = embedding._base_manager.values_list(embedding.item_path()).get(pk=picture.pk)[0]
    return _nearest(embedding, {"pk": picture.pk}, [item_pk], within, limit, min_similarity)


def _nearest(
    embedding: type[Embedding],
    query: dict[str, Any],
    excluded: list[Any],
    within: QuerySet[Any] | None,
    limit: int,
    min_similarity: float,
) -> list[Any]:
    within = embedding.candidates() if within is None else within
    _validate(embedding, within, limit, min_similarity)
    using = within.db
    matches = search.nearest(
        embedding,
        EmbeddingQuerySet(embedding, using=using).filter(**query),
        candidates=within,
        excluded=[pk for pk in excluded if pk is not None],
        limit=limit,
        using=using,
    )
    near_enough = [match for match in matches if match.similarity >= min_similarity]
    return _hydrate(embedding, near_enough, within)


def _hydrate(
    embedding: type[Embedding], matches: list[search.Match], within: QuerySet[Any]
) -> list[Any]:
    """Returns the items of the matches in their order, from `within`, in two queries."""
    if not matches:
        return []
    items = {item.pk: item for item in within.filter(pk__in=[match.item_pk for match in matches])}
    if embedding.item_field is None:
        sources = items
    else:
        manager = embedding.source_model()._base_manager.using(within.db)
        sources = manager.in_bulk([match.source_pk for match in matches])
    answers = []
    for match in matches:
        # Either may have gone since the search.
        if match.item_pk in items and match.source_pk in sources:
            item = items[match.item_pk]
            item.similarity = match.similarity
            item.matched_source = sources[match.source_pk]
            answers.append(item)
    return answers


def _validate(embedding: type[Embedding], within: QuerySet[Any], limit: int, floor: float) -> None:
    model = embedding.item_model()
    if not issubclass(within.model, model):
        raise TypeError(
            f"within must be a queryset of {model._meta.label}, got {within.model._meta.label}."
        )
    if within.query.is_sliced:
        raise ValueError("within must not be sliced; give the number of items as limit.")
    if not (isinstance(limit, int) and 1 <= limit <= MAX_LIMIT):
        raise ValueError(f"limit must be a whole number from 1 to {MAX_LIMIT}, got {limit!r}.")
    if not 0 <= floor <= 1:
        raise ValueError(f"min_similarity must be from 0 to 1, got {floor!r}.")
