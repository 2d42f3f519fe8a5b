"""Listings that people said are one thing: of those, a shelf shows one."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from typing import Any

from django.db.models import Q

from cardigan_reco import conf
from cardigan_reco.models import DuplicatePair, DuplicateState, Embedding

SETTLED = (DuplicateState.CONFIRMED, DuplicateState.MERGED)


def are_known(embedding: type[Embedding]) -> bool:
    """Returns whether the shop looks for duplicates in this collection."""
    settings = conf.current()
    duplicates = settings.duplicate_listings
    if duplicates is None:
        return False
    return (
        settings.collections.get(duplicates.collection, "").lower() == embedding._meta.label_lower
    )


def distinct(
    embedding: type[Embedding], item_pks: Sequence[Any], *, besides: Collection[Any], using: str
) -> list[Any]:
    """Returns the items, in their order, without those that are one thing with one before them or
    with one of `besides`.

    One thing are listings that were confirmed or merged as a pair or as members of a group, and
    those that are one thing with a third. All items are returned where families aren't known. Takes
    one statement.
    """
    if not item_pks or not are_known(embedding):
        return list(item_pks)
    pks = sorted({str(pk) for pk in [*item_pks, *besides]})
    pairs = DuplicatePair.objects.using(using).filter(
        Q(first_pk__in=pks) | Q(second_pk__in=pks),
        collection=embedding._meta.label_lower,
        state__in=SETTLED,
    )
    family = _families(
        _links(pairs.values_list("first_pk", "second_pk", "group_id", "group__state"))
    )
    taken = {family.get(str(pk), str(pk)) for pk in besides}
    kept = []
    for pk in item_pks:
        own = family.get(str(pk), str(pk))
        if own not in taken:
            taken.add(own)
            kept.append(pk)
    return kept


def _links(
    pairs: Iterable[tuple[str, str, int | None, str | None]],
) -> Iterator[tuple[Hashable, Hashable]]:
    """Yields what is one thing: listings as text, and groups by their numbers."""
    for first, second, group, state in pairs:
        yield first, second
        if state in SETTLED:
            yield first, group


def _families(links: Iterable[tuple[Hashable, Hashable]]) -> dict[Hashable, Hashable]:
    """Returns for each end of a link one that stands for all that are connected with it."""
    members: dict[Hashable, list[Hashable]] = {}
    family: dict[Hashable, Hashable] = {}
    for first, second in links:
        one, other = family.setdefault(first, first), family.setdefault(second, second)
        if one != other:
            joined = members.pop(other, [other])
            members.setdefault(one, [one]).extend(joined)
            family.update(dict.fromkeys(joined, one))
    return family
