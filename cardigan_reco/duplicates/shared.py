"""Pictures that many listings carry, such as placeholders: found, counted, and given up again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections

from cardigan_reco import copies
from cardigan_reco.copies import Comparison, Descriptor
from cardigan_reco.models import SharedPicture

from . import descriptors, pending
from .candidates import DESCRIPTORS
from .pending import CHECKS, Picture
from .pictures import COLUMNS, Pictures

SHARED = SharedPicture._meta.db_table
MAX_DISTANCE = 8
"""Bits in which the hash of a shared picture differs at most from that of its example."""
SURE = 0.8
"""Probability from which two pictures are taken for one photo, as far as listings are counted."""


@dataclass(frozen=True)
class Crowd:
    """Listings that carry one picture."""

    digest: str
    """Of the file that stands for it."""
    source: Any
    """One of the pictures with that file."""
    members: Collection[Any]
    """The other sources that show it."""
    listings: int


def known(pictures: Pictures, compared: Sequence[Picture]) -> dict[Any, int]:
    """Returns which of the pictures are known to be shared, by their bytes or by their look, as
    source -> key of the SharedPicture.
    """
    by_digest = _known_digests(pictures, {picture.digest for picture in compared})
    found = {
        picture.source: by_digest[picture.digest]
        for picture in compared
        if picture.digest in by_digest
    }
    others = [picture for picture in compared if picture.source not in found]
    return found | _known_looks(pictures, others)


def crowds(pictures: Pictures, compared: Sequence[Picture], *, max_listings: int) -> list[Crowd]:
    """Returns the files among these pictures that more listings carry than `max_listings`.

    Listings of different tenants, which are never compared, are counted apart, and the variants of
    a parent as one.
    """
    examples = {picture.digest: picture.source for picture in reversed(compared)}
    if not examples:
        return []
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT checked.digest, count(DISTINCT near.family), array_agg(near.source)
            FROM {CHECKS} checked
            JOIN ({pictures.sql}) AS near ({COLUMNS})
                ON near.source = checked.source_pk::{pictures.source_type}
                AND near.digest = checked.digest
            WHERE checked.collection = %s AND checked.digest = ANY(%s)
            GROUP BY checked.digest, near.tenant
            HAVING count(DISTINCT near.family) > %s
            """,
            [*pictures.parameters, pictures.collection, list(examples), max_listings],
        )
        return [
            Crowd(digest, examples[digest], sources, listings)
            for digest, listings, sources in cursor.fetchall()
        ]


def record(pictures: Pictures, found: Sequence[Crowd]) -> dict[Any, int]:
    """Stores crowds; returns their sources, as source -> key of the SharedPicture."""
    if not found:
        return {}
    by_digest = {crowd.digest: crowd for crowd in found}
    rows = [
        SharedPicture(
            collection=pictures.collection,
            digest=crowd.digest,
            listings=crowd.listings,
            example_source_pk=str(crowd.source),
        )
        for crowd in by_digest.values()
    ]
    SharedPicture.objects.using(pictures.using).bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["collection", "digest"],
        update_fields=["listings"],
    )
    keys = {row.digest: row.pk for row in rows}
    return {
        source: keys[crowd.digest] for crowd in found for source in [crowd.source, *crowd.members]
    }


def recount(pictures: Pictures, *, max_listings: int) -> int:
    """Counts the listings of each shared picture anew, and gives up those that are not shared by so
    many any more: their pictures are to be compared again. Returns how many it gave up.
    """
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE {SHARED} shared SET listings = coalesce((
                SELECT max(counted.listings) FROM (
                    SELECT count(DISTINCT near.family) AS listings
                    FROM {CHECKS} checked
                    JOIN ({pictures.sql}) AS near ({COLUMNS})
                        ON near.source = checked.source_pk::{pictures.source_type}
                        AND near.digest = checked.digest
                    WHERE checked.shared_id = shared.id
                    GROUP BY near.tenant) AS counted), 0)
            WHERE shared.collection = %s
            """,
            [*pictures.parameters, pictures.collection],
        )
        cursor.execute(
            f"""
            WITH few AS (SELECT id FROM {SHARED} WHERE collection = %s AND listings <= %s)
            UPDATE {CHECKS} SET checked_at = NULL, shared_id = NULL
            WHERE shared_id IN (SELECT id FROM few)
            """,
            [pictures.collection, max_listings],
        )
    few = SharedPicture.objects.using(pictures.using).filter(
        collection=pictures.collection, listings__lte=max_listings
    )
    return few.delete()[1].get(SharedPicture._meta.label, 0)


def mark(pictures: Pictures, compared: Iterable[Any], found: Mapping[Any, int]) -> set[Any]:
    """Marks those of the compared sources that are shared; makes the other ones be compared again,
    since their pairs are to lose what the picture said of them. Returns these.
    """
    own = set(compared)
    pending.set_shared(pictures, {pk: key for pk, key in found.items() if pk in own})
    others = found.keys() - own
    pending.forget(pictures, map(str, others))
    return others


def _known_digests(pictures: Pictures, digests: Collection[str]) -> dict[str, int]:
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT given.digest, one.shared_id FROM unnest(%s::text[]) AS given (digest)
            CROSS JOIN LATERAL (
                SELECT shared_id FROM {CHECKS} checked
                WHERE checked.collection = %s AND checked.digest = given.digest
                    AND checked.shared_id IS NOT NULL
                UNION ALL
                SELECT id FROM {SHARED} shared
                WHERE shared.collection = %s AND shared.digest = given.digest
                LIMIT 1) AS one
            """,
            [list(digests), pictures.collection, pictures.collection],
        )
        return dict(cursor.fetchall())


def _known_looks(pictures: Pictures, compared: Sequence[Picture]) -> dict[Any, int]:
    """Returns which pictures look like the example of a shared one."""
    if not compared:
        return {}
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT own.digest, shared.digest, shared.id
            FROM {SHARED} shared
            JOIN {DESCRIPTORS} example ON example.digest = shared.digest
            JOIN {DESCRIPTORS} own ON own.digest = ANY(%s)
            WHERE shared.collection = %s AND least(
                bit_count((own.bits # example.bits)::bit(64)),
                bit_count((own.mirrored_bits # example.bits)::bit(64))) <= {MAX_DISTANCE}
            """,
            [[picture.digest for picture in compared], pictures.collection],
        )
        alike: list[tuple[str, str, int]] = cursor.fetchall()
    loaded = descriptors.load({digest for row in alike for digest in row[:2]}, pictures.using)
    shared = {}
    for own, example, key in alike:
        if own in shared:
            continue
        comparison = descriptors.compare(loaded, (own, example), pictures.using)
        if comparison and are_one(loaded[own], loaded[example], comparison):
            shared[own] = key
    return {
        picture.source: shared[picture.digest] for picture in compared if picture.digest in shared
    }


def are_one(first: Descriptor, second: Descriptor, comparison: Comparison) -> bool:
    """Returns whether two pictures, by their comparison, are one photo with hardly a change."""
    near = min(
        copies.distance(first.bits, second.bits),
        copies.distance(first.mirrored_bits, second.bits),
    )
    return near <= MAX_DISTANCE and comparison.probability >= SURE
