"""Fetching sources as Django does, with SQL that is written once.

Each shelf fetches those that it shows, and Django takes longer to write the statement than
PostgreSQL to answer it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections
from django.db.models import F, Lookup, Manager, Model
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler

from .models import Embedding

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
    with connections[using].cursor() as cursor:
        cursor.execute(selection.sql, [list(pks)])
        return {source.row.pk: source for source in selection.sources(cursor.fetchall(), using)}


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
    return Selection(sql, model, names, rows.query, compiler.get_converters(columns))


def _item(embedding: type[Embedding]) -> dict[str, F]:
    return {ITEM: F(embedding.item_field or "pk")}


class _Meets(_Lookup):
    """A condition that stands behind its column."""

    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> Any:
        sql, parameters = self.process_lhs(compiler, connection)
        return f"{sql} {self.rhs}", parameters
