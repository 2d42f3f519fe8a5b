"""Pairs in the database: what a run finds is stored, what people said of it stays."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import Q

from cardigan_reco.models import DuplicateCheck, DuplicateKind, DuplicatePair, DuplicateState

from . import grouping

MAX_OTHERS = 56
"""Picture matches that are remembered of a pair beside those that are kept as evidence."""
FOUND = ["kind", "probability", "evidence", "state", "version"]

Key = tuple[str, str]
"""Keys of two listings as text, in the order of the keys."""


class Finding(NamedTuple):
    """What a run says of two listings."""

    kind: DuplicateKind
    probability: float
    evidence: dict[str, Any]
    """As DuplicatePair.evidence, and under "others" the matches beside those."""


@dataclass
class Stored:
    """What became of the pairs."""

    found: int = 0
    """New ones, and dismissed ones that are open again."""
    gone: int = 0
    """Open ones without evidence any more."""
    left: set[str] = field(default_factory=set)
    """The listings that those were of."""

    def __add__(self, other: Stored) -> Stored:
        left = self.left | other.left
        return Stored(self.found + other.found, self.gone + other.gone, left)


def touching(collection: str, item_pks: Collection[str], using: str) -> list[DuplicatePair]:
    """Returns the pairs of any of these listings, by key."""
    return list(_touching(collection, item_pks, using)) if item_pks else []


def store(
    collection: str,
    item_pks: Collection[str],
    findings: Mapping[Key, Finding],
    *,
    min_probability: float,
    using: str,
) -> Stored:
    """Stores what a run found of these listings, in the caller's transaction, and groups it.

    Open pairs of theirs that it didn't find, or not as probable as that, are deleted. What a person
    judged stays as it is, unless a dismissed pair has a matching picture that wasn't there then: it
    is open again, and keeps its note.
    """
    grouping.lock(collection, using=using)
    known = {
        (pair.first_pk, pair.second_pk): pair
        for pair in _touching(collection, item_pks, using).select_for_update(of=("self",))
    }
    gone, altered, done = list[DuplicatePair](), list[DuplicatePair](), Stored()
    for key, pair in known.items():
        finding = findings.get(key)
        if finding is not None and finding.probability < min_probability:
            finding = None
        if pair.state == DuplicateState.OPEN and finding is None:
            gone.append(pair)
        elif pair.state == DuplicateState.OPEN and finding is not None:
            if _update(pair, finding):
                altered.append(pair)
        elif (
            pair.state == DuplicateState.DISMISSED
            and finding is not None
            and _is_news(pair, finding, min_probability)
        ):
            pair.state = DuplicateState.OPEN
            _set(pair, finding)
            altered.append(pair)
            done.found += 1
    new = [
        DuplicatePair(
            collection=collection,
            first_pk=first,
            second_pk=second,
            kind=finding.kind,
            probability=finding.probability,
            evidence=finding.evidence,
        )
        for (first, second), finding in findings.items()
        if (first, second) not in known and finding.probability >= min_probability
    ]
    rows = DuplicatePair.objects.using(using)
    if gone:
        rows.filter(pk__in=[pair.pk for pair in gone]).delete()
    if altered:
        rows.bulk_update(altered, FOUND)
    rows.bulk_create(new)
    done.found += len(new)
    done.gone += len(gone)
    done.left |= {pk for pair in gone for pk in (pair.first_pk, pair.second_pk)}
    if changed := [*gone, *altered, *new]:
        grouping.regroup(
            collection,
            {pk for pair in changed for pk in (pair.first_pk, pair.second_pk)},
            changed={pair.pk for pair in altered},
            groups={pair.group_id for pair in gone if pair.group_id is not None},
            using=using,
        )
    return done


def matched(evidence: Mapping[str, Any]) -> list[str]:
    """Returns the "digest:digest" of each two pictures of the evidence."""
    shown = [
        f"{picture['first_digest']}:{picture['second_digest']}"
        for picture in evidence.get("pictures", ())
    ]
    return [*shown, *(f"{other[2]}:{other[3]}" for other in evidence.get("others", ()))]


def judged(pairs: Sequence[DuplicatePair], using: str) -> dict[int, list[str]]:
    """Returns what a verdict on each of the pairs is on, by its key, for DuplicatePair.judged.

    That is what matched(), and beside it all that was compared of the listings: "digest:" of each
    picture of the first, ":digest" of the second. What else of these matches later isn't news, as
    when a listing goes whose pictures were nearer. Takes one statement.
    """
    files: dict[tuple[str, str], set[str]] = defaultdict(set)
    checks = DuplicateCheck.objects.using(using).filter(
        collection__in={pair.collection for pair in pairs},
        item_pk__in={pk for pair in pairs for pk in (pair.first_pk, pair.second_pk)},
    )
    for collection, item_pk, digest in checks.values_list("collection", "item_pk", "digest"):
        files[collection, item_pk].add(digest)
    return {
        pair.pk: [
            *matched(pair.evidence),
            *(f"{digest}:" for digest in sorted(files[pair.collection, pair.first_pk])),
            *(f":{digest}" for digest in sorted(files[pair.collection, pair.second_pk])),
        ]
        for pair in pairs
    }


def settle(
    pairs: Sequence[DuplicatePair],
    state: DuplicateState,
    on: Mapping[int, Sequence[str]],
    *,
    reviewer: str,
    at: datetime,
    note: str,
    using: str,
) -> None:
    """Brings pairs to a state, as a person said, and their versions up by one.

    `on`: what the verdict is on, by the pairs' keys. An empty note leaves those that there are.
    """
    # bulk_update() takes minutes for the thousands of pairs that may be judged at once.
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE {DuplicatePair._meta.db_table} pair
            SET state = %s, judged = given.judged, reviewer = %s, reviewed_at = %s,
                note = coalesce(nullif(%s, ''), note), version = version + 1
            FROM unnest(%s::bigint[], %s::jsonb[]) AS given (id, judged)
            WHERE pair.id = given.id
            """,
            [
                state.value,
                reviewer,
                at,
                note,
                [pair.pk for pair in pairs],
                [json.dumps(on.get(pair.pk, ())) for pair in pairs],
            ],
        )


def _update(pair: DuplicatePair, finding: Finding) -> bool:
    """Sets what was found; returns whether that differs."""
    before = (pair.kind, pair.probability, pair.evidence)
    if before == (finding.kind, finding.probability, finding.evidence):
        return False
    _set(pair, finding)
    return True


def _set(pair: DuplicatePair, finding: Finding) -> None:
    pair.kind, pair.probability = finding.kind, finding.probability
    pair.evidence = finding.evidence
    pair.version += 1


def _is_news(pair: DuplicatePair, finding: Finding, min_probability: float) -> bool:
    """Whether a picture matches that wasn't there when the pair was dismissed.

    Where some are as good as certain by themselves, only those count: the weaker ones come and go
    with the pictures around them.
    """
    pictures = finding.evidence["pictures"]
    strong = [one for one in pictures if one["probability"] >= min_probability]
    known = set(pair.judged)
    for key in matched({"pictures": strong} if strong else finding.evidence):
        first, second = key.split(":")
        if key not in known and not {f"{first}:", f":{second}"} <= known:
            return True
    return False


def _touching(collection: str, item_pks: Collection[str], using: str) -> Any:
    pks: Sequence[str] = sorted(item_pks)
    return (
        DuplicatePair.objects.using(using)
        .filter(Q(first_pk__in=pks) | Q(second_pk__in=pks), collection=collection)
        .order_by("pk")
    )
