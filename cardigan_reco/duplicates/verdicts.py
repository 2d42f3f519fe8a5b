"""What people say of the pairs that were found: they confirm, dismiss, reopen, choose who stays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db import router, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from cardigan_reco.exceptions import Conflict
from cardigan_reco.models import DuplicateGroup, DuplicatePair, DuplicateState

from . import grouping
from .pairs import judged

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
        _lock(said.values_list("collection", flat=True).distinct(), using)
        rows = list(said.order_by("pk").select_for_update())
        if not rows:
            raise Conflict(_("There is nothing left to undo: it has been changed since."))
        return _settle(DuplicateState.OPEN, rows, [], reviewer, "", using)


def choose_survivor(
    group_pk: int,
    survivor_pk: str,
    *,
    version: int,
    within: QuerySet[DuplicateGroup] | None = None,
    using: str | None = None,
) -> int:
    """Sets which listing of a group is to stay; "" takes the choice back. Returns the new version.

    `within`: as confirm() takes it. Raises Conflict where the group has changed since `version`, or
    was merged, and ValueError for a listing that isn't in the group.
    """
    using = using or router.db_for_write(DuplicateGroup)
    with transaction.atomic(using=using):
        group = locked_group(group_pk, version=version, within=within, using=using)
        if group.state == DuplicateState.MERGED:
            raise Conflict(_("Group %d was merged already.") % group_pk)
        members = _members(group_pk, using)
        if survivor_pk and survivor_pk not in members:
            raise ValueError(
                f"Listing {survivor_pk!r} is not in group {group_pk}. Choices are: "
                f"{', '.join(members)}."
            )
        group.survivor_pk = survivor_pk
        group.version += 1
        group.changed_at = timezone.now()
        group.save(using=using, update_fields=["survivor_pk", "version", "changed_at"])
        return group.version


def locked_group(
    group_pk: int,
    *,
    version: int,
    within: QuerySet[DuplicateGroup] | None = None,
    using: str,
) -> DuplicateGroup:
    """Returns a group as a person saw it, locked until the transaction ends; raises Conflict."""
    group = _locked([group_pk], within, using).get(group_pk)
    if group is None:
        raise _gone(group_pk)
    if group.version != version:
        raise _changed(group, using)
    return group


def _members(group_pk: int, using: str) -> list[str]:
    """Returns the primary keys of a group's listings, as text."""
    rows = DuplicatePair.objects.using(using).filter(group=group_pk)
    return sorted({pk for row in rows.values_list("first_pk", "second_pk") for pk in row})


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
        found = _locked(groups, within, using)
        rows = DuplicatePair.objects.using(using).filter(group__in=found)
        by_group: dict[int, list[DuplicatePair]] = defaultdict(list)
        for pair in rows.order_by("pk").select_for_update():
            if pair.group_id is not None:
                by_group[pair.group_id].append(pair)
        conflicts, chosen = [], list[DuplicatePair]()
        for pk, version in groups.items():
            group = found.get(pk)
            able = [
                pair
                for pair in by_group[pk]
                if pair.state in FROM[state] and (only is None or pair.pk in only)
            ]
            if group is None:
                conflicts.append(_gone(pk))
            elif group.version != version:
                conflicts.append(_changed(group, using))
            elif not able or (only is not None and len(able) < len(set(only))):
                conflicts.append(_nothing(state, group))
            else:
                chosen += able
        return _settle(state, chosen, conflicts, reviewer, note, using)


def _settle(
    state: DuplicateState,
    chosen: list[DuplicatePair],
    conflicts: list[Conflict],
    reviewer: str,
    note: str,
    using: str,
) -> Verdict:
    """Brings locked pairs to a state and forms their groups anew."""
    verdict = Verdict(timezone.now(), conflicts=conflicts)
    if not chosen:
        return verdict
    verdict.pairs = [pair.pk for pair in chosen]
    verdict.judged = sorted({pair.group_id for pair in chosen if pair.group_id is not None})
    rows = DuplicatePair.objects.using(using)
    before = rows.filter(group__in=verdict.judged)
    held = list(before.values_list("pk", flat=True)) or verdict.pairs
    on = {} if state == DuplicateState.OPEN else judged(chosen, using)
    for pair in chosen:
        pair.state = state
        pair.judged = on.get(pair.pk, [])
        pair.reviewer = reviewer
        pair.reviewed_at = verdict.at
        pair.note = note or pair.note
        pair.version += 1
    rows.bulk_update(chosen, ["state", "judged", "reviewer", "reviewed_at", "note", "version"])
    grouping.refresh(verdict.judged, using=using)
    now = rows.filter(pk__in=held, group__isnull=False)
    verdict.groups = sorted(set(now.values_list("group", flat=True)))
    return verdict


def _lock(collections: Iterable[str], using: str) -> None:
    for collection in sorted(collections):
        grouping.lock(collection, using=using)


def _locked(
    group_pks: Iterable[int], within: QuerySet[DuplicateGroup] | None, using: str
) -> dict[int, DuplicateGroup]:
    """Returns those of the groups that are there, their collections and rows locked."""
    rows = DuplicateGroup.objects.using(using).filter(pk__in=list(group_pks))
    if within is not None:
        # By a subquery, since PostgreSQL locks no rows that are made distinct or counted.
        rows = rows.filter(pk__in=within.using(using).values("pk"))
    _lock(rows.values_list("collection", flat=True).distinct(), using)
    return {group.pk: group for group in rows.order_by("pk").select_for_update()}


def _gone(pk: int) -> Conflict:
    return Conflict(
        _(
            "Group %d isn’t there any more: what spoke for it is gone, or it became part of "
            "another one."
        )
        % pk
    )


def _changed(group: DuplicateGroup, using: str) -> Conflict:
    """Says what has become of a group since a person saw it, and by whom."""
    told = [
        _("Group %(group)d has changed since you saw it, so nothing was done.")
        % {"group": group.pk},
        _("It is %(state)s now.") % {"state": group.get_state_display()},
    ]
    last = (
        DuplicatePair.objects.using(using)
        .filter(group=group.pk, reviewed_at__isnull=False)
        .order_by("-reviewed_at")
        .values_list("reviewer", "reviewed_at")
        .first()
    )
    if last and last[1]:
        at = timezone.localtime(last[1]) if timezone.is_aware(last[1]) else last[1]
        when = date_format(at, "DATETIME_FORMAT")
        told.append(
            _("It was last judged by %(who)s, %(when)s.") % {"who": last[0] or "?", "when": when}
        )
    if group.survivor_pk:
        told.append(_("Listing %s is to stay.") % group.survivor_pk)
    return Conflict(" ".join(told))


def _nothing(state: DuplicateState, group: DuplicateGroup) -> Conflict:
    if state == DuplicateState.OPEN:
        told = _("Nothing in group %(group)d can be reopened: it is %(state)s.")
    else:
        told = _("Nothing in group %(group)d is open any more: it is %(state)s.")
    return Conflict(told % {"group": group.pk, "state": group.get_state_display()})
