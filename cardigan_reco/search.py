"""Search by photo, and what every search shares: from nearest pictures to the shop's own items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Manager, QuerySet, prefetch_related_objects
from django.db.models.query import ModelIterable

from . import collection as collections
from . import conf, fetching, metrics, neighbours, photos, shelves
from .asking import sparing
from .duplicates import families
from .fetching import Source
from .images import Crop, Readable
from .models import Embedding

MAX_LIMIT = 100
SPARE = 4
"""Matches beyond those that are wanted, in place of listings of one thing: of more, a second search
is made.
"""


def by_image(
    picture: bytes | Readable,
    *,
    within: QuerySet[Any] | None = None,
    limit: int = 8,
    offset: int = 0,
    min_similarity: float = 0.0,
    crop: Crop | None = None,
    collection: str = "similar",
) -> list[Any]:
    """Returns up to `limit` items of `within` that look like a photo, most similar first.

    `picture`: a JPEG, PNG or WebP file, or its bytes; neither is kept. `crop`: left, top, right and
    bottom of the part that counts, as shares of the upright picture's sides. `offset`: how many of
    the first items to leave out; with `limit` it may reach 100.
    `within` and the answers are as in `recommendations.similar_to()`.

    Raises ImageError for a picture that can't be used, Busy when too many are being encoded or no
    worker answers, LookupError for an unknown collection, TypeError for what is no file, and
    ValueError for a crop without an area and for numbers out of range.
    """
    if not (isinstance(picture, bytes) or hasattr(picture, "read")):
        raise TypeError(
            f"picture must be an open file, or its bytes, got a {type(picture).__name__}."
        )
    embedding = collections.serving(collection)
    within = embedding.candidates() if within is None else within
    _check(embedding, within, limit, offset, min_similarity)
    with metrics.search("photo", embedding._meta.label_lower) as answer:
        photo = photos.encode(picture, encoder=embedding.encoder, crop=crop)
        query = neighbours.given(
            photo.vector, encoder=embedding.encoder, fingerprint=photo.fingerprint
        )
        return answer.of(
            items(
                embedding,
                query,
                within=within,
                limit=limit,
                offset=offset,
                min_similarity=min_similarity,
            )
        )


def around_item(
    embedding: type[Embedding],
    pk: Any,
    *,
    within: QuerySet[Any],
    excluded: Sequence[Any],
    limit: int,
    min_similarity: float,
) -> list[Any]:
    """Returns what `items()` does, around the pictures of an item; by way of the cache of shelves,
    where there is one, and `within` can be asked of what is on a shelf alone.
    """
    _check(embedding, within, limit, 0, min_similarity)
    if conf.current().shelf_cache is not None and not fetching.looks_at_others(within.query):
        first = limit + (SPARE if families.are_known(embedding) else 0)
        with sparing(within.db):
            shelf = shelves.of_item(embedding, pk, within=within, limit=limit, shown=first)
            found = _of_shelf(embedding, shelf, within, excluded, limit, first, min_similarity)
        result = "searched" if found is None else "held" if shelf.has_held else "renewed"
        metrics.shelf(embedding._meta.label_lower, result)
        if found is not None:
            return found
    return items(
        embedding,
        neighbours.of_item(embedding, pk, within.db),
        within=within,
        excluded=excluded,
        limit=limit,
        min_similarity=min_similarity,
    )


def items(
    embedding: type[Embedding],
    query: neighbours.Query,
    *,
    within: QuerySet[Any],
    excluded: Sequence[Any] = (),
    limit: int,
    offset: int = 0,
    min_similarity: float,
) -> list[Any]:
    """Returns the items of `within` that are nearest to `query`, each with `similarity` and
    `matched_source`.

    Of listings that were confirmed as one thing, only the nearest is there; none, if one of them is
    `excluded`, the primary keys of items that are left out.

    Raises TypeError and ValueError as `by_image()` and `recommendations.similar_to()` say.
    """
    _check(embedding, within, limit, offset, min_similarity)
    with sparing(within.db):
        matches = _distinct(embedding, query, within, excluded, offset + limit)
        near_enough = [match for match in matches[offset:] if match.similarity >= min_similarity]
        return _hydrate(embedding, near_enough, within)


def _distinct(
    embedding: type[Embedding],
    query: neighbours.Query,
    within: QuerySet[Any],
    excluded: Sequence[Any],
    limit: int,
) -> list[neighbours.Match]:
    """Returns the nearest `limit` matches of different things."""
    wanted = limit + (SPARE if families.are_known(embedding) else 0)
    while True:
        matches = neighbours.nearest(
            embedding,
            query,
            candidates=within,
            excluded=excluded,
            limit=wanted,
            using=within.db,
            with_sources=embedding.item_field is not None,
            with_items=True,
        )
        found = {match.item_pk: match for match in matches}
        kept = families.distinct(embedding, list(found), besides=excluded, using=within.db)
        if len(kept) >= limit or len(matches) < wanted:
            return [found[pk] for pk in kept[:limit]]
        wanted = limit + SPARE + 2 * (len(matches) - len(kept))


def _of_shelf(
    embedding: type[Embedding],
    shelf: shelves.Shelf,
    within: QuerySet[Any],
    excluded: Sequence[Any],
    limit: int,
    first: int,
    floor: float,
) -> list[Any] | None:
    """Returns the items of a shelf, after a look at the `first` matches, if they do; None if it
    doesn't hold, or `within` leaves too few of it.
    """
    unwanted = set(excluded)
    near = [
        match
        for match in shelf.matches
        if match.similarity >= floor and match.item_pk not in unwanted
    ]
    ends = shelf.is_all or (bool(shelf.matches) and shelf.matches[-1].similarity < floor)
    found: dict[Any, Any] = {}
    for matches in (near[:first], near[first:]):
        try:
            answers = _hydrate(embedding, matches, within, must_hold=True)
        except _Moved:
            shelf.forget()
            return None
        found |= {item.pk: item for item in answers}
        kept = families.distinct(embedding, list(found), besides=excluded, using=within.db)
        if len(kept) >= limit:
            return [found[pk] for pk in kept[:limit]]
        if not ends and len(found) * len(near) < limit * first:
            return None  # As few of the others wouldn't do.
    return [found[pk] for pk in kept] if ends else None


class _Moved(Exception):
    """A picture is gone, or of another item."""


def _hydrate(
    embedding: type[Embedding],
    matches: list[neighbours.Match],
    within: QuerySet[Any],
    *,
    must_hold: bool = False,
) -> list[Any]:
    """Returns the items of the matches in their order, from `within`.

    A picture that is gone, or of another item by now, takes its match with it; where matches
    `must_hold`, it raises _Moved.
    """
    if not matches:
        return []
    items = {match.item_pk: match.item for match in matches if match.item is not None}
    # Where items came along, a picture that came without one has none in `within`.
    others = [
        match.item_pk
        for match in matches
        if match.item is None and (match.source is None or not items)
    ]
    if others:
        items |= {item.pk: item for item in fetching.among(within, others)}
    if embedding.item_field is None:
        sources = {pk: Source(item, pk) for pk, item in items.items()}
        must_hold = False  # What isn't in `within` may be gone as well.
    else:
        sources = {match.source_pk: match.source for match in matches if match.source}
        missing = [match.source_pk for match in matches if match.source is None]
        if missing:
            sources |= fetching.sources(embedding, missing, within.db)
    answers = []
    for match in matches:
        source = sources.get(match.source_pk)
        if source is None or source.item_pk != match.item_pk:
            if must_hold:
                raise _Moved
        elif match.item_pk in items:
            item = items[match.item_pk]
            item.similarity, item.matched_source = match.similarity, source.row
            answers.append(item)
    if keys := embedding.picture_keys():
        prefetch_related_objects([item.matched_source for item in answers], keys)
    return answers


def check_within(embedding: type[Embedding], within: object) -> None:
    """Raises TypeError or ValueError for what can't say which items may be found."""
    model = embedding.item_model()
    if not isinstance(within, QuerySet):
        remedy = "; its all() is one" if isinstance(within, Manager) else ""
        raise TypeError(
            f"within must be a queryset of {model._meta.label}, "
            f"got a {type(within).__name__}{remedy}."
        )
    if not issubclass(within.model, model):
        raise TypeError(
            f"within must be a queryset of {model._meta.label}, got {within.model._meta.label}."
        )
    if not issubclass(within._iterable_class, ModelIterable):
        raise TypeError("within must be a queryset of objects, not of their values().")
    if within.query.combinator:
        raise ValueError(f"within must not be a {within.query.combinator}; combine with Q objects.")
    if within.query.is_sliced:
        raise ValueError("within must not be sliced; give the number of items as limit.")


def _check(
    embedding: type[Embedding], within: QuerySet[Any], limit: int, offset: int, floor: float
) -> None:
    check_within(embedding, within)
    if not (isinstance(limit, int) and 1 <= limit <= MAX_LIMIT):
        raise ValueError(f"limit must be a whole number from 1 to {MAX_LIMIT}, got {limit!r}.")
    if not (isinstance(offset, int) and 0 <= offset <= MAX_LIMIT - limit):
        raise ValueError(
            f"offset must be a whole number from 0 to {MAX_LIMIT - limit} with a limit of {limit}, "
            f"got {offset!r}."
        )
    try:
        possible = 0 <= floor <= 1
    except TypeError:
        possible = False  # A template's "0.5" is text.
    if not possible:
        raise ValueError(f"min_similarity must be from 0 to 1, got {floor!r}.")
