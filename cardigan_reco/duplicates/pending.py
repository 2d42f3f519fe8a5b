"""Which pictures are still to be compared, and the note that one was."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections

from cardigan_reco.models import DuplicateCheck

from .pictures import COLUMNS, Pictures

CHECKS = DuplicateCheck._meta.db_table
AT_ONCE = 5_000
"""Rows that one statement forgets at most."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is to be compared with the others."""

    source: Any
    item: Any
    tenant: Any
    digest: str
    version: int
    """The encoder version of its vector."""
    former_item: str | None
    """The listing that it was compared for before; None: it is new."""

    @property
    def owned_file(self) -> tuple[str, str]:
        """Its digest and, as text, its tenant: what a SharedPicture is known by."""
        return self.digest, "" if self.tenant is None else str(self.tenant)


def count(pictures: Pictures) -> int:
    """Returns how many pictures are new, or changed since they were compared."""
    sql, parameters = _differing(pictures)
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(f"SELECT count(*) {sql}", parameters)
        return int(cursor.fetchone()[0])


def after(pictures: Pictures, source: Any, *, limit: int) -> list[Picture]:
    """Returns the first pictures to be compared whose source's key is above `source`, by key.

    None: from the start.
    """
    sql, parameters = _differing(pictures)
    if source is not None:
        sql, parameters = f"{sql} AND pictures.source > %s", [*parameters, source]
    return _fetch(pictures, f"{sql} ORDER BY pictures.source LIMIT %s", [*parameters, limit])


def among(pictures: Pictures, sources: Collection[Any]) -> list[Picture]:
    """Returns those of the sources whose pictures are to be compared, by key."""
    sql, parameters = _differing(pictures)
    wanted = f"{sql} AND pictures.source = ANY(%s::{pictures.source_type}[])"
    return _fetch(pictures, f"{wanted} ORDER BY pictures.source", [*parameters, list(sources)])


def record(pictures: Pictures, compared: Sequence[Picture]) -> None:
    """Notes that pictures are being compared, so that others find them from now on."""
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO {CHECKS} (collection, source_pk, item_pk, digest, encoder_version_id)
            SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])
            ON CONFLICT (collection, source_pk) DO UPDATE SET
                item_pk = EXCLUDED.item_pk, digest = EXCLUDED.digest, level = NULL,
                encoder_version_id = EXCLUDED.encoder_version_id, shared_id = NULL,
                checked_at = now()
            """,
            [
                pictures.collection,
                [str(picture.source) for picture in compared],
                [str(picture.item) for picture in compared],
                [picture.digest for picture in compared],
                [picture.version for picture in compared],
            ],
        )


def set_levels(pictures: Pictures, levels: Mapping[Any, float]) -> None:
    """Notes how similar the pictures around each source's are."""
    _set(pictures, "level", "double precision", levels)


def set_shared(pictures: Pictures, shared: Mapping[Any, int]) -> None:
    """Notes which SharedPicture each source shows."""
    _set(pictures, "shared_id", "bigint", shared)


def forget(pictures: Pictures, sources: Iterable[str]) -> None:
    """Makes sources, whose keys come as text, be compared again."""
    checks = DuplicateCheck.objects.using(pictures.using).filter(collection=pictures.collection)
    checks.filter(source_pk__in=list(sources)).update(checked_at=None)


def forget_files(digests: Collection[str], using: str) -> None:
    """Makes the pictures of these files, in whatever collection, be compared again."""
    DuplicateCheck.objects.using(using).filter(digest__in=digests).update(checked_at=None)


def forget_items(pictures: Pictures, item_pks: Collection[str]) -> set[Any]:
    """Makes the pictures of listings be compared again; returns their sources."""
    if not item_pks:
        return set()
    checks = DuplicateCheck.objects.using(pictures.using).filter(collection=pictures.collection)
    texts = list(checks.filter(item_pk__in=item_pks).values_list("source_pk", flat=True))
    forget(pictures, texts)
    return {pictures.key(text) for text in texts}


def forget_all(pictures: Pictures) -> None:
    """Makes all pictures of the query be compared again, in bounded statements."""
    last = 0
    while last is not None:
        with connections[pictures.using].cursor() as cursor:
            cursor.execute(
                f"""
                WITH batch AS MATERIALIZED (
                    SELECT id, source_pk::{pictures.source_type} AS source FROM {CHECKS}
                    WHERE collection = %s AND id > %s ORDER BY id LIMIT %s),
                forgotten AS (
                    UPDATE {CHECKS} SET checked_at = NULL WHERE id IN (
                        SELECT id FROM batch
                        JOIN ({pictures.sql}) AS pictures ({COLUMNS}) USING (source)))
                SELECT max(id) FROM batch
                """,
                [pictures.collection, last, AT_ONCE, *pictures.parameters],
            )
            last = cursor.fetchone()[0]


def _differing(pictures: Pictures) -> tuple[str, list[Any]]:
    sql = f"""
        FROM ({pictures.sql}) AS pictures ({COLUMNS})
        LEFT JOIN {CHECKS} checked
            ON checked.collection = %s AND checked.source_pk = pictures.source::text
        WHERE (checked.checked_at IS NULL OR checked.digest <> pictures.digest
            OR checked.encoder_version_id <> pictures.version
            OR checked.item_pk <> pictures.item::text)"""
    return sql, [*pictures.parameters, pictures.collection]


def _fetch(pictures: Pictures, sql: str, parameters: Sequence[Any]) -> list[Picture]:
    columns = "source, item, tenant, pictures.digest, version, item_pk"
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(f"SELECT {columns} {sql}", parameters)
        return [Picture(*row) for row in cursor.fetchall()]


def _set(pictures: Pictures, column: str, of_type: str, values: Mapping[Any, float]) -> None:
    if not values:
        return
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE {CHECKS} SET {column} = given.value
            FROM unnest(%s::text[], %s::{of_type}[]) AS given (source_pk, value)
            WHERE collection = %s AND {CHECKS}.source_pk = given.source_pk
            """,
            [[str(pk) for pk in values], list(values.values()), pictures.collection],
        )
