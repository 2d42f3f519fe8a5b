"""Which pictures may be of one thing: found in SQL, by equal bytes, by hash bands and by vectors.

Only pictures that were compared already are found, so that of two the later one finds the other.
Stored vectors never leave the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections

from cardigan_reco import conf, neighbours
from cardigan_reco.models import CopyDescriptor

from .pending import CHECKS
from .pictures import COLUMNS, Pictures

DESCRIPTORS = CopyDescriptor._meta.db_table
NEIGHBOURS = 16
"""Pictures of other listings whose mean similarity is a picture's level."""
BAND_ROWS = 256
"""Hashes that are looked at in a band: a crowded one tells little, and costs no more than this."""
MAX_DISTANCE = 6
"""Bits in which hashes differ at most that count as near. Within 10, none of 600 edited photos was
found that wasn't within 6 or by its vector, and ten times as many others.
"""
FEW_ROWS = 2_000
"""So many pictures of a tenant are compared one by one in any case."""
SELECTIVE_SHARE = 0.15
"""Up to CARDIGAN_RECO["EXACT_ROWS"], only a tenant with less of the table is worth that."""

Sources = tuple[Any, Any]
"""Keys of two sources."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two pictures, of listings that may be compared."""

    sources: Sources
    items: tuple[Any, Any]
    families: tuple[Any, Any]
    digests: tuple[str, str]
    similarity: float | None
    """Cosine of their vectors; None: they are of different encoder versions."""
    level: float | None
    """The higher mean similarity of the pictures around each; None: unknown."""

    def swapped(self) -> Candidate:
        """Returns the same with the second picture first."""
        pairs = (self.sources, self.items, self.families, self.digests)
        sources, items, families, digests = ((pair[1], pair[0]) for pair in pairs)
        return Candidate(sources, items, families, digests, self.similarity, self.level)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What lies around a picture."""

    nearest: list[Any]
    """Sources, nearest first."""
    level: float


def prepare(pictures: Pictures) -> None:
    """Sets PostgreSQL for the searches of the rest of the transaction."""
    ef_search = max(neighbours.least_ef_search(pictures.shop.embedding), 2 * NEIGHBOURS)
    settings = {
        "hnsw.ef_search": str(ef_search),
        "hnsw.iterative_scan": "relaxed_order",
    }
    with connections[pictures.using].cursor() as cursor:
        # The cast loads pgvector, without which its settings are unknown to a new connection.
        cursor.execute(
            "SELECT '[1]'::vector, " + ", ".join(["set_config(%s, %s, true)"] * len(settings)),
            [part for pair in settings.items() for part in pair],
        )


def by_digest(pictures: Pictures, sources: Collection[Any]) -> list[Sources]:
    """Returns pictures that are the same file."""
    own, parameters = _own(pictures, sources)
    return _fetch(
        pictures,
        f"""
        WITH {own}
        SELECT own.source, near.source FROM own
        {_compared(pictures, "own.digest")}
        """,
        [*parameters, pictures.collection, *pictures.parameters],
    )


def by_hash(pictures: Pictures, sources: Collection[Any], *, limit: int) -> list[Sources]:
    """Returns up to `limit` files for each picture whose perceptual hash, or that of their mirror
    image, is near.

    A hash that differs in three bits or less is found for sure, unless its band is crowded.
    """
    own, parameters = _own(pictures, sources)
    bands = " UNION ALL ".join(
        f"""(SELECT digest, bits FROM {DESCRIPTORS}
            WHERE ((bits >> {shift}) & 65535) = ((probe >> {shift}) & 65535) LIMIT {BAND_ROWS})"""
        for shift in (0, 16, 32, 48)
    )
    return _fetch(
        pictures,
        f"""
        WITH {own}
        SELECT own.source, near.source FROM own
        JOIN {DESCRIPTORS} described ON described.digest = own.digest
        CROSS JOIN LATERAL (
            SELECT alike.digest
            FROM unnest(ARRAY[described.bits, described.mirrored_bits]) probe
            CROSS JOIN LATERAL ({bands}) AS alike
            WHERE alike.digest <> own.digest
                AND bit_count((alike.bits # probe)::bit(64)) <= {MAX_DISTANCE}
            GROUP BY alike.digest
            ORDER BY min(bit_count((alike.bits # probe)::bit(64))), alike.digest LIMIT %s
        ) AS alike
        {_compared(pictures, "alike.digest")}
        """,
        [*parameters, limit, pictures.collection, *pictures.parameters],
    )


def by_vector(
    pictures: Pictures, sources: Collection[Any], *, exactly: bool
) -> dict[Any, Neighbours]:
    """Returns what lies around each picture, by the index, or else by comparing all of its tenant.

    Vectors of one encoder version are compared. A picture with none around it isn't there.
    """
    own, parameters = _own(pictures, sources, "vector")
    allowed = f"({pictures.sql} {'OFFSET 0' if exactly else ''}) AS near ({COLUMNS})"
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            WITH {own}
            SELECT own.source, near.source, -near.distance FROM own CROSS JOIN LATERAL (
                SELECT near.source, near.vector <#> own.vector AS distance FROM {allowed}
                WHERE near.version = own.version AND {_may_be_compared()}
                ORDER BY near.vector <#> own.vector LIMIT {NEIGHBOURS}) AS near
            """,
            [*parameters, *pictures.parameters],
        )
        around: dict[Any, list[tuple[float, Any]]] = defaultdict(list)
        for source, near, similarity in cursor.fetchall():
            around[source].append((similarity, near))
    return {
        source: Neighbours(
            [near for _, near in sorted(found, key=lambda entry: -entry[0])],
            sum(similarity for similarity, _ in found) / len(found),
        )
        for source, found in around.items()
    }


def are_few(pictures: Pictures, tenants: Iterable[Any]) -> dict[Any, bool]:
    """Returns for each tenant whether comparing all its pictures beats asking the index.

    Where the shop has no tenants, the only one is None.
    """
    wanted = set(tenants)
    total = round(_table_rows(pictures))
    if pictures.shop.tenant_field:
        counts = _counts(pictures, wanted)
    else:
        counts = dict.fromkeys(wanted, _expected(pictures) if pictures.narrowed else total)
    limit = max(FEW_ROWS, min(conf.current().exact_rows, SELECTIVE_SHARE * total))
    return {tenant: counts.get(tenant, 0) <= limit for tenant in wanted}


def resolve(pictures: Pictures, pairs: Mapping[Sources, str | None]) -> list[Candidate]:
    """Returns what is known of pairs of pictures, as far as they may be compared now.

    Of each, the "digest:digest" is given with which the two matched before, or None. A picture
    that wasn't compared yet is left out, unless the two matched before and are still the same
    files. So are pictures that are gone, of one family or of two tenants, or shared by many.
    """
    if not pairs:
        return []
    key = f"{pictures.source_type}[]"
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT own.source, near.source, own.item, near.item, own.family, near.family,
                own.digest, near.digest,
                CASE WHEN own.version = near.version THEN -(own.vector <#> near.vector) END,
                greatest(one.level, other.level)
            FROM unnest(%s::{key}, %s::{key}, %s::text[]) AS given (one, other, digests)
            JOIN ({pictures.sql}) AS own ({COLUMNS}) ON own.source = given.one
            JOIN ({pictures.sql}) AS near ({COLUMNS}) ON near.source = given.other
            LEFT JOIN {CHECKS} one
                ON one.collection = %s AND one.source_pk = own.source::text
            LEFT JOIN {CHECKS} other
                ON other.collection = %s AND other.source_pk = near.source::text
            WHERE {_may_be_compared()} AND one.shared_id IS NULL AND other.shared_id IS NULL
                AND (given.digests = own.digest || ':' || near.digest OR (
                    one.digest = own.digest AND one.checked_at IS NOT NULL
                    AND other.digest = near.digest AND other.checked_at IS NOT NULL))
            ORDER BY own.source, near.source
            """,
            [
                [one for one, _ in pairs],
                [other for _, other in pairs],
                list(pairs.values()),
                *pictures.parameters,
                *pictures.parameters,
                pictures.collection,
                pictures.collection,
            ],
        )
        return [
            Candidate(row[0:2], row[2:4], row[4:6], row[6:8], *row[8:]) for row in cursor.fetchall()
        ]


def _table_rows(pictures: Pictures) -> float:
    connection = connections[pictures.using]
    table = connection.ops.quote_name(pictures.shop.embedding._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)", [table])
        return float(cursor.fetchone()[0])


def _counts(pictures: Pictures, tenants: Collection[Any]) -> dict[Any, int]:
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            SELECT tenant, count(*) FROM ({pictures.sql}) AS pictures ({COLUMNS})
            WHERE tenant = ANY(%s) {"OR tenant IS NULL" if None in tenants else ""}
            GROUP BY tenant
            """,
            [*pictures.parameters, [tenant for tenant in tenants if tenant is not None]],
        )
        return dict(cursor.fetchall())


def _expected(pictures: Pictures) -> int:
    """Returns the planner's estimate of the pictures, at the price of a plan."""
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {pictures.sql}", pictures.parameters)
        return int(cursor.fetchone()[0][0]["Plan"]["Plan Rows"])


def _own(pictures: Pictures, sources: Collection[Any], more: str = "") -> tuple[str, list[Any]]:
    """Returns the common table expression `own` of some pictures."""
    columns = "source, item, tenant, family, digest, version" + (f", {more}" if more else "")
    sql = f"""own AS MATERIALIZED (
        SELECT {columns} FROM ({pictures.sql}) AS pictures ({COLUMNS})
        WHERE source = ANY(%s::{pictures.source_type}[]))"""
    return sql, [*pictures.parameters, list(sources)]


def _compared(pictures: Pictures, digest: str) -> str:
    """Returns the join to the compared pictures `near` of a digest that `own` may be compared with.

    OFFSET 0 has them looked up by digest: while a run fills the table, the planner takes it for an
    empty one.
    """
    return f"""CROSS JOIN LATERAL (
            SELECT source_pk, checked.digest FROM {CHECKS} checked
            WHERE checked.collection = %s AND checked.digest = {digest}
                AND checked.checked_at IS NOT NULL AND checked.shared_id IS NULL
            OFFSET 0) AS checked
        JOIN ({pictures.sql}) AS near ({COLUMNS})
            ON near.source = checked.source_pk::{pictures.source_type}
            AND near.digest = checked.digest
        WHERE {_may_be_compared()}"""


def _may_be_compared() -> str:
    return "near.family <> own.family AND near.tenant IS NOT DISTINCT FROM own.tenant"


def _fetch(pictures: Pictures, sql: str, parameters: Sequence[Any]) -> list[Sources]:
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(sql, parameters)
        return [(one, other) for one, other in cursor.fetchall()]
