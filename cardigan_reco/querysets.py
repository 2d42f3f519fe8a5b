"""Querysets of embeddings."""

from __future__ import annotations

from typing import Any, Self

from django.db import models
from pgvector.django import MaxInnerProduct


class EmbeddingQuerySet(models.QuerySet[Any]):
    """Rows of an embedding table."""

    def nearest(self, query: Any) -> Self:
        """Orders by `distance` to a unit vector (an array, or an expression that yields one).

        The distance is the negative inner product, -1 for equal vectors. The index serves the
        order only if the result is sliced.
        """
        return self.annotate(distance=MaxInnerProduct("vector", query)).order_by("distance")
