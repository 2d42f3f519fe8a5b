"""Which listing of a group is to stay when the others are merged into it."""

from __future__ import annotations

from django.db import router, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from cardigan_reco.exceptions import Conflict
from cardigan_reco.models import DuplicateGroup, DuplicatePair, DuplicateState

from . import conflicts


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
        group = conflicts.locked_group(group_pk, version=version, within=within, using=using)
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


def _members(group_pk: int, using: str) -> list[str]:
    """Returns the primary keys of a group's listings, as text."""
    rows = DuplicatePair.objects.using(using).filter(group=group_pk)
    return sorted({pk for row in rows.values_list("first_pk", "second_pk") for pk in row})
