"""Compares what a search finds with what there is, query by query, inside PostgreSQL."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from django.db import OperationalError, connections, transaction
from django.db.models import F, Min, QuerySet, Subquery
from pgvector.django import MaxInnerProduct

from cardigan_reco import conf, database, neighbours
from cardigan_reco.exceptions import IndexProblem
from cardigan_reco.models import Embedding
from cardigan_reco.querysets import EmbeddingQuerySet

from .interval import wilson
from .sampling import Picture

QUERY_CANCELED = "57014"
SAME = 1e-6
"""Answers as near as the last of the exact ones are right too: pictures may be alike."""


@dataclass(frozen=True)
class Seconds:
    """How long a search takes."""

    median: float
    p95: float

    @classmethod
    def of(cls, measured: Sequence[float]) -> Seconds:
        ordered = sorted(measured)
        return cls(statistics.median(ordered), ordered[int(0.95 * (len(ordered) - 1))])


@dataclass(frozen=True)
class Recall:
    """What a search finds, beside the exact answer."""

    name: str
    """What was searched in."""
    queries: int
    limit: int
    """Answers that were wanted of each."""
    recall: float
    """The mean share of the exact answers that it found."""
    low: float
    high: float
    """The 95 % interval; see `wilson()`."""
    full_pages: int
    """Queries that got as many answers as there are, up to the limit."""
    timed_out: int
    """Queries that SEARCH_TIMEOUT_SECONDS ended; nothing was found then."""
    searched: Seconds
    exact: Seconds

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Answer:
    """What there is around a picture, nearest first."""

    keys: frozenset[Any]
    farthest: float
    """The similarity of the last."""
    seconds: float


@dataclass
class _Found:
    """What a search brought, nearest first."""

    start: float
    seconds: float = 0.0
    answers: list[tuple[Any, float]] | None = None
    """Keys and similarities; None: it was cancelled."""


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
    """Measures the search that shelves use, `neighbours.nearest()`, around each of `pictures`.

    It is compared with all pictures of all `candidates`. Raises IndexProblem when there are no
    pictures, no candidates, or the comparison of one query takes longer than `timeout_seconds`.
    """
    pairs = []
    for picture in pictures:
        query = neighbours.stored(EmbeddingQuerySet(embedding, using=using).filter(pk=picture.pk))
        with _searched() as found:
            matches = neighbours.nearest(
                embedding,
                query,
                candidates=candidates,
                excluded=[picture.item_pk],
                limit=limit,
                using=using,
            )
            found.answers = [(match.item_pk, match.similarity) for match in matches]
        exact = _nearest_items(embedding, candidates, picture, limit, timeout_seconds, using)
        pairs.append((found, exact))
    return _recall(name, limit, pairs)


class IndexScan:
    """The index by itself: the nearest pictures, without filters, items or a second try."""

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
        ef_search = ef_search or own_ef_search(self._limit)
        pairs = [(self._by_index(picture, ef_search), exact) for picture, exact in self._exact]
        return _recall(f"index alone, ef_search {ef_search}", self._limit, pairs)

    def _rows(self, picture: Picture) -> QuerySet[Any]:
        rows = EmbeddingQuerySet(self._embedding, using=self._using)
        vector = Subquery(rows.filter(pk=picture.pk).values("vector"))
        # The picture itself is its own nearest, and left out.
        return rows.nearest(vector).values_list("pk", "distance")[: self._limit + 1]

    def _exactly(self, picture: Picture, timeout_seconds: float) -> _Answer:
        start = time.perf_counter()
        with (
            _exact_settings(self._using, timeout_seconds, self._embedding),
            connections[self._using].cursor() as cursor,
        ):
            cursor.execute("SET LOCAL enable_indexscan = off")
            rows = list(self._rows(picture))
        seconds = time.perf_counter() - start
        return _answer(_others(rows, picture, self._limit), seconds)

    def _by_index(self, picture: Picture, ef_search: int) -> _Found:
        settings = {
            "hnsw.ef_search": str(ef_search),
            "hnsw.iterative_scan": "off",
            "enable_seqscan": "off",
            "enable_sort": "off",
            "statement_timeout": str(int(1000 * conf.current().search_timeout_seconds)),
        }
        rows = self._rows(picture)
        with _searched() as found, transaction.atomic(using=self._using):
            with connections[self._using].cursor() as cursor:
                # The cast loads pgvector, whose settings are unknown to a new connection.
                cursor.execute("SELECT '[1]'::vector")
                for name, value in settings.items():
                    cursor.execute("SELECT set_config(%s, %s, true)", [name, value])
            if picture is self._exact[0][0] and not _is_index_scan(rows.explain()):
                raise IndexProblem(
                    f"No index serves the searches of {self._embedding._meta.label}."
                )
            found.start = time.perf_counter()
            found.answers = _others(list(rows), picture, self._limit)
        return found


def _is_index_scan(plan: str) -> bool:
    return re.search(r"Order By: \(\S*vector <#>", plan) is not None


def own_ef_search(limit: int) -> int:
    """Returns the hnsw.ef_search of a search for so many items, as `neighbours` chooses it."""
    wanted = (limit + 1) * neighbours.PICTURES_PER_ITEM
    return min(max(conf.current().ef_search, wanted), neighbours.MAX_EF_SEARCH)


def _others(
    rows: list[tuple[Any, float | None]], picture: Picture, limit: int
) -> list[tuple[Any, float]]:
    # There is no distance to a picture that was deleted meanwhile.
    return [
        (key, -distance) for key, distance in rows if key != picture.pk and distance is not None
    ][:limit]


def _nearest_items(
    embedding: type[Embedding],
    candidates: QuerySet[Any],
    picture: Picture,
    limit: int,
    timeout_seconds: float,
    using: str,
) -> _Answer:
    """Compares all; no index can serve the nearest of each group, so none is used.

    It is written apart from the search, lest a mistake of that be measured by itself.
    """
    rows = EmbeddingQuerySet(embedding, using=using)
    own = rows.filter(pk=picture.pk)
    path = embedding.item_path()
    keys = candidates.using(using).values("pk")
    nearest = (
        rows.filter(
            **{f"{path}__in": keys}, encoder_version=Subquery(own.values("encoder_version"))
        )
        .exclude(**{path: picture.item_pk})
        .annotate(item_pk=F(path))
        .values("item_pk")
        .annotate(distance=Min(MaxInnerProduct("vector", Subquery(own.values("vector")))))
        .order_by("distance", "item_pk")
        .values_list("item_pk", "distance")[:limit]
    )
    start = time.perf_counter()
    with _exact_settings(using, timeout_seconds, embedding):
        found = list(nearest)
    seconds = time.perf_counter() - start
    return _answer([(key, -distance) for key, distance in found], seconds)


def _answer(found: list[tuple[Any, float]], seconds: float) -> _Answer:
    farthest = found[-1][1] if found else 0.0
    return _Answer(frozenset(key for key, _similarity in found), farthest, seconds)


@contextmanager
def _exact_settings(
    using: str, timeout_seconds: float, embedding: type[Embedding]
) -> Iterator[None]:
    try:
        with database.hurried(using, timeout_seconds):
            yield
    except OperationalError as error:
        if not _is_cancelled(error):
            raise
        raise IndexProblem(
            f"Comparing a picture with all of {embedding._meta.label} took longer than "
            f"{timeout_seconds:g} s. Give it more by --timeout, or ask a replica by --database."
        ) from error


def _recall(name: str, limit: int, pairs: Sequence[tuple[_Found, _Answer]]) -> Recall:
    pairs = [(found, exact) for found, exact in pairs if exact.keys]
    if not pairs:
        raise IndexProblem(f"There is nothing to find in: {name}.")
    shares = [
        sum(
            key in exact.keys or (similarity >= exact.farthest - SAME and similarity > 0)
            for key, similarity in found.answers or []
        )
        / len(exact.keys)
        for found, exact in pairs
    ]
    low, high = wilson(shares, limit)
    return Recall(
        name=name,
        queries=len(pairs),
        limit=limit,
        recall=statistics.fmean(shares),
        low=low,
        high=high,
        full_pages=sum(len(found.answers or []) >= len(exact.keys) for found, exact in pairs),
        timed_out=sum(found.answers is None for found, _exact in pairs),
        searched=Seconds.of([found.seconds for found, _exact in pairs]),
        exact=Seconds.of([exact.seconds for _found, exact in pairs]),
    )


@contextmanager
def _searched() -> Iterator[_Found]:
    """Times the block, and lets PostgreSQL cancel it."""
    found = _Found(time.perf_counter())
    try:
        yield found
    except OperationalError as error:
        if not _is_cancelled(error):
            raise
    found.seconds = time.perf_counter() - found.start


def _is_cancelled(error: OperationalError) -> bool:
    return getattr(error.__cause__, "sqlstate", None) == QUERY_CANCELED
