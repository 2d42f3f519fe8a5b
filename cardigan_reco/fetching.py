"""Fetching sources by their keys, as Django's in_bulk() does, with SQL that is written once.

Each shelf fetches those that it shows, and Django takes longer to write the statement than
PostgreSQL to answer it.
"""

from __future__ import annotations

from collections.abc import Sequence
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

_KEYS = object()
"""Stands for the keys in a statement's parameters."""
ITEM = "cardigan_reco_item"
"""The column with the key of a source's item."""


class Source(NamedTuple):
    """A source as it is now, and the key of its item."""

    row: Model
    item_pk: Any


def sources(embedding: type[Embedding], pks: Sequence[Any], using: str) -> dict[Any, Source]:
    """Returns the sources with these keys that are there, by key."""
    model = embedding.source_model()
    if type(model._base_manager) is not Manager:  # The shop's own, which may add to the rows.
        found = model._base_manager.using(using).filter(pk__in=pks).annotate(**_item(embedding))
        return {row.pk: Source(row, getattr(row, ITEM)) for row in found}
    statement = _statement(embedding, using)
    with connections[using].cursor() as cursor:
        parameters: list[Any] = [pks if v is _KEYS else v for v in statement.parameters]
        cursor.execute(statement.sql, parameters)
        rows = cursor.fetchall()
    if statement.converters:
        compiler = statement.query.get_compiler(using)
        rows = list(compiler.apply_converters(rows, statement.converters))
    made = (Source(model.from_db(using, statement.names, row[:-1]), row[-1]) for row in rows)
    return {source.row.pk: source for source in made}


def _item(embedding: type[Embedding]) -> dict[str, F]:
    return {ITEM: F(embedding.item_field or "pk")}


class _IsAny(_Lookup):
    """`lhs = ANY(keys)`: one parameter, however many keys."""

    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> Any:
        sql, parameters = self.process_lhs(compiler, connection)
        return f"{sql} = ANY(%s)", [*parameters, self.rhs]


@dataclass(frozen=True)
class _Statement:
    sql: str
    parameters: Sequence[Any]
    names: Sequence[str]
    """The attributes that the columns are of; that of the item comes last, and has none."""
    query: Query
    converters: Any
    """From PostgreSQL's values to the fields', as its compilers have them."""


@cache
def _statement(embedding: type[Embedding], using: str) -> _Statement:
    rows = (
        embedding.source_model()
        ._base_manager.using(using)
        .filter(_IsAny(F("pk"), _KEYS))
        .annotate(**_item(embedding))
    )
    compiler = rows.query.get_compiler(using)
    sql, parameters = compiler.as_sql()
    columns = [column for column, _sql, _alias in compiler.select]
    names = [column.target.attname for column in columns[:-1]]
    return _Statement(sql, parameters, names, rows.query, compiler.get_converters(columns))
