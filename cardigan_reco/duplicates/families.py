"""Listings that people said are one thing: of those, a shelf shows one."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from typing import Any

from django.db.models import Case, When

from cardigan_reco import collection, conf
from cardigan_reco.asking import asking
from cardigan_reco.models import DuplicateGroup, DuplicatePair, DuplicateState, Embedding
from cardigan_reco.prepared import Statement

from . import listings

SETTLED = (DuplicateState.CONFIRMED, DuplicateState.MERGED)


def are_known(embedding: type[Embedding]) -> bool:
    """Returns whether the shop looks for duplicates among these pictures."""
    settings = conf.current().duplicate_listings
    if settings is None or settings.collection not in conf.current().collections:
        return False
    serving = collection.serving(settings.collection)
    return listings.collection_of(serving) == listings.collection_of(embedding)


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
    family = _families(_links(_settled(listings.collection_of(embedding), pks, using)))
    taken = {family.get(str(pk), str(pk)) for pk in besides}
    kept = []
    for pk in item_pks:
        own = family.get(str(pk), str(pk))
        if own not in taken:
            taken.add(own)
            kept.append(pk)
    return kept


def confirmed(embedding: type[Embedding], *, using: str) -> dict[str, str]:
    """Returns for each listing that was ever confirmed as a double one that stands for all that are
    one thing with it, as `distinct()` has it: keys as text. Neither need be there any more.
    """
    pairs = DuplicatePair.objects.using(using).filter(
        collection=listings.collection_of(embedding), state__in=SETTLED
    )
    settled_group = Case(When(group__state__in=SETTLED, then="group_id"))
    rows = pairs.order_by("pk").values_list("first_pk", "second_pk", settled_group)
    found = _families(_links(rows.iterator()))
    return {pk: str(one) for pk, one in found.items() if isinstance(pk, str)}


def _settled(collection: str, pks: list[str], using: str) -> list[tuple[str, str, int | None]]:
    """Returns the settled pairs with any of these listings, each with its group if that is settled.

    In SQL as text, since every shelf waits for it, and the ORM takes longer than PostgreSQL.
    """
    states = [str(state) for state in SETTLED]
    sql = f"""
        SELECT pair.first_pk, pair.second_pk, settled.id
        FROM {DuplicatePair._meta.db_table} AS pair
        LEFT JOIN {DuplicateGroup._meta.db_table} AS settled
            ON settled.id = pair.group_id AND settled.state = ANY(%s)
        WHERE pair.collection = %s AND pair.state = ANY(%s)
            AND (pair.first_pk = ANY(%s) OR pair.second_pk = ANY(%s))"""
    with asking(using) as ask:
        return ask(Statement(sql, own=[states, collection, states, pks, pks]), None)


def _links(
    pairs: Iterable[tuple[str, str, int | None]],
) -> Iterator[tuple[Hashable, Hashable]]:
    """Yields what is one thing: listings as text, and groups by their numbers."""
    for first, second, group in pairs:
        yield first, second
        if group is not None:
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
