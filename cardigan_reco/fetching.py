"""Fetching what a shelf shows as Django does: sources, with SQL that is written once, since Django
takes longer to write it than PostgreSQL to answer; and items, inside the statement that finds them.

What Django itself asks besides, by keys, such as a shop's prefetches, has no limit of time but the
shop's own: to set one takes three statements more, or five inside a transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from django.core.exceptions import EmptyResultSet
from django.db.models import F, Lookup, Manager, Model, QuerySet, prefetch_related_objects
from django.db.models.query import ModelIterable
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler

from .asking import asking
from .models import Embedding
from .prepared import Statement

if TYPE_CHECKING:
    _Lookup = Lookup[Any]
else:
    _Lookup = Lookup

ITEM = "cardigan_reco_item"
"""The column with the key of a source's item."""


class Source(NamedTuple):
    """A source as it is now, and the key of its item."""

    row: Model
    item_pk: Any


@dataclass(frozen=True, eq=False)
class Selection:
    """A statement that selects sources."""

    sql: str
    width: int
    """Columns of a row."""
    _model: type[Model]
    _names: Sequence[str]
    """The attributes that the columns are of; that of the item comes last, and has none."""
    _query: Query
    _converters: Any
    """From PostgreSQL's values to the fields', as its compilers have them."""

    def sources(self, rows: Iterable[Sequence[Any]], using: str) -> Iterator[Source]:
        """Yields the sources that came as these rows."""
        if self._converters:
            rows = self._query.get_compiler(using).apply_converters(rows, self._converters)
        for row in rows:
            yield Source(self._model.from_db(using, self._names, row[:-1]), row[-1])


def sources(embedding: type[Embedding], pks: Sequence[Any], using: str) -> dict[Any, Source]:
    """Returns the sources with these keys that are there, by key."""
    selection = selected(embedding, "= ANY(%s)", using)
    if selection is None:
        manager = embedding.source_model()._base_manager.using(using)
        found = manager.filter(pk__in=pks).annotate(**_item(embedding))
        return {row.pk: Source(row, getattr(row, ITEM)) for row in found}
    with asking(using) as ask:
        rows = ask(Statement(selection.sql, [list(pks)]), None)
    return {source.row.pk: source for source in selection.sources(rows, using)}


@cache
def selected(embedding: type[Embedding], condition: str, using: str) -> Selection | None:
    """Returns what selects the sources whose key meets a condition, SQL such as "= 3"; None where
    the shop has a base manager of its own, which may add to the rows.
    """
    model = embedding.source_model()
    if type(model._base_manager) is not Manager:
        return None
    key = _Meets(F("pk"), condition)
    rows = model._base_manager.using(using).filter(key).annotate(**_item(embedding)).order_by()
    compiler = rows.query.get_compiler(using)
    sql, _none = compiler.as_sql()
    columns = [column for column, _sql, _alias in compiler.select]
    names = [column.target.attname for column in columns[:-1]]
    return Selection(sql, len(columns), model, names, rows.query, compiler.get_converters(columns))


class Items:
    """A statement that selects items of a shop's queryset, and what makes objects of its rows."""

    keys: str | None = None
    """Selects the keys of all of them, with the same parameters, so that Django needn't write the
    queryset a second time; None where that would read more than the keys."""

    def __init__(self, within: QuerySet[Any], condition: str) -> None:
        # Their attributes without a public name are Django's, as ModelIterable uses them.
        is_bare = _is_bare(within.query)
        is_whole = is_bare or looks_at_others(within.query)
        chosen = within if is_whole else within.filter(_Meets(F("pk"), condition))
        self._queryset: Any = chosen if within.query.distinct_fields else chosen.order_by()
        self._compiler = self._queryset.query.get_compiler(within.db)
        self.sql, self.parameters = self._compiler.as_sql()
        if is_whole:
            targets = [getattr(one, "target", None) for one, _sql, _alias in self._compiler.select]
            names = [f"c{place}" for place in range(len(targets))]
            key = names[targets.index(within.model._meta.pk)]
            table = f"({self.sql}) AS candidate ({', '.join(names)})"
            self.sql = f"SELECT * FROM {table} WHERE {key} {condition}"
            if is_bare:
                self.keys = f"SELECT {key} FROM {table}"

    def objects(self, rows: Iterable[Sequence[Any]]) -> list[Any]:
        """Returns the objects, as the queryset itself would give them."""
        answered: Any = _Answered(self._queryset, self._compiler, rows)
        found: list[Any] = list(ModelIterable(answered))
        prefetch_related_objects(found, *self._queryset._prefetch_related_lookups)
        return found


def items(within: QuerySet[Any], condition: str) -> Items | None:
    """Returns what selects the items of `within` whose key meets a condition, SQL such as "= 3",
    each in a row of its own; None where the queryset does more than to name rows and their columns,
    or is empty without asking.
    """
    try:
        may = _is_plain(within) and not looks_at_others(within.query)
        return Items(within, condition) if may else None
    except EmptyResultSet:
        return None


def among(within: QuerySet[Any], pks: Sequence[Any]) -> list[Any]:
    """Returns the objects of `within` with these keys, each as the whole of it gives them: a rank
    is that among all.
    """
    if not (looks_at_others(within.query) and _is_plain(within)):
        return list(within.filter(pk__in=pks))
    items = Items(within, "= ANY(%s)")
    with asking(within.db) as ask:
        return items.objects(ask(Statement(items.sql, [*items.parameters, list(pks)]), None))


def _is_plain(within: QuerySet[Any]) -> bool:
    """Returns whether a queryset makes objects of its rows as Django does."""
    kind = type(within)
    return (
        within._iterable_class is ModelIterable
        and kind._fetch_all is QuerySet._fetch_all
        and kind.__iter__ is QuerySet.__iter__
        and not within.query.select_for_update
    )


def looks_at_others(query: Query) -> bool:
    """Returns whether which of some rows a query yields, and what of them, depends on the others
    that are there, so that it can't be asked of those rows alone.
    """
    parts: list[Any] = [query.where, *query.annotations.values()]
    has_window = any(part.contains_over_clause for part in parts)
    return has_window or bool(query.distinct_fields or query.combinator)


def _is_bare(query: Query) -> bool:
    """Returns whether a query selects columns of its own table alone, a row for each that its
    filters leave: PostgreSQL then reads no more of it than is asked for.
    """
    return not (
        query.select_related
        or query.annotations
        or query.distinct
        or query.group_by is not None
        or query.extra
    )


class _Answered:
    """What ModelIterable wants of a queryset, its query and compiler, where the rows are there."""

    def __init__(self, queryset: Any, compiler: SQLCompiler, rows: Iterable[Sequence[Any]]) -> None:
        self.db, self.model = queryset.db, queryset.model
        self._known_related_objects = queryset._known_related_objects
        self._fetch_mode = getattr(queryset, "_fetch_mode", None)  # Since Django 6.1.
        self.query = self
        self._compiler = compiler
        self._rows = rows

    def get_compiler(self, using: str) -> _Answered:
        return self

    def execute_sql(self, **_chunks: Any) -> list[Iterable[Sequence[Any]]]:
        return [self._rows]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compiler, name)


def _item(embedding: type[Embedding]) -> dict[str, F]:
    return {ITEM: F(embedding.item_field or "pk")}


class _Meets(_Lookup):
    """A condition that stands behind its column."""

    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> Any:
        sql, parameters = self.process_lhs(compiler, connection)
        return f"{sql} {self.rhs}", parameters
