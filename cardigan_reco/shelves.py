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
from hashlib import sha256
from itertools import repeat
from typing import Any

from django.core.cache import DEFAULT_CACHE_ALIAS, BaseCache, caches
from django.db import connections
from django.db.models import QuerySet

from . import conf, estimates, fetching, neighbours
from .asking import asking
from .fetching import Items, Selection, Source
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


def of_item(
    embedding: type[Embedding], pk: Any, *, within: QuerySet[Any], limit: int, shown: int
) -> Shelf:
    """Returns what is near an item, some more than `limit`: from the cache, if the item has the
    pictures that it had, and no vector was written since or it is younger than SHELF_SECONDS.

    Otherwise it is searched, as well if the cache fails. Whether the pictures on it are there, and
    of the same items, and these in `within`, is for the caller to see; the first `shown` of the
    cache come with theirs.
    """
    using = within.db
    count = PER_WANTED * limit + SPARE
    key = _key(embedding, pk, count, using)
    kept: _Kept | None = None
    with _trouble():
        kept = _cache().get(key)
    keys = [] if kept is None else [source_pk for _item, source_pk, _similarity in kept[-1]]
    revision, own, has_written, there = _state(embedding, pk, keys[:shown], within)
    now = time.time()
    has_held = kept is not None and _holds(kept, revision, own, now)
    if kept is not None and has_held:
        matches = [
            Match(item, source, similarity, *there.get(source, (None, None)))
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
    embedding: type[Embedding], pk: Any, keys: list[Any], within: QuerySet[Any]
) -> tuple[int, list[Any], bool, dict[Any, tuple[Source, Any]]]:
    """Returns the collection's revision, the keys of the item's pictures, whether this transaction
    has written anything, and the sources with these keys beside their items in `within`, or None;
    no sources, and no items, where they are fetched in another way.
    """
    using = within.db
    connection = connections[using]
    # A source that is its own item comes from the shop's queryset.
    is_wanted = bool(keys) and embedding.item_field is not None
    sources = fetching.selected(embedding, "= ANY(%s)", using) if is_wanted else None
    items = fetching.items(within, f"= there.{fetching.ITEM}") if sources else None
    item = embedding.item_model()._meta.pk.get_db_prep_value(pk, connection)
    statement = Statement(
        _sql(embedding, sources, items, using),
        own=[embedding._meta.label_lower, item, *([keys] if sources else [])],
        shared=items.parameters if items else [],
    )
    with asking(using) as ask:
        rows = ask(statement, None)
    revision, own, has_written, *_there = rows[0]
    if sources is None:
        return revision, own, has_written, {}
    rows = [row[3:] for row in rows if row[3]]
    end = 1 + sources.width
    pictures = sources.sources([row[1:end] for row in rows], using)
    objects: Iterator[Any] = repeat(None)
    if items is not None:
        found = iter(items.objects([row[end + 1 :] for row in rows if row[end]]))
        objects = (next(found) if row[end] else None for row in rows)
    there = zip(pictures, objects, strict=False)
    return revision, own, has_written, {source.row.pk: (source, one) for source, one in there}


def _sql(
    embedding: type[Embedding], sources: Selection | None, items: Items | None, using: str
) -> str:
    state = f"""
        SELECT coalesce((SELECT revision FROM {TABLE} WHERE collection = %s), 0) AS revision,
            ARRAY(SELECT source FROM {neighbours.pictured(embedding, using)}
                WHERE item = %s ORDER BY source) AS own,
            pg_current_xact_id_if_assigned() IS NOT NULL AS has_written"""
    if sources is None:
        return state
    joined = f"""
        SELECT * FROM ({state}) AS state
        LEFT JOIN (SELECT true AS is_there, selected.* FROM ({sources.sql}) AS selected)
            AS there ON true"""
    if items is None:
        return joined
    return f"""{joined}
        LEFT JOIN LATERAL (SELECT true AS is_there, shown.* FROM ({items.sql} LIMIT 1) AS shown)
            AS item ON true"""
