"""Writing: what came of a batch, to the vectors' table and to the queue."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from django.core.exceptions import ValidationError
from django.db import connections, transaction
from numpy.typing import NDArray

from . import conf, queue, revisions
from .models import Embedding, EncoderVersion, EncodingRequest
from .preparation import Picture, Preparation, Refusal, Skipped, Trouble
from .queue import Claim, Failure
from .summary import Summary

KEY = ["source"]
WRITTEN = ["vector", "digest", "encoder_version", "encoded_at"]

logger = logging.getLogger(__name__)


def write(
    embedding: type[Embedding],
    prepared: Mapping[Claim, Preparation],
    vectors: Mapping[Claim, NDArray[np.float32]],
    version: EncoderVersion,
    using: str,
) -> Summary:
    """Stores the results of the claims that still hold, in one short transaction.

    And the vectors of sources that were saved again meanwhile, which stay marked: one that is saved
    more often than a batch is long would never have any.
    """
    claims = list(prepared)
    keys = {claim: pk for pk, claim in queue.source_pks(embedding, claims).items()}
    max_attempts = conf.current().max_attempts
    summary = Summary()
    rows: list[Embedding] = []
    without_vector: list[Any] = []
    settled: list[int] = []
    with transaction.atomic(using=using):
        held = queue.lock(claims, using=using)
        lost = [claim for claim in claims if claim.id not in held]
        stored = held | queue.lock_overtaken(lost, using=using)
        present = _lock_sources(embedding, [keys[c] for c in claims if c.id in stored], using)
        for claim in claims:
            done = prepared[claim]
            if isinstance(done, Picture) and keys[claim] in present:
                summary.sources.append(keys[claim])
                values = {"pk": keys[claim], "vector": vectors[claim], "digest": done.digest}
                # By its key: of a relation Django asks the shop's routers, which may refuse it.
                rows.append(embedding(**values, encoder_version_id=version.pk))
            if claim.id not in held:
                summary.outdated += 1
                continue
            match done:
                case Picture() if keys[claim] not in present:
                    # Deleted, or locked by the shop: the next look tells.
                    summary.retried += 1
                    queue.yield_to_shop(claim, using=using)
                    continue
                case Picture():
                    summary.encoded += 1
                case Skipped.UNCHANGED:
                    summary.skipped += 1
                case Skipped.NO_PICTURE:
                    summary.removed += 1
                    without_vector.append(keys[claim])
                case Trouble(reason):
                    summary.retried += 1
                    queue.postpone(claim, reason, charged=False, using=using)
                    continue
                case Refusal(_, reason, may_pass=True) if claim.attempts < max_attempts:
                    summary.retried += 1
                    queue.postpone(claim, reason, charged=True, using=using)
                    continue
                case Refusal(failure, reason):
                    summary.failed[failure] += 1
                    without_vector.append(keys[claim])
                    queue.fail(claim, failure, reason, using=using)
                    _log_failure(embedding, claim, failure, reason, using)
                    continue
                case Skipped.GONE:
                    summary.outdated += 1
            settled.append(claim.id)
        embedding._base_manager.using(using).bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=KEY,
            update_fields=WRITTEN,
        )
        embedding._base_manager.using(using).filter(pk__in=without_vector).delete()
        queue.settle(settled, using=using)
        if rows or settled or without_vector:
            revisions.advance(embedding, using=using)
    return summary


def bury(embedding: type[Embedding], using: str) -> Summary:
    """Gives up the sources whose worker was lost too often, as `write()` does those refused."""
    key = embedding.source_model()._meta.pk
    without_vector: list[Any] = []
    with transaction.atomic(using=using):
        dead = queue.bury(embedding, using=using)
        for request in dead:
            with suppress(ValidationError):  # A key that none could have: nobody can encode it.
                without_vector.append(key.to_python(request.source_pk))
        if dead:
            embedding._base_manager.using(using).filter(pk__in=without_vector).delete()
            revisions.advance(embedding, using=using)
    for request in dead:
        _log_failure(embedding, request, Failure.DEAD, request.error, using)
    return Summary(failed=Counter({Failure.DEAD: len(dead)}))


def _log_failure(
    embedding: type[Embedding],
    claim: Claim | EncodingRequest,
    failure: Failure,
    reason: str,
    using: str,
) -> None:
    logger.warning(
        "%s %s is given up as %s: %s",
        embedding._meta.label_lower,
        claim.source_pk,
        failure,
        reason,
        extra={
            "collection": embedding._meta.label_lower,
            "database": using,
            "source_pk": claim.source_pk,
            "state": str(failure),
            "attempts": claim.attempts,
        },
    )


def _lock_sources(embedding: type[Embedding], pks: Sequence[Any], using: str) -> set[Any]:
    """Keeps sources from being deleted until the transaction ends; returns those that are there.

    FOR KEY SHARE lets the shop's saves pass, and SKIP LOCKED never waits for its deletions.
    """
    if not pks:
        return set()
    source = embedding.source_model()
    # Not in the order of Meta, which may join tables that are not ours to lock, or can't be.
    rows = source._base_manager.using(using).filter(pk__in=pks).order_by().values_list("pk")
    sql, parameters = rows.query.get_compiler(using).as_sql()
    with connections[using].cursor() as cursor:
        cursor.execute(f"{sql} FOR KEY SHARE SKIP LOCKED", parameters)
        key = source._meta.pk
        return {key.to_python(row[0]) for row in cursor.fetchall()}
