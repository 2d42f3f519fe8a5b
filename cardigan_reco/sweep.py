"""The sweep: goes through the tables by ranges of keys, and marks what no hook has seen.

It waits for nobody, since it takes only rows that nobody is changing, and keeps nobody waiting:
each statement is a transaction of its own over a few thousand keys. Any number may run at once;
one that is killed has marked what it came by, and the next marks the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connections, transaction
from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from . import queue
from .models import Embedding, EncoderVersion

RANGE = 2000
"""Keys that one statement covers."""


class Kind(StrEnum):
    """What a sweep finds."""

    MISSING = "missing"
    """A picture without a vector, and without a request: it is marked."""
    STALE = "stale"
    """A vector that another state of the encoder has made: its source is marked."""
    EMPTIED = "without picture"
    """A vector whose source has no picture any more: it is marked, and a worker removes it."""
    ORPHAN = "without source"
    """A request or a vector whose source is gone: it is dropped."""


@dataclass
class Swept:
    """What one step of a sweep has done."""

    sources: int = 0
    """How many were looked at."""
    found: Counter[Kind] = field(default_factory=Counter)
    last: Any = None
    """The key to go on after; None before the first source and after the last."""

    @property
    def marked(self) -> int:
        """How many sources a worker has to do with now."""
        return self.found.total() - self.found[Kind.ORPHAN]

    def __add__(self, other: Swept) -> Swept:
        return Swept(self.sources + other.sources, self.found + other.found, other.last)


def run(
    embedding: type[Embedding],
    *,
    using: str,
    kinds: Collection[Kind] = tuple(Kind),
    after: Any = None,
    size: int = RANGE,
) -> Iterator[Swept]:
    """Marks what is missing, stale or emptied, drops orphans, and yields after each range.

    `after` is the `last` of a step that another sweep ended with.
    """
    if Kind.ORPHAN in kinds and after is None:
        yield from _drop_requests(embedding, using, size)
    sources = embedding.source_model()._base_manager.using(using)
    wanted = _wanted(embedding, sources, kinds, using)
    while True:
        keys = list(_between(sources, after, None).order_by("pk").values_list("pk")[:size])
        until = keys[-1][0] if len(keys) == size else None
        step = Swept(len(keys), last=until)
        for kind, rows in wanted.items():
            step.found[kind] = _mark(embedding, _between(rows, after, until))
        if Kind.ORPHAN in kinds:
            step.found[Kind.ORPHAN] = _drop_vectors(embedding, after, until, using)
        yield step
        if until is None:
            return
        after = until


def estimated_sources(embedding: type[Embedding], *, using: str) -> int | None:
    """Returns about how many sources there are, as PostgreSQL's statistics say; None: unknown."""
    connection = connections[using]
    table = connection.ops.quote_name(embedding.source_model()._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)", [table])
        row = cursor.fetchone()
    return int(row[0]) if row and row[0] >= 0 else None


def _between(rows: QuerySet[Any], after: Any, until: Any) -> QuerySet[Any]:
    if after is not None:
        rows = rows.filter(pk__gt=after)
    return rows if until is None else rows.filter(pk__lte=until)


def _wanted(
    embedding: type[Embedding], sources: QuerySet[Any], kinds: Collection[Kind], using: str
) -> dict[Kind, QuerySet[Any]]:
    """Returns the sources of each kind that have no request."""
    has_no_picture = Q(**{embedding.image_field: ""}) | Q(**{embedding.image_field: None})
    vectors = embedding._base_manager.using(using).filter(pk=OuterRef("pk"))
    requests = queue.requests_of(embedding, OuterRef("pk"), using=using)
    sources = sources.filter(~Exists(requests))
    wanted: dict[Kind, QuerySet[Any]] = {}
    if Kind.MISSING in kinds:
        wanted[Kind.MISSING] = sources.filter(~has_no_picture, ~Exists(vectors))
    if Kind.STALE in kinds:
        current = EncoderVersion.objects.using(using).current(embedding.encoder)
        stale = vectors.exclude(encoder_version=current)
        wanted[Kind.STALE] = sources.filter(~has_no_picture, Exists(stale))
    if Kind.EMPTIED in kinds:
        wanted[Kind.EMPTIED] = sources.filter(has_no_picture, Exists(vectors))
    return wanted


def _mark(embedding: type[Embedding], sources: QuerySet[Any]) -> int:
    """Leaves out what somebody is changing: their own mark comes with it, and a statement that
    waited for them could hold what they want next.
    """
    if embedding.picture_keys():
        # What foreign keys lead to on the way to the pictures is not ours to lock, nor can it be.
        sources = sources.model._base_manager.using(sources.db).filter(pk__in=sources)
    with transaction.atomic(using=sources.db):
        # Not in the order of Meta, which may join tables that are not ours to lock, or can't be.
        free = sources.order_by().select_for_update(skip_locked=True, no_key=True)
        return queue.mark_new(embedding, free)


def _drop_requests(embedding: type[Embedding], using: str, size: int) -> Iterator[Swept]:
    """Drops requests whose source is gone, and those whose key no source could have."""
    source = embedding.source_model()
    requests = queue.requests(embedding, using=using).order_by("source_pk")
    last = ""
    while True:
        rows = list(
            requests.filter(source_pk__gt=last).values_list("id", "version", "source_pk")[:size]
        )
        keys = {id: _key(source, text) for id, _version, text in rows}
        pks = [key for key in keys.values() if key is not None]
        present = set(
            source._base_manager.using(using).filter(pk__in=pks).values_list("pk", flat=True)
        )
        gone = {id: version for id, version, _text in rows if keys[id] not in present}
        yield Swept(found=Counter({Kind.ORPHAN: queue.drop(gone, using=using)}))
        if len(rows) < size:
            return
        last = rows[-1][2]


def _key(source: type[Model], text: str) -> Any:
    """Returns the primary key of that text, or None when it is none."""
    try:
        return source._meta.pk.to_python(text)
    except ValidationError:
        return None


def _drop_vectors(embedding: type[Embedding], after: Any, until: Any, using: str) -> int:
    source: Any = embedding._meta.pk
    if source.db_constraint:
        return 0  # PostgreSQL itself sees to it.
    sources = embedding.source_model()._base_manager.using(using).filter(pk=OuterRef("pk"))
    vectors = _between(embedding._base_manager.using(using), after, until)
    return vectors.filter(~Exists(sources)).delete()[0]
