"""The recall of an HNSW index by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import Any

from django.db import connections, transaction
from django.db.models import QuerySet, Subquery

from cardigan_reco import conf, database, neighbours
from cardigan_reco.exceptions import IndexProblem
from cardigan_reco.models import Embedding
from cardigan_reco.querysets import EmbeddingQuerySet

from .result import Answers, Near, Recall, compare, comparing, search, timed
from .sampling import Picture


class IndexScan:
    """The nearest pictures by the index, without filters, items or a second try."""

    def __init__(
        self,
        embedding: type[Embedding],
        pictures: Iterable[Picture],
        *,
        limit: int,
        timeout_seconds: float,
        using: str,
    ) -> None:
        """Finds the exact answers, which serve for any number of measurements."""
        self._embedding = embedding
        self._limit = limit
        self._using = using
        self._exact = [(picture, self._exactly(picture, timeout_seconds)) for picture in pictures]

    def measure(self, ef_search: int | None = None) -> Recall:
        """Returns the recall with that hnsw.ef_search; None: the one that a search would use.

        Raises IndexProblem when no index serves the query.
        """
        ef_search = ef_search or neighbours.ef_search(self._embedding, self._limit + 1)
        with transaction.atomic(using=self._using):
            self._set("hnsw.iterative_scan", "off")
            self._set("hnsw.ef_search", ef_search)
            self._set("enable_seqscan", "off")
            self._set("enable_sort", "off")
            if not _is_index_scan(self._rows(self._exact[0][0]).explain()):
                raise IndexProblem(
                    f"No index serves the searches of {self._embedding._meta.label}."
                )
            pairs = [
                (search(partial(self._by_index, picture)), exact) for picture, exact in self._exact
            ]
            # Inside another transaction, the settings would outlive this one.
            transaction.set_rollback(True, using=self._using)
        return compare(f"index alone, ef_search {ef_search}", self._limit, pairs)

    def _set(self, name: str, value: object) -> None:
        with connections[self._using].cursor() as cursor:
            # The cast loads pgvector, whose settings are unknown to a new connection.
            cursor.execute("SELECT '[1]'::vector, set_config(%s, %s, true)", [name, str(value)])

    def _rows(self, picture: Picture) -> QuerySet[Any]:
        rows = EmbeddingQuerySet(self._embedding, using=self._using)
        vector = Subquery(rows.filter(pk=picture.pk).values("vector"))
        # The picture itself is its own nearest, and left out.
        return rows.nearest(vector).values_list("pk", "distance")[: self._limit + 1]

    def _near(self, picture: Picture) -> Near:
        # There is no distance to a picture that was deleted meanwhile.
        return [
            (key, -distance)
            for key, distance in self._rows(picture)
            if key != picture.pk and distance is not None
        ][: self._limit]

    def _by_index(self, picture: Picture) -> Answers:
        # The limit holds for a savepoint, so that what is cancelled takes nothing else with it.
        with database.hurried(self._using, conf.current().search_timeout_seconds):
            return timed(partial(self._near, picture))

    def _exactly(self, picture: Picture, timeout_seconds: float) -> Answers:
        with comparing(self._embedding, timeout_seconds=timeout_seconds, using=self._using):
            self._set("enable_indexscan", "off")
            return timed(partial(self._near, picture))


def _is_index_scan(plan: str) -> bool:
    return re.search(r"Order By: \(\S*vector <#>", plan) is not None
