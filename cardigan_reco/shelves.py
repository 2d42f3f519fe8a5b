"""Shelves: what is near an item, kept in the cache of CARDIGAN_RECO["SHELF_CACHE"].

Kept are primary keys and similarities, never objects, and whatever the shop's filter: that is asked
anew, and all that is shown is read anew. A shelf holds as long as no vector of the collection is
written, the item has the pictures that it had, and those on the shelf are there and of the same
items. All of that is asked of the database each time, so no cache needs to be told of a change, and
each process may have its own. A transaction that has written something sees what others may never
see, and keeps nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

from django.core.cache import DEFAULT_CACHE_ALIAS, BaseCache, caches
from django.db import connections

from . import conf, estimates, fetching, neighbours, prepared
from .fetching import Selection, Source
from .models import Embedding
from .neighbours import Match
from .prepared import Statement
from .revisions import TABLE

FORMAT = 1
"""Of what is kept, part of its key."""
PER_WANTED, SPARE = 2, 8
"""Matches that are kept for each wanted one, and besides: the shop's filter takes some away."""

QUIET_SECONDS = 60
"""After a failure of the cache is logged: each shelf would tell of it."""
_quiet_until = 0.0

_Kept = tuple[int, float, list[Any], list[tuple[Any, Any, float]]]
"""The revision, the time, the keys of the item's pictures, and the matches, in types that any cache
can hold.
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shelf:
    """What is near an item."""

    key: str
    matches: list[Match]
    """Nearest first, the item itself left out."""
    is_all: bool
    """Whether nothing else of the collection has a picture that could be compared."""
    has_held: bool
    """Whether it comes from the cache."""

    def forget(self) -> None:
        """Takes it out of the cache: a picture turned out to be gone, or of another item."""
        with _trouble():
            _cache().delete(self.key)


def of_item(embedding: type[Embedding], pk: Any, *, limit: int, shown: int, using: str) -> Shelf:
    """Returns what is near an item, some more than `limit`: from the cache, if the item has the
    pictures that it had, and no vector was written since or it is younger than SHELF_SECONDS.

    Otherwise it is searched, as well if the cache fails. Whether the pictures on it are there, and
    of the same items, is for the caller to see; the first `shown` of the cache come with theirs.
    """
    count = PER_WANTED * limit + SPARE
    key = _key(embedding, pk, count, using)
    kept: _Kept | None = None
    with _trouble():
        kept = _cache().get(key)
    keys = [] if kept is None else [source_pk for _item, source_pk, _similarity in kept[-1]]
    revision, own, has_written, sources = _state(embedding, pk, keys[:shown], using)
    now = time.time()
    has_held = kept is not None and _holds(kept, revision, own, now)
    if kept is not None and has_held:
        matches = [
            Match(item, source, similarity, sources.get(source))
            for item, source, similarity in kept[-1]
        ]
    else:
        # The state was read before the vectors, so what is found can only be newer.
        matches = neighbours.nearest(
            embedding,
            neighbours.of_item(embedding, pk, using),
            candidates=embedding.item_model()._base_manager.using(using).all(),
            excluded=[pk],
            limit=count,
            using=using,
        )
        if not has_written:
            with _trouble():
                _cache().set(key, (revision, now, own, [match[:3] for match in matches]))
    is_all = len(matches) < count and not _may_stay_short(embedding, using)
    return Shelf(key, matches, is_all, has_held)


def _may_stay_short(embedding: type[Embedding], using: str) -> bool:
    """Returns whether a search of the whole collection may miss items rather than compare all."""
    pictures, _items = estimates.totals(embedding, using)
    return pictures > neighbours.MAX_EXACT_ROWS


def _holds(kept: _Kept, revision: int, own: list[Any], now: float) -> bool:
    kept_revision, since, kept_own, _matches = kept
    is_new = kept_revision == revision or 0 <= now - since < conf.current().shelf_seconds
    return is_new and kept_own == own


def _key(embedding: type[Embedding], pk: Any, count: int, using: str) -> str:
    # Keys of items may be longer, or hold other letters, than memcached takes.
    item = sha256(str(pk).encode()).hexdigest()[:32]
    return f"cardigan_reco.{FORMAT}.{using}.{embedding._meta.label_lower}.{count}.{item}"


def _cache() -> BaseCache:
    return caches[conf.current().shelf_cache or DEFAULT_CACHE_ALIAS]


@contextmanager
def _trouble() -> Iterator[None]:
    """Lets a shop go on whose cache is down, and says so now and then."""
    global _quiet_until
    try:
        yield
    except Exception as error:  # Each backend has errors of its own.
        if time.monotonic() >= _quiet_until:
            _quiet_until = time.monotonic() + QUIET_SECONDS
            alias = conf.current().shelf_cache
            logger.warning(
                "The cache %r fails, so shelves are searched: %s: %s",
                alias,
                type(error).__name__,
                error,
                extra={"cache": alias, "error": type(error).__name__},
            )


def _state(
    embedding: type[Embedding], pk: Any, keys: list[Any], using: str
) -> tuple[int, list[Any], bool, dict[Any, Source]]:
    """Returns the collection's revision, the keys of the item's pictures, whether this transaction
    has written anything, and the sources with these keys, unless they are fetched in another way.
    """
    connection = connections[using]
    # A source that is its own item comes from the shop's queryset.
    is_wanted = bool(keys) and embedding.item_field is not None
    selection = fetching.selected(embedding, "= ANY(%s)", using) if is_wanted else None
    item = embedding.item_model()._meta.pk.get_db_prep_value(pk, connection)
    parameters = [embedding._meta.label_lower, item] + ([keys] if selection else [])

    def execute(statement: Statement) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement.sql, statement.parameters)
            return prepared.last_rows(cursor)

    sql = _sql(embedding, selection, using)
    rows = prepared.ask(connection, Statement(sql, own=parameters), execute)
    revision, own, has_written, *_source = rows[0]
    sources: dict[Any, Source] = {}
    if selection is not None:
        columns = (row[4:] for row in rows if row[3])
        sources = {source.row.pk: source for source in selection.sources(columns, using)}
    return revision, own, has_written, sources


@cache
def _sql(embedding: type[Embedding], selection: Selection | None, using: str) -> str:
    state = f"""
        SELECT coalesce((SELECT revision FROM {TABLE} WHERE collection = %s), 0),
            ARRAY(SELECT source FROM {neighbours.pictured(embedding, using)}
                WHERE item = %s ORDER BY source),
            pg_current_xact_id_if_assigned() IS NOT NULL"""
    if selection is None:
        return state
    return f"""
        SELECT * FROM ({state}) AS state
        LEFT JOIN (SELECT true, selected.* FROM ({selection.sql}) AS selected) AS there ON true"""
