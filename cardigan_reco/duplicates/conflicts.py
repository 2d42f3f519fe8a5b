"""Groups as a person saw them: locked for what they decided, or a Conflict that says why not."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from cardigan_reco.exceptions import Conflict
from cardigan_reco.models import DuplicateGroup, DuplicatePair, DuplicateState

from . import grouping


def locked_group(
    group_pk: int,
    *,
    version: int,
    within: QuerySet[DuplicateGroup] | None = None,
    using: str,
) -> DuplicateGroup:
    """Returns a group as a person saw it, locked until the transaction ends; raises Conflict."""
    group = locked([group_pk], within, using).get(group_pk)
    if group is None:
        raise gone(group_pk)
    if group.version != version:
        raise changed(group, using)
    return group


def lock(collections: Iterable[str], using: str) -> None:
    """Keeps others from pairs and groups of the collections until the transaction ends."""
    for collection in sorted(collections):
        grouping.lock(collection, using=using)


def locked(
    group_pks: Iterable[int], within: QuerySet[DuplicateGroup] | None, using: str
) -> dict[int, DuplicateGroup]:
    """Returns those of the groups that are there, their collections and rows locked."""
    rows = DuplicateGroup.objects.using(using).filter(pk__in=list(group_pks))
    if within is not None:
        # By a subquery, since PostgreSQL locks no rows that are made distinct or counted.
        rows = rows.filter(pk__in=within.using(using).values("pk"))
    lock(rows.values_list("collection", flat=True).distinct(), using)
    return {group.pk: group for group in rows.order_by("pk").select_for_update()}


def gone(pk: int) -> Conflict:
    """Says that a group is not to be found."""
    return Conflict(
        _(
            "Group %d isn’t there any more: what spoke for it is gone, or it became part of "
            "another one."
        )
        % pk
    )


def changed(group: DuplicateGroup, using: str) -> Conflict:
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


def nothing(state: DuplicateState, group: DuplicateGroup) -> Conflict:
    """Says that no pair of a group can be brought to the state."""
    if state == DuplicateState.OPEN:
        told = _("Nothing in group %(group)d can be reopened: it is %(state)s.")
    else:
        told = _("Nothing in group %(group)d is open any more: it is %(state)s.")
    return Conflict(told % {"group": group.pk, "state": group.get_state_display()})
