"""The one search: nearest pictures of the allowed items, by index or exactly.

Stored vectors are read inside the statement; only that of a new picture travels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import Model, QuerySet

from . import conf, estimates, fetching
from .asking import Ask, asking
from .fetching import Items, Selection, Source
from .fields import as_text
from .models import Embedding, EncoderVersion
from .prepared import Statement
from .querysets import EmbeddingQuerySet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EF_PER_ITEM = 2.4
"""The least hnsw.ef_search for each wanted item."""
PICTURES_PER_ITEM, MAX_PICTURES_PER_ITEM = 4.0, 8.0
"""Rows that are asked of the index for each wanted item, since an item may have many pictures: as
long as it isn't known how many they have, and at most."""
SPARE, SPARE_PER_PICTURE = 1.0, 1.5
"""Rows where items have one picture each, and for each more that they have on the average, as some
of those that are near have more."""
LEAST_SHARE = 0.15
"""Of filters that leave less, hnsw.ef_search grows no further: the index goes on by itself."""
AGAIN = 4
"""How many times as many are asked for where those were of too few items."""
MAX_EF_SEARCH = 1000
"""pgvector's own limit."""
FEW_ROWS = 2_000
"""So many rows are compared one by one in any case."""
PASSED_COST = 3
"""What a picture costs that the index passes by, in pictures that are compared one by one."""
MAX_EXACT_ROWS = 200_000
"""Beyond this, a page that stays short is better than a scan of the table."""


Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Query:
    """A statement and its parameters; what is looked around yields vectors and their versions."""

    sql: str
    parameters: Sequence[Any]


def of_item(embedding: type[Embedding], pk: Any, using: str) -> Query:
    """Returns the query for the stored vectors of an item's pictures."""
    return _stored(embedding, "item", embedding.item_model(), pk, using)


def of_source(embedding: type[Embedding], pk: Any, using: str) -> Query:
    """Returns the query for the stored vector of one picture."""
    return _stored(embedding, "source", embedding.source_model(), pk, using)


def _stored(
    embedding: type[Embedding], column: str, model: type[Model], pk: Any, using: str
) -> Query:
    value = model._meta.pk.get_db_prep_value(pk, connections[using])
    return Query(
        f"SELECT vector, version FROM {pictured(embedding, using)} WHERE {column} = %s", [value]
    )


def given(vector: NDArray[np.float32], *, encoder: str, fingerprint: str) -> Query:
    """Returns the query for a vector (dimensions,) of length 1, made by that encoder's version.

    One that has made no vectors yet finds nothing.
    """
    table = EncoderVersion._meta.db_table
    return Query(
        f"SELECT %s::halfvec, id FROM {table} WHERE encoder = %s AND fingerprint = %s",
        [as_text(vector), encoder, fingerprint],
    )


class Match(NamedTuple):
    """An item, its picture that is nearest, and how near."""

    item_pk: Any
    source_pk: Any
    similarity: float
    """Cosine, 0 (unrelated or opposed) to 1 (same)."""
    source: Source | None = None
    """The picture's row, where it was asked for, and could be had in the same statement."""
    item: Any = None
    """The object of `candidates`, as well."""


def nearest(
    embedding: type[Embedding],
    query: Query,
    *,
    candidates: QuerySet[Any],
    excluded: Sequence[Any] = (),
    limit: int,
    using: str,
    with_sources: bool = False,
    with_items: bool = False,
) -> list[Match]:
    """Returns the `limit` items of `candidates` nearest to any of the vectors of `query`.

    One match an item, nearest first, compared within one encoder version only. `excluded` holds
    primary keys of items. The number of statements doesn't grow with that of the pictures.
    """
    # Left out here, not in SQL, so that all shelves of a shop are one statement to the planner.
    unwanted = {embedding.item_model()._meta.pk.to_python(pk) for pk in excluded}
    wanted = limit + len(unwanted)
    items = fetching.items(candidates, "= best.item") if with_items else None
    try:
        keys, parameters = _keys(candidates, items, using)
    except EmptyResultSet:  # candidates.none() and the like have no SQL.
        return []
    allowed = Query(
        f"SELECT item, source, version, vector FROM {pictured(embedding, using)} "
        f"WHERE item IN ({keys})",
        parameters,
    )
    sources = fetching.selected(embedding, "= best.source", using) if with_sources else None
    with asking(using) as ask:
        found = _Search(ask, embedding, allowed, query, wanted, using, sources, items).rows()
    rows = [row for row in found if row[0] not in unwanted][:limit]
    start = 3
    pictures: Iterable[Source | None] = repeat(None)
    if sources is not None:
        end = start + sources.width
        pictures = sources.sources([row[start:end] for row in rows], using)
        start = end
    objects = repeat(None) if items is None else items.objects([row[start:] for row in rows])
    return [
        Match(item, source, min(1.0, max(0.0, -distance)), picture, one)
        for (item, source, distance, *_columns), picture, one in zip(
            rows, pictures, objects, strict=False
        )
    ]


def ef_search(embedding: type[Embedding], limit: int, share: float = 1.0) -> int:
    """Returns the hnsw.ef_search of a search for so many items, of a filter that leaves that share
    of the table: what the filter takes away was looked at in vain.
    """
    wanted = max(least_ef_search(embedding), limit * EF_PER_ITEM) / max(share, LEAST_SHARE)
    return min(round(wanted), MAX_EF_SEARCH)


def least_ef_search(embedding: type[Embedding]) -> int:
    """Returns what a collection or the settings say, for a search of any size."""
    return embedding.ef_search or conf.current().ef_search


@dataclass(frozen=True)
class _Search:
    """One search; its rows are an item, its source that is nearest, their distance, the columns of
    the source and those of the item, as far as they are selected, nearest first.
    """

    ask: Ask
    embedding: type[Embedding]
    allowed: Query
    query: Query
    limit: int
    using: str
    sources: Selection | None
    items: Items | None

    def rows(self) -> Rows:
        allowed, limit = self.allowed, self.limit
        expected = estimates.rows(allowed.sql, allowed.parameters, self.using)
        most = conf.current().exact_rows
        if expected > min(FEW_ROWS, most):
            pictures, items = estimates.totals(self.embedding, self.using)
            count = math.ceil(limit * _pictures_per_item(pictures, items))
            # Until it has found so many, the index passes the more, the fewer of the table are
            # allowed.
            if expected > most or expected**2 > PASSED_COST * count * pictures:
                share = min(1.0, expected / pictures) if pictures > 0 else 1.0
                ef = ef_search(self.embedding, limit, share)
                for wanted in (count, count * AGAIN):
                    found = self._by_index(wanted, ef)
                    if len(found) == limit:
                        return found
                if expected > MAX_EXACT_ROWS and self._counted() > MAX_EXACT_ROWS:
                    return found
        return self._exactly(ef_search(self.embedding, limit))

    def _by_index(self, count: int, ef: int) -> Rows:
        """Asks the index for `count` pictures around each vector of the query."""
        near = f"""
            SELECT item, source, vector <#> cardigan_query.vector AS distance
            FROM ({self.allowed.sql}) AS allowed (item, source, version, vector)
            WHERE version = cardigan_query.version
            ORDER BY vector <#> cardigan_query.vector LIMIT %s"""
        return self._best(near, [*self.allowed.parameters, count], ef)

    def _counted(self) -> int:
        """Returns how many pictures are allowed, as far as it matters: fewer may be there than the
        planner expects.
        """
        allowed = self.allowed
        return estimates.count(allowed.sql, allowed.parameters, MAX_EXACT_ROWS + 1, self.using)

    def _exactly(self, ef: int) -> Rows:
        """Compares all allowed pictures; OFFSET 0 keeps the planner from taking the index."""
        near = f"""
            SELECT item, source, vector <#> cardigan_query.vector AS distance
            FROM ({self.allowed.sql} OFFSET 0) AS allowed (item, source, version, vector)
            WHERE version = cardigan_query.version"""
        return self._best(near, self.allowed.parameters, ef)

    def _best(self, near: str, near_parameters: Sequence[Any], ef: int) -> Rows:
        """Returns the nearest of each item. Of pictures of two encoder versions, while an item is
        being encoded anew, the newer ones are looked around: distances of two versions have no
        order.
        """
        best = f"""
            SELECT item, source, distance FROM (
                SELECT DISTINCT ON (item) item, source, distance
                FROM cardigan_query CROSS JOIN LATERAL ({near}) AS near
                ORDER BY item, distance) AS best
            ORDER BY distance, item LIMIT %s"""
        shared = [*near_parameters, self.limit]
        columns, joined = "best.*", ""
        if self.sources is not None:
            columns += ", source.*"
            joined += f" CROSS JOIN LATERAL ({self.sources.sql}) AS source"
        if self.items is not None:
            # A filter by what an item has several of yields it several times.
            columns += ", item.*"
            joined += f" CROSS JOIN LATERAL ({self.items.sql} LIMIT 1) AS item"
            shared += self.items.parameters
        if joined:
            best = f"""
                SELECT {columns} FROM ({best}) AS best{joined}
                ORDER BY best.distance, best.item"""
        sql = f"""
            WITH cardigan_query (vector, version) AS MATERIALIZED (
                SELECT vector, version FROM (
                    SELECT *, max(version) OVER () AS newest
                    FROM ({self.query.sql}) AS own (vector, version)
                ) AS own WHERE version = newest)
            {best}"""
        return self.ask(Statement(sql, own=self.query.parameters, shared=shared), ef)


def _pictures_per_item(pictures: float, items: float) -> float:
    """Returns what items have on the average, and somewhat more where they have several."""
    if pictures < 1 or items < 1:  # Never analysed.
        return PICTURES_PER_ITEM
    more = max(0.0, pictures / items - 1)
    return min(SPARE + SPARE_PER_PICTURE * more, MAX_PICTURES_PER_ITEM)


@cache
def pictured(embedding: type[Embedding], using: str) -> str:
    """Returns all pictures with their items, an item of FROM; kept, since Django takes as long to
    write it as PostgreSQL to plan it.
    """
    rows = EmbeddingQuerySet(embedding, using=using).values_list(
        embedding.item_path(), "pk", "encoder_version_id", "vector"
    )
    sql, _none = _compile(rows, using)
    return f"({sql}) AS pictured (item, source, version, vector)"


def _compile(rows: QuerySet[Any], using: str) -> tuple[str, Sequence[Any]]:
    sql, parameters = rows.query.get_compiler(using).as_sql()
    return sql, parameters


def _keys(candidates: QuerySet[Any], items: Items | None, using: str) -> tuple[str, Sequence[Any]]:
    if items is not None and items.keys is not None:
        return items.keys, items.parameters
    keys = candidates.values("pk")
    keys.query.clear_ordering()  # Unless it says which rows there are: of a slice, DISTINCT ON.
    return _compile(keys, using)
