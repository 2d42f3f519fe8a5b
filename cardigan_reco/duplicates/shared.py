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
    tenant: str
    """Whose listings they are, as text."""
    source: Any
    """One of the pictures with that file."""
    members: Collection[Any]
    """The other sources that show it."""
    listings: int


def known(pictures: Pictures, compared: Sequence[Picture]) -> dict[Any, int]:
    """Returns which of the pictures are known to be shared among listings of their tenant, by their
    bytes or by their look, as source -> key of the SharedPicture.
    """
    by_file = _known_files(pictures, {picture.owned_file for picture in compared})
    found = {
        picture.source: by_file[picture.owned_file]
        for picture in compared
        if picture.owned_file in by_file
    }
    others = [picture for picture in compared if picture.source not in found]
    return found | _known_looks(pictures, others)


def crowds(pictures: Pictures, compared: Sequence[Picture], *, max_listings: int) -> list[Crowd]:
    """Returns the files among these pictures that more listings carry than `max_listings`.

    Listings of different tenants, which are never compared, are counted apart, and the variants of
    a parent as one.
    """
    examples = {picture.owned_file: picture.source for picture in reversed(compared)}
    if not examples:
        return []
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT checked.digest, coalesce(near.tenant::text, ''), count(DISTINCT near.family),
                array_agg(near.source)
            FROM {CHECKS} checked
            JOIN ({pictures.sql}) AS near ({COLUMNS})
                ON near.source = checked.source_pk::{pictures.source_type}
                AND near.digest = checked.digest
            WHERE checked.collection = %s AND checked.digest = ANY(%s)
            GROUP BY checked.digest, near.tenant
            HAVING count(DISTINCT near.family) > %s
            """,
            [
                *pictures.parameters,
                pictures.collection,
                [digest for digest, _tenant in examples],
                max_listings,
            ],
        )
        return [
            Crowd(digest, tenant, examples[digest, tenant], sources, listings)
            for digest, tenant, listings, sources in cursor.fetchall()
            if (digest, tenant) in examples
        ]


def record(pictures: Pictures, found: Sequence[Crowd]) -> dict[Any, int]:
    """Stores crowds; returns their sources, as source -> key of the SharedPicture."""
    if not found:
        return {}
    by_file = {(crowd.digest, crowd.tenant): crowd for crowd in found}
    rows = [
        SharedPicture(
            collection=pictures.collection,
            digest=crowd.digest,
            tenant=crowd.tenant,
            listings=crowd.listings,
            example_source_pk=str(crowd.source),
        )
        for crowd in by_file.values()
    ]
    SharedPicture.objects.using(pictures.using).bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["collection", "digest", "tenant"],
        update_fields=["listings"],
    )
    keys = {(row.digest, row.tenant): row.pk for row in rows}
    return {
        source: keys[crowd.digest, crowd.tenant]
        for crowd in found
        for source in [crowd.source, *crowd.members]
    }


def recount(pictures: Pictures, *, max_listings: int) -> int:
    """Counts the listings of each shared picture anew, and gives up those that are not shared by so
    many any more: their pictures are to be compared again. Returns how many it gave up.
    """
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE {SHARED} shared SET listings = (
                SELECT count(DISTINCT near.family)
                FROM {CHECKS} checked
                JOIN ({pictures.sql}) AS near ({COLUMNS})
                    ON near.source = checked.source_pk::{pictures.source_type}
                    AND near.digest = checked.digest
                WHERE checked.shared_id = shared.id
                    AND coalesce(near.tenant::text, '') = shared.tenant)
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


def _known_files(
    pictures: Pictures, files: Collection[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Returns which files, by digest and tenant, are those of a shared picture."""
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT given.digest, given.tenant, one.id
            FROM unnest(%s::text[], %s::text[]) AS given (digest, tenant)
            CROSS JOIN LATERAL (
                SELECT id FROM {SHARED} shared
                WHERE shared.collection = %s AND shared.digest = given.digest
                    AND shared.tenant = given.tenant
                UNION ALL
                SELECT shared.id FROM {CHECKS} checked
                JOIN {SHARED} shared ON shared.id = checked.shared_id
                WHERE checked.collection = %s AND checked.digest = given.digest
                    AND shared.tenant = given.tenant
                LIMIT 1) AS one
            """,
            [*_columns(files), pictures.collection, pictures.collection],
        )
        return {(digest, tenant): key for digest, tenant, key in cursor.fetchall()}


def _columns(files: Collection[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [digest for digest, _tenant in files], [tenant for _digest, tenant in files]


def _known_looks(pictures: Pictures, compared: Sequence[Picture]) -> dict[Any, int]:
    """Returns which pictures look like the example of a shared one."""
    if not compared:
        return {}
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT given.digest, given.tenant, shared.digest, shared.id
            FROM unnest(%s::text[], %s::text[]) AS given (digest, tenant)
            JOIN {DESCRIPTORS} own ON own.digest = given.digest
            JOIN {SHARED} shared ON shared.tenant = given.tenant
            JOIN {DESCRIPTORS} example ON example.digest = shared.digest
            WHERE shared.collection = %s AND least(
                bit_count((own.bits # example.bits)::bit(64)),
                bit_count((own.mirrored_bits # example.bits)::bit(64))) <= {MAX_DISTANCE}
            """,
            [*_columns({picture.owned_file for picture in compared}), pictures.collection],
        )
        alike: list[tuple[str, str, str, int]] = cursor.fetchall()
    digests = {digest for own, _tenant, example, _key in alike for digest in (own, example)}
    loaded = descriptors.load(digests, pictures.using)
    shared = {}
    for own, tenant, example, key in alike:
        if (own, tenant) in shared:
            continue
        comparison = descriptors.compare(loaded, (own, example), pictures.using)
        if comparison and are_one(loaded[own], loaded[example], comparison):
            shared[own, tenant] = key
    return {
        picture.source: shared[picture.owned_file]
        for picture in compared
        if picture.owned_file in shared
    }


def are_one(first: Descriptor, second: Descriptor, comparison: Comparison) -> bool:
    """Returns whether two pictures, by their comparison, are one photo with hardly a change."""
    near = min(
        copies.distance(first.bits, second.bits),
        copies.distance(first.mirrored_bits, second.bits),
    )
    return near <= MAX_DISTANCE and comparison.probability >= SURE
