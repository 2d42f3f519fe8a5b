"""What recall is measured with: pictures drawn by chance, and filters of a given size."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import F, QuerySet

from cardigan_reco import indexes
from cardigan_reco.models import Embedding
from cardigan_reco.querysets import EmbeddingQuerySet

SCANNED_ROWS = 1_000_000
"""Larger tables are sampled by pages first, so that a sample doesn't read all of them."""


@dataclass(frozen=True)
class Picture:
    """A row of embeddings, to search around."""

    pk: Any
    item_pk: Any


def sample(embedding: type[Embedding], count: int, *, seed: int, using: str) -> list[Picture]:
    """Returns `count` rows by chance, or all there are: the same for the same seed and rows."""
    estimated = indexes.health(embedding, using=using).rows
    percent = 100 * min(1.0, SCANNED_ROWS / max(estimated, 1))
    quote = connections[using].ops.quote_name
    table, key = quote(embedding._meta.db_table), quote(str(embedding._meta.pk.column))
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"SELECT {key} FROM {table} TABLESAMPLE SYSTEM (%s) REPEATABLE (%s) "
            f"ORDER BY hashtextextended({key}::text, %s), {key} LIMIT %s",
            [percent, seed, seed, count],
        )
        keys = [key for (key,) in cursor.fetchall()]
    rows = EmbeddingQuerySet(embedding, using=using).filter(pk__in=keys).order_by("pk")
    return [Picture(*row) for row in rows.values_list("pk", F(embedding.item_path()))]


def stretch(candidates: QuerySet[Any], share: float, *, seed: int) -> QuerySet[Any]:
    """Returns that share of the items, neighbours by primary key: a filter by an indexed column,
    whose size PostgreSQL estimates well.
    """
    ordered = candidates.order_by("pk").values_list("pk", flat=True)
    total = candidates.count()
    if not total:
        return candidates.none()
    size = max(1, round(share * total))
    start = random.Random(seed).randrange(total - size + 1)  # noqa: S311  Chance, not secrecy.
    (first,), (last,) = ordered[start : start + 1], ordered[start + size - 1 : start + size]
    return candidates.filter(pk__gte=first, pk__lte=last)
