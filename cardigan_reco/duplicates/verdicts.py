"""What people say of the pairs that were found: they confirm, dismiss, reopen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db import router, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from cardigan_reco.exceptions import Conflict
from cardigan_reco.models import DuplicateGroup, DuplicatePair, DuplicateState

from . import conflicts, grouping
from . import pairs as stored
from .conflicts import locked_group
from .survivors import choose_survivor

__all__ = [
    "FROM",
    "Verdict",
    "choose_survivor",
    "confirm",
    "dismiss",
    "judge",
    "locked_group",
    "reopen",
    "undo",
]

JUDGED = (DuplicateState.CONFIRMED, DuplicateState.DISMISSED)
FROM: Mapping[DuplicateState, Collection[DuplicateState]] = {
    DuplicateState.CONFIRMED: (DuplicateState.OPEN,),
    DuplicateState.DISMISSED: (DuplicateState.OPEN,),
    DuplicateState.OPEN: JUDGED,
}
"""The states that a pair is brought to by a person, and those that it may have before."""


@dataclass
class Verdict:
    """What a person has changed."""

    at: datetime
    """The moment that undo() knows it by."""
    groups: list[int] = field(default_factory=list)
    """Those that hold now what the judged groups held before."""
    judged: list[int] = field(default_factory=list)
    """Groups of before that it changed."""
    pairs: list[int] = field(default_factory=list)
    """The pairs that it changed."""
    conflicts: list[Conflict] = field(default_factory=list)
    """Why groups were left alone."""


def confirm(
    group_pk: int,
    *,
    version: int,
    reviewer: str,
    note: str = "",
    pairs: Collection[int] | None = None,
    within: QuerySet[DuplicateGroup] | None = None,
    using: str | None = None,
) -> Verdict:
    """Says that the open pairs of a group, or those named, are one thing each.

    `version`: the group's when the person saw it. `reviewer`: their name. `within`: the groups that
    they may see; others are told to be gone. Raises Conflict, and does nothing, where the group has
    changed since or holds no such open pairs.
    """
    return _single(
        DuplicateState.CONFIRMED, group_pk, version, reviewer, note, pairs, within, using
    )


def dismiss(
    group_pk: int,
    *,
    version: int,
    reviewer: str,
    note: str = "",
    pairs: Collection[int] | None = None,
    within: QuerySet[DuplicateGroup] | None = None,
    using: str | None = None,
) -> Verdict:
    """Says that the listings of the open pairs of a group, or of those named, are different things.

    They stay dismissed until a picture of theirs matches that they didn't have then. Takes and
    raises what confirm() does.
    """
    return _single(
        DuplicateState.DISMISSED, group_pk, version, reviewer, note, pairs, within, using
    )


def reopen(
    group_pk: int,
    *,
    version: int,
    reviewer: str,
    note: str = "",
    pairs: Collection[int] | None = None,
    within: QuerySet[DuplicateGroup] | None = None,
    using: str | None = None,
) -> Verdict:
    """Takes back that the pairs of a group, or those named, were confirmed or dismissed.

    Takes and raises what confirm() does. What was merged can't be reopened.
    """
    return _single(DuplicateState.OPEN, group_pk, version, reviewer, note, pairs, within, using)


def judge(
    state: DuplicateState,
    groups: Mapping[int, int],
    *,
    reviewer: str,
    note: str = "",
    within: QuerySet[DuplicateGroup] | None = None,
    using: str | None = None,
) -> Verdict:
    """Brings all pairs of many groups to a state at once, in one transaction.

    `groups`: primary keys with the versions that the person saw. `within`: as confirm() takes it.
    Groups that have changed since, or in which there is nothing to change, are left alone and named
    among the conflicts. The number of statements doesn't depend on that of the groups, but for
    those that have changed.
    """
    return _change(state, groups, reviewer, note, None, within, using)


def undo(
    *,
    reviewer: str,
    at: datetime,
    within: QuerySet[DuplicateGroup] | None = None,
    using: str | None = None,
) -> Verdict:
    """Takes back what a person said at a moment, as far as nobody has changed it since.

    `at`: Verdict.at. `within`: as confirm() takes it. Raises Conflict where nothing of it is left.
    """
    using = using or router.db_for_write(DuplicatePair)
    with transaction.atomic(using=using):
        said = DuplicatePair.objects.using(using).filter(
            reviewed_at=at, reviewer=reviewer, state__in=JUDGED
        )
        if within is not None:
            said = said.filter(group__in=within.using(using).values("pk"))
        conflicts.lock(said.values_list("collection", flat=True).distinct(), using)
        rows = list(said.order_by("pk").select_for_update())
        if not rows:
            raise Conflict(_("There is nothing left to undo: it has been changed since."))
        return _settle(DuplicateState.OPEN, rows, [], reviewer, "", using)


def _single(
    state: DuplicateState,
    group_pk: int,
    version: int,
    reviewer: str,
    note: str,
    only: Collection[int] | None,
    within: QuerySet[DuplicateGroup] | None,
    using: str | None,
) -> Verdict:
    verdict = _change(state, {group_pk: version}, reviewer, note, only, within, using)
    if verdict.conflicts:
        raise verdict.conflicts[0]
    return verdict


def _change(
    state: DuplicateState,
    groups: Mapping[int, int],
    reviewer: str,
    note: str,
    only: Collection[int] | None,
    within: QuerySet[DuplicateGroup] | None,
    using: str | None,
) -> Verdict:
    using = using or router.db_for_write(DuplicatePair)
    with transaction.atomic(using=using):
        found = conflicts.locked(groups, within, using)
        rows = DuplicatePair.objects.using(using).filter(group__in=found)
        by_group: dict[int, list[DuplicatePair]] = defaultdict(list)
        for pair in rows.order_by("pk").select_for_update():
            if pair.group_id is not None:
                by_group[pair.group_id].append(pair)
        refused, chosen = list[Conflict](), list[DuplicatePair]()
        for pk, version in groups.items():
            group = found.get(pk)
            able = [
                pair
                for pair in by_group[pk]
                if pair.state in FROM[state] and (only is None or pair.pk in only)
            ]
            if group is None:
                refused.append(conflicts.gone(pk))
            elif group.version != version:
                refused.append(conflicts.changed(group, using))
            elif not able or (only is not None and len(able) < len(set(only))):
                refused.append(conflicts.nothing(state, group))
            else:
                chosen += able
        return _settle(state, chosen, refused, reviewer, note, using)


def _settle(
    state: DuplicateState,
    chosen: list[DuplicatePair],
    refused: list[Conflict],
    reviewer: str,
    note: str,
    using: str,
) -> Verdict:
    """Brings locked pairs to a state and forms their groups anew."""
    verdict = Verdict(timezone.now(), conflicts=refused)
    if not chosen:
        return verdict
    verdict.pairs = [pair.pk for pair in chosen]
    verdict.judged = sorted({pair.group_id for pair in chosen if pair.group_id is not None})
    rows = DuplicatePair.objects.using(using)
    before = rows.filter(group__in=verdict.judged)
    held = list(before.values_list("pk", flat=True)) or verdict.pairs
    on = {} if state == DuplicateState.OPEN else stored.judged(chosen, using)
    stored.settle(chosen, state, on, reviewer=reviewer, at=verdict.at, note=note, using=using)
    grouping.refresh(verdict.judged, using=using)
    now = rows.filter(pk__in=held, group__isnull=False)
    verdict.groups = sorted(set(now.values_list("group", flat=True)))
    return verdict
