"""What a button of the report says: whom it is about, as the person saw it, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.contrib.admin.models import CHANGE, LogEntry
from django.db import router, transaction
from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from cardigan_reco.duplicates import verdicts
from cardigan_reco.duplicates.verdicts import Verdict
from cardigan_reco.exceptions import Conflict
from cardigan_reco.models import DuplicateGroup, DuplicateState

MAX_AT_ONCE = 1000
"""Groups that a person may judge by one confirmation."""
STATES = {
    "confirm": DuplicateState.CONFIRMED,
    "dismiss": DuplicateState.DISMISSED,
    "reopen": DuplicateState.OPEN,
}
BEFORE = {verb: verdicts.FROM[state] for verb, state in STATES.items()}
"""The states that pairs may have before a verdict."""
VERBS = {
    "confirm": verdicts.confirm,
    "dismiss": verdicts.dismiss,
    "reopen": verdicts.reopen,
}


class Person(NamedTuple):
    """Who decides."""

    pk: str
    name: str


class Outcome(NamedTuple):
    """What came of a decision."""

    message: str
    groups: Sequence[int] = ()
    """Groups that are to be shown in place of those in `replaced`."""
    replaced: Sequence[int] = ()
    undo: str = ""
    """The decision that takes it back."""
    conflicts: Sequence[Conflict] = ()


class Decision(NamedTuple):
    """The value of a button: "confirm:GROUP:VERSION", "dismiss:GROUP:VERSION:PAIR,PAIR",
    "reopen:GROUP:VERSION", "survivor:GROUP:VERSION:LISTING" or "undo:MOMENT".
    """

    verb: str
    group: int = 0
    version: int = 0
    pairs: tuple[int, ...] | None = None
    """None: all of the group."""
    listing: str = ""
    at: datetime | None = None

    @classmethod
    def read(cls, text: str) -> Decision:
        """Returns the decision; raises ValueError for what is none."""
        verb, _colon, rest = text.partition(":")
        if verb == "undo":
            at = parse_datetime(rest)
            if at is None:
                raise ValueError(f"{text!r} names no moment.")
            return cls(verb, at=at)
        group, version, *more = rest.split(":", 2)
        pk, seen = number(group), number(version)
        if verb == "survivor":
            return cls(verb, pk, seen, listing=more[0] if more else "")
        if verb not in VERBS:
            choices = ", ".join([*VERBS, "survivor", "undo"])
            raise ValueError(f"{verb!r} is no decision. Choices are: {choices}.")
        pairs = tuple(number(one) for one in more[0].split(",")) if more else None
        return cls(verb, pk, seen, pairs)

    def carry_out(self, person: Person, note: str, *, within: QuerySet[Any]) -> Outcome:
        """Does it and writes it to the admin's log, in one transaction.

        `within`: the groups that the person may see. Raises Conflict for others and for what has
        changed since, and ValueError for a listing that is elsewhere.
        """
        using = router.db_for_write(DuplicateGroup)
        with transaction.atomic(using=using):
            if self.verb == "survivor":
                return self._choose(person, within, using)
            if self.at is not None:
                verdict = verdicts.undo(
                    reviewer=person.name, at=self.at, within=within, using=using
                )
            else:
                verdict = VERBS[self.verb](
                    self.group,
                    version=self.version,
                    reviewer=person.name,
                    note=note,
                    pairs=self.pairs,
                    within=within,
                    using=using,
                )
            return _outcome(self.verb, verdict, person, using)

    def _choose(self, person: Person, within: QuerySet[Any], using: str) -> Outcome:
        verdicts.choose_survivor(
            self.group, self.listing, version=self.version, within=within, using=using
        )
        if self.listing:
            message = _("The chosen listing is to stay.")
            logged = _("Chose listing %s to stay.") % self.listing
        else:
            message = _("No listing is chosen to stay any more.")
            logged = _("Took back which listing is to stay.")
        log([self.group], person, logged, using=using)
        return Outcome(message, [self.group], [self.group])


def carry_out_for_all(
    verb: str, groups: Mapping[int, int], person: Person, note: str, *, within: QuerySet[Any]
) -> Outcome:
    """Confirms, dismisses or reopens many groups, given with the versions that the person saw.

    Those that have changed since, or aren't `within`, are left alone and named among the conflicts.
    """
    using = router.db_for_write(DuplicateGroup)
    with transaction.atomic(using=using):
        verdict = verdicts.judge(
            STATES[verb], groups, reviewer=person.name, note=note, within=within, using=using
        )
        return _outcome(verb, verdict, person, using)


def read_groups(text: str) -> dict[int, int]:
    """Returns the groups with their versions from "GROUP:VERSION,..."; raises ValueError."""
    groups = {}
    for one in text.split(","):
        pk, _colon, version = one.partition(":")
        groups[number(pk)] = number(version)
    if len(groups) > MAX_AT_ONCE:
        raise ValueError(f"{len(groups)} groups are more than {MAX_AT_ONCE}.")
    return groups


def log(group_pks: list[int], person: Person, message: str, *, using: str) -> None:
    """Writes a change of groups to the admin's log."""
    groups = DuplicateGroup.objects.using(using).filter(pk__in=group_pks)
    LogEntry.objects.log_actions(person.pk, list(groups), CHANGE, message)


def _outcome(verb: str, verdict: Verdict, person: Person, using: str) -> Outcome:
    count = len(verdict.pairs)
    told = {
        "confirm": ngettext("%d pair confirmed.", "%d pairs confirmed.", count),
        "dismiss": ngettext("%d pair dismissed.", "%d pairs dismissed.", count),
        "reopen": ngettext("%d pair reopened.", "%d pairs reopened.", count),
        "undo": ngettext(
            "Undone: %d pair is open again.", "Undone: %d pairs are open again.", count
        ),
    }[verb]
    logged = {
        "confirm": _("Confirmed pairs of listings."),
        "dismiss": _("Dismissed pairs of listings."),
    }.get(verb, _("Reopened pairs of listings."))
    there = DuplicateGroup.objects.using(using).filter(pk__in=verdict.judged)
    changed = list(there.values_list("pk", flat=True)) or verdict.groups
    if changed:
        log(changed, person, logged, using=using)
    can_be_undone = verb in ("confirm", "dismiss") and count
    return Outcome(
        told % count,
        groups=verdict.groups,
        replaced=verdict.judged,
        undo=f"undo:{verdict.at.isoformat()}" if can_be_undone else "",
        conflicts=verdict.conflicts,
    )


def number(text: str) -> int:
    """Returns a primary key or version from a form; raises ValueError."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError(f"{text!r} is no number of a row.")
    return int(text)
