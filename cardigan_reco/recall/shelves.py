"""The recall of what the shop serves: `neighbours.nearest()` beside a comparison with all."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from django.db.models import F, Min, QuerySet, Subquery
from pgvector.django import MaxInnerProduct

from cardigan_reco import neighbours
from cardigan_reco.models import Embedding
from cardigan_reco.querysets import EmbeddingQuerySet

from .result import Near, Recall, compare, comparing, search, timed
from .sampling import Picture


def served(
    embedding: type[Embedding],
    candidates: QuerySet[Any],
    pictures: Iterable[Picture],
    *,
    name: str,
    limit: int,
    timeout_seconds: float,
    using: str,
) -> Recall:
    """Measures the search that shelves use around each of `pictures`.

    It is compared with all pictures of all `candidates`. Raises IndexProblem when there are no
    pictures, no candidates, or the comparison of one query takes longer than `timeout_seconds`.
    """

    def by_search(picture: Picture) -> Near:
        matches = neighbours.nearest(
            embedding,
            neighbours.of_source(embedding, picture.pk, using),
            candidates=candidates,
            excluded=[picture.item_pk],
            limit=limit,
            using=using,
        )
        return [(match.item_pk, match.similarity) for match in matches]

    def by_comparison(picture: Picture) -> Near:
        rows = _nearest_items(embedding, candidates, picture, using)[:limit]
        return [(key, -distance) for key, distance in rows]

    pairs = []
    for picture in pictures:
        found = search(partial(timed, partial(by_search, picture)))
        with comparing(embedding, timeout_seconds=timeout_seconds, using=using):
            pairs.append((found, timed(partial(by_comparison, picture))))
    return compare(name, limit, pairs)


def _nearest_items(
    embedding: type[Embedding], candidates: QuerySet[Any], picture: Picture, using: str
) -> QuerySet[Any]:
    """Returns the statement that compares all: no index serves the nearest of each group.

    It is written apart from the search, lest a mistake of that be measured by itself.
    """
    rows = EmbeddingQuerySet(embedding, using=using)
    own = rows.filter(pk=picture.pk)
    path = embedding.item_path()
    allowed = {
        f"{path}__in": candidates.using(using).values("pk"),
        "encoder_version": Subquery(own.values("encoder_version")[:1]),
    }
    nearest: QuerySet[Any] = (
        rows.filter(**allowed)
        .exclude(**{path: picture.item_pk})
        .annotate(item_pk=F(path))
        .values("item_pk")
        .annotate(distance=Min(MaxInnerProduct("vector", Subquery(own.values("vector")))))
        .order_by("distance", "item_pk")
        .values_list("item_pk", "distance")
    )
    return nearest
