"""What is left of pictures and listings that are gone, removed in bounded statements."""

from __future__ import annotations

from datetime import timedelta

from django.db import connections
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now

from cardigan_reco import collection
from cardigan_reco.models import CopyDescriptor, DuplicateCheck, DuplicatePair, DuplicateState

from . import grouping
from .listings import collection_of
from .pending import CHECKS
from .pictures import COLUMNS, Pictures

AT_ONCE = 2_000
"""Rows that one statement looks at."""
GRACE = timedelta(hours=1)
"""For how long a descriptor may wait for the picture that it was made for to be compared."""
PAIRS = DuplicatePair._meta.db_table


def remove_checks(pictures: Pictures, after: int) -> tuple[int | None, set[str]]:
    """Forgets pictures that are gone, or of a listing that isn't compared any more, among the next
    checks from the key `after` on.

    Returns the last key that it looked at, None at the end, and the listings that had them.
    """
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            WITH batch AS MATERIALIZED (
                SELECT id, item_pk, source_pk::{pictures.source_type} AS source FROM {CHECKS}
                WHERE collection = %s AND id > %s ORDER BY id LIMIT %s),
            gone AS MATERIALIZED (
                SELECT id, item_pk FROM batch WHERE NOT EXISTS (
                    SELECT FROM ({pictures.sql}) AS pictures ({COLUMNS})
                    WHERE pictures.source = batch.source)),
            deleted AS (DELETE FROM {CHECKS} WHERE id IN (SELECT id FROM gone))
            SELECT (SELECT max(id) FROM batch), (SELECT array_agg(DISTINCT item_pk) FROM gone)
            """,
            [pictures.collection, after, AT_ONCE, *pictures.parameters],
        )
        last, items = cursor.fetchone()
    return last, set(items or ())


def remove_pairs(pictures: Pictures, after: int) -> int | None:
    """Deletes pairs of listings that were deleted, among the next from the key `after` on; those
    that were merged stay, as a record. Returns the last key that it looked at, None at the end.
    """
    model = pictures.shop.embedding.item_model()
    of_type = model._meta.pk.db_type(connections[pictures.using]) or "text"
    quote = connections[pictures.using].ops.quote_name
    key = quote(model._meta.pk.column or "id")
    item = f"SELECT FROM {quote(model._meta.db_table)} item WHERE item.{key}"
    with connections[pictures.using].cursor() as cursor:
        cursor.execute(
            f"""
            WITH batch AS MATERIALIZED (
                SELECT id, first_pk, second_pk FROM {PAIRS}
                WHERE collection = %s AND id > %s AND state <> %s ORDER BY id LIMIT %s)
            SELECT (SELECT max(id) FROM batch), (
                SELECT array_agg(id) FROM batch
                WHERE NOT EXISTS ({item} = first_pk::{of_type})
                    OR NOT EXISTS ({item} = second_pk::{of_type}))
            """,
            [pictures.collection, after, DuplicateState.MERGED, AT_ONCE],
        )
        last: int | None
        last, ids = cursor.fetchone()
    if ids:
        grouping.lock(pictures.collection, using=pictures.using)
        pairs = DuplicatePair.objects.using(pictures.using).filter(pk__in=ids)
        left = list(pairs.values_list("first_pk", "second_pk", "group_id"))
        pairs.delete()
        grouping.regroup(
            pictures.collection,
            {pk for first, second, _ in left for pk in (first, second)},
            groups={group for *_, group in left if group is not None},
            using=pictures.using,
        )
    return last


def remove_descriptors(pictures: Pictures, after: str) -> str | None:
    """Deletes descriptors of files that no picture of any collection has any more, among the next
    from the digest `after` on. Returns the last digest that it looked at, None at the end.
    """
    rows = CopyDescriptor.objects.using(pictures.using)
    digests = list(rows.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:AT_ONCE])
    # Of any collection, so that comparing another for a while costs no file a second reading; they
    # are named, since the index begins with them.
    collections = {collection_of(embedding) for embedding in collection.models()}
    used = DuplicateCheck.objects.filter(collection__in=collections, digest=OuterRef("digest"))
    rows.filter(~Exists(used), pk__in=digests, made_at__lt=Now() - GRACE).delete()
    return digests[-1] if digests else None
