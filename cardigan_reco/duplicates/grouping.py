"""Pairs to groups: listings that are likely one thing, each with evidence of its own for it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from django.db import connections
from django.utils import timezone

from cardigan_reco.models import DuplicateGroup, DuplicatePair, DuplicateState

from . import listings

ROUNDS = 8
"""How often pairs that fit into no group are tried among themselves; then each stands alone."""
PAIRS = DuplicatePair._meta.db_table
SETTLED = (DuplicateState.CONFIRMED, DuplicateState.MERGED)


class Link(NamedTuple):
    """A pair, as far as groups are formed by it."""

    id: int
    first: str
    second: str
    state: str
    kind: str
    probability: float
    group: int | None


def lock(collection: str, *, using: str) -> None:
    """Waits until nobody else changes the pairs and groups of a collection, and keeps others from
    it until the transaction ends.

    Whoever changes them takes it before any row lock, so that no two can wait for each other.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('cardigan_reco.pairs ' || %s, 0))",
            [collection],
        )


def refresh(group_ids: Iterable[int], *, using: str) -> None:
    """Forms groups anew, in the caller's transaction, after it has changed pairs of theirs.

    Members, state, kind, probability and category are set, and their versions grow by one. A group
    whose pairs were dismissed stays as a dismissed one; one that lost all its pairs is deleted.
    """
    by_collection: dict[str, set[int]] = defaultdict(set)
    for pk, collection in (
        DuplicateGroup.objects.using(using)
        .filter(pk__in=list(group_ids))
        .values_list("pk", "collection")
    ):
        by_collection[collection].add(pk)
    for collection, pks in sorted(by_collection.items()):
        pairs = DuplicatePair.objects.using(using).filter(group__in=pks)
        rows = list(pairs.values_list("pk", "first_pk", "second_pk"))
        regroup(
            collection,
            {pk for row in rows for pk in row[1:]},
            changed={row[0] for row in rows},
            groups=pks,
            using=using,
        )


def regroup(
    collection: str,
    item_pks: Collection[str],
    *,
    changed: Collection[int] = (),
    groups: Collection[int] = (),
    using: str,
) -> None:
    """Forms the groups anew that these listings are in, in the caller's transaction.

    `changed`: pairs whose group grows in version even if it keeps its members. `groups`: those that
    have lost pairs. Takes nine statements at most; what didn't change is left as it is.
    """
    lock(collection, using=using)
    links = _reachable(collection, item_pks, using) if item_pks else []
    parts = [
        *partition([link for link in links if link.state != DuplicateState.DISMISSED]),
        *partition([link for link in links if link.state == DuplicateState.DISMISSED]),
    ]
    before = {link.group for link in links if link.group is not None} | set(groups)
    known = DuplicateGroup.objects.using(using).select_for_update().order_by("pk")
    rows = known.in_bulk(before)
    chosen = _keep(parts, rows)
    lost = set(groups) | {
        link.group
        for pk, part in zip(chosen, parts, strict=True)
        for link in part
        if link.group is not None and link.group != pk
    }
    _write(collection, parts, chosen, rows, set(changed), lost, using)
    if vacant := set(rows) - {pk for pk in chosen if pk is not None}:
        empty = DuplicateGroup.objects.using(using).filter(pk__in=vacant, pairs=None)
        empty.delete()


def partition(links: Sequence[Link]) -> list[list[Link]]:
    """Splits pairs into groups of listings that are linked to more than half of one another.

    So two listings that are linked through a third alone are not in one group, and the third is in
    two. The surest links count first, those that a person confirmed before all.
    """
    left = sorted(
        links,
        key=lambda link: (link.state not in SETTLED, -link.probability, link.first, link.second),
    )
    parts: list[list[Link]] = []
    for _ in range(ROUNDS):
        if not left:
            break
        members = _clusters(left)
        within: dict[int, list[Link]] = defaultdict(list)
        apart = []
        for link in left:
            if members[link.first] is members[link.second]:
                within[id(members[link.first])].append(link)
            else:
                apart.append(link)
        parts += within.values()
        left = apart
    return parts + [[link] for link in left]


def _clusters(links: Sequence[Link]) -> dict[str, set[str]]:
    """Returns for each listing the set of those, itself included, that it is best grouped with."""
    linked: dict[str, set[str]] = defaultdict(set)
    for link in links:
        linked[link.first].add(link.second)
        linked[link.second].add(link.first)
    members = {pk: {pk} for pk in linked}
    for link in links:
        one, other = members[link.first], members[link.second]
        if one is other:
            continue
        direct = sum(len(linked[pk] & other) for pk in one)
        if 2 * direct > len(one) * len(other):
            one |= other
            for pk in other:
                members[pk] = one
    return members


def _reachable(collection: str, item_pks: Collection[str], using: str) -> list[Link]:
    """Returns the pairs that are connected to these listings through pairs of their own sort:
    dismissed ones through dismissed ones, and the others through the others.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"""
            WITH RECURSIVE reach (pk, dismissed) AS (
                SELECT pk, dismissed
                FROM unnest(%(pks)s::text[]) pk, unnest(ARRAY[true, false]) dismissed
                UNION
                SELECT near.pk, reach.dismissed FROM reach CROSS JOIN LATERAL (
                    SELECT second_pk FROM {PAIRS} WHERE collection = %(collection)s
                        AND first_pk = reach.pk AND (state = 'dismissed') = reach.dismissed
                    UNION ALL
                    SELECT first_pk FROM {PAIRS} WHERE collection = %(collection)s
                        AND second_pk = reach.pk AND (state = 'dismissed') = reach.dismissed
                ) AS near (pk))
            SELECT pair.id, first_pk, second_pk, state, kind, probability, group_id
            FROM reach JOIN {PAIRS} pair ON pair.collection = %(collection)s
                AND pair.first_pk = reach.pk AND (pair.state = 'dismissed') = reach.dismissed
            ORDER BY pair.id FOR UPDATE OF pair
            """,
            {"pks": sorted(item_pks), "collection": collection},
        )
        return [Link(*row) for row in cursor.fetchall()]


def _keep(parts: Sequence[Sequence[Link]], rows: Collection[int]) -> list[int | None]:
    """Returns for each part the group whose row it keeps: the one it has most pairs in common with.

    None: it is a new one.
    """
    common = Counter(
        (place, link.group)
        for place, part in enumerate(parts)
        for link in part
        if link.group is not None and link.group in rows
    )
    chosen: list[int | None] = [None] * len(parts)
    taken = set()
    for (place, group), _ in sorted(common.items(), key=lambda entry: (-entry[1], entry[0])):
        if chosen[place] is None and group not in taken:
            chosen[place] = group
            taken.add(group)
    return chosen


def _write(
    collection: str,
    parts: Sequence[Sequence[Link]],
    chosen: list[int | None],
    rows: dict[int, DuplicateGroup],
    changed: Collection[int],
    lost: Collection[int],
    using: str,
) -> None:
    """Stores the parts; fills in the ids of new ones in `chosen`."""
    now = timezone.now()
    categories = _categories(collection, [_listings(collection, part)[0] for part in parts], using)
    new, altered = [], []
    for place, part in enumerate(parts):
        pk = chosen[place]
        group = DuplicateGroup(collection=collection) if pk is None else rows[pk]
        differs = _describe(group, part, _listings(collection, part), categories)
        if pk is None:
            new.append((place, group))
        elif differs or pk in lost or any(link.group != pk or link.id in changed for link in part):
            group.version += 1
            group.changed_at = now
            altered.append(group)
    DuplicateGroup.objects.using(using).bulk_create([group for _, group in new])
    for place, group in new:
        chosen[place] = group.pk
    _update(altered, using)
    moved = [
        (link.id, chosen[place])
        for place, part in enumerate(parts)
        for link in part
        if link.group != chosen[place]
    ]
    if moved:
        with connections[using].cursor() as cursor:
            cursor.execute(
                f"""
                UPDATE {PAIRS} pair SET group_id = moved.group_id
                FROM unnest(%s::bigint[], %s::bigint[]) AS moved (id, group_id)
                WHERE pair.id = moved.id
                """,
                [[pair for pair, _ in moved], [group for _, group in moved]],
            )


DESCRIBED = ["state", "kind", "probability", "listings", "category", "survivor_pk"]
WRITTEN = [*DESCRIBED, "version", "changed_at"]


def _update(groups: Sequence[DuplicateGroup], using: str) -> None:
    """Stores what has changed of groups; bulk_update() takes seconds for a thousand."""
    if not groups:
        return
    columns = [DuplicateGroup._meta.get_field(name) for name in WRITTEN]
    connection = connections[using]
    given = ", ".join(f"%s::{column.db_type(connection)}[]" for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE {DuplicateGroup._meta.db_table} groups
            SET {", ".join(f"{name} = given.{name}" for name in WRITTEN)}
            FROM unnest(%s::bigint[], {given}) AS given (id, {", ".join(WRITTEN)})
            WHERE groups.id = given.id
            """,
            [[group.pk for group in groups]]
            + [[getattr(group, name) for group in groups] for name in WRITTEN],
        )


def _describe(
    group: DuplicateGroup,
    part: Sequence[Link],
    item_pks: Sequence[str],
    categories: dict[str, str],
) -> bool:
    """Sets what the report shows and sorts by; returns whether any of it differs."""
    before = [getattr(group, name) for name in DESCRIBED]
    states = {link.state for link in part}
    best = max(part, key=lambda link: (link.probability, -link.id))
    group.state = next(state for state in DuplicateState.values if state in states)
    group.kind = best.kind
    group.probability = best.probability
    group.listings = len(item_pks)
    group.category = categories.get(item_pks[0], "")
    if group.survivor_pk not in item_pks:
        group.survivor_pk = ""
    return before != [getattr(group, name) for name in DESCRIBED]


def _listings(collection: str, part: Sequence[Link]) -> list[str]:
    """Returns the listings of the pairs, in the order of their keys."""
    key = listings.embedding_of(collection).item_model()._meta.pk
    return sorted({pk for link in part for pk in (link.first, link.second)}, key=key.to_python)


def _categories(collection: str, item_pks: Sequence[str], using: str) -> dict[str, str]:
    shop = listings.current()
    if shop is None or shop.category_field is None or not item_pks:
        return {}
    if shop.collection != collection:
        return {}
    items: Any = shop.embedding.item_model()._base_manager.using(using)
    rows = items.filter(pk__in=item_pks).values_list("pk", shop.category_field)
    limit = DuplicateGroup._meta.get_field("category").max_length
    return {str(pk): str(category)[:limit] for pk, category in rows if category is not None}
