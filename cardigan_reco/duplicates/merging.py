"""Merging the listings of a group into one: the shop does it, here in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from django.db import connections, router, transaction
from django.db.models import Model
from django.dispatch import Signal
from django.utils import timezone
from django.utils.translation import gettext as _

from cardigan_reco.exceptions import Conflict
from cardigan_reco.models import DuplicateGroup, DuplicatePair, DuplicateState

from . import conflicts, grouping, listings
from .pairs import matched, settle, touching

merged = Signal()
"""Sent after the commit with `survivor`, an item, `duplicate_pks` and `using`."""


def merge(
    group_pk: int,
    *,
    survivor_pk: str,
    version: int,
    reviewer: str,
    note: str = "",
    using: str | None = None,
) -> Model:
    """Has the shop merge the other listings of a group into the survivor, which is returned.

    All of it or nothing: group, pairs and items are locked, Listings.merge_listings() runs, and the
    pairs are marked as merged, in one transaction. Open pairs of the listings that are merged away
    are dropped; the survivor's pictures are compared again by the next run.

    `survivor_pk`: the item's key as text. `version`: the group's when the person saw it.
    Raises Conflict, and does nothing, where the group has changed since, was merged already or has
    listings that are gone, or where the survivor isn't in Listings.queryset() any more; LookupError
    where CARDIGAN_RECO["DUPLICATES"] is not set, ValueError for a survivor that isn't in the group,
    NotImplementedError where the shop doesn't say how to merge, and whatever that raises.
    """
    shop = listings.current()
    if shop is None:
        raise LookupError("CARDIGAN_RECO['DUPLICATES'] is not set, so there is nothing to merge.")
    using = using or router.db_for_write(DuplicateGroup)
    with transaction.atomic(using=using):
        group = conflicts.locked_group(group_pk, version=version, using=using)
        if group.state not in (DuplicateState.OPEN, DuplicateState.CONFIRMED):
            raise Conflict(
                _("Group %(group)d can’t be merged: it is %(state)s.")
                % {"group": group_pk, "state": group.get_state_display()}
            )
        # What was merged before is settled; the shop may have deleted it.
        pairs = list(
            DuplicatePair.objects.using(using)
            .filter(group=group_pk)
            .exclude(state=DuplicateState.MERGED)
            .order_by("pk")
            .select_for_update()
        )
        members = sorted({pk for pair in pairs for pk in (pair.first_pk, pair.second_pk)})
        if survivor_pk not in members:
            raise ValueError(
                _("Listing %(listing)r is not in group %(group)d. Choices are: %(choices)s.")
                % {"listing": survivor_pk, "group": group_pk, "choices": ", ".join(members)}
            )
        items = _locked_items(group, members, using)
        survivor = items.pop(survivor_pk)
        shop.merge_listings(survivor, list(items.values()))
        _require_compared(shop, survivor, using)
        # What is checked at the commit may be so after the answer, as with ATOMIC_REQUESTS.
        connections[using].check_constraints()
        _mark(group, pairs, survivor_pk, reviewer, note, using)
        _drop_open(group.collection, items, using)
        transaction.on_commit(
            partial(
                merged.send,
                sender=type(survivor),
                survivor=survivor,
                duplicate_pks=list(items),
                using=using,
            ),
            using=using,
            robust=True,
        )
    return survivor


def _locked_items(group: DuplicateGroup, pks: Sequence[str], using: str) -> dict[str, Model]:
    """Returns the items by their keys as text, in the order of the keys."""
    model: Any = listings.embedding_of(group.collection).item_model()
    rows = model._base_manager.using(using).filter(pk__in=pks).order_by("pk")
    # Rows of other tables, that a default manager may join, are not ours to lock.
    found = {str(item.pk): item for item in rows.select_for_update(of=("self",))}
    if gone := [pk for pk in pks if pk not in found]:
        raise Conflict(
            _("Listing %s isn’t there any more, so nothing was merged.") % ", ".join(gone)
        )
    return found


def _require_compared(shop: listings.Listings, survivor: Model, using: str) -> None:
    """Raises Conflict for a survivor that the shop leaves out, since what is merged into one that
    was itself merged away is lost from sight. The hook may have put it right, or say more of it.
    """
    compared = shop.queryset().using(using)
    rows: Any = type(survivor)._base_manager.using(using)
    if not rows.filter(pk=survivor.pk, pk__in=compared.values("pk")).exists():
        raise Conflict(
            _(
                "Listing %s can’t stay: it isn’t among those that are compared any more, such as "
                "what was merged before."
            )
            % survivor.pk
        )


def _mark(
    group: DuplicateGroup,
    pairs: Sequence[DuplicatePair],
    survivor_pk: str,
    reviewer: str,
    note: str,
    using: str,
) -> None:
    on = {pair.pk: matched(pair.evidence) for pair in pairs}
    settle(
        pairs,
        DuplicateState.MERGED,
        on,
        reviewer=reviewer,
        at=timezone.now(),
        note=note,
        using=using,
    )
    group.survivor_pk = survivor_pk
    group.save(using=using, update_fields=["survivor_pk"])
    grouping.refresh([group.pk], using=using)


def _drop_open(collection: str, pks: Collection[str], using: str) -> None:
    """Drops what is open of listings that were merged away, with their groups where empty."""
    pairs = touching(collection, pks, using)
    gone = [pair for pair in pairs if pair.state == DuplicateState.OPEN]
    DuplicatePair.objects.using(using).filter(pk__in=[pair.pk for pair in gone]).delete()
    grouping.refresh({pair.group_id for pair in gone if pair.group_id is not None}, using=using)
