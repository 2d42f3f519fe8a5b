"""Votes: what a person says of an item's two shelves."""

from __future__ import annotations

from enum import StrEnum

from django.db.models import Model
from django.db.models.functions import Now

from cardigan_reco.models import ComparisonVote

Choice = ComparisonVote.Choice


class Answer(StrEnum):
    """Which shelf is the better one."""

    OLD = "old"
    NEW = "new"
    BOTH = "both"
    """Equally good."""
    NEITHER = "neither"
    """Equally bad."""


def cast(
    item: Model,
    versions: tuple[str, str],
    answer: Answer,
    *,
    voter: str,
    is_blind: bool,
    using: str | None = None,
) -> ComparisonVote:
    """Stores what a person says of an item's shelves by the old and the new encoder.

    `versions`: those of `Comparison.versions`. It replaces what they said of the two before.
    """
    first, second = in_order(versions)
    if answer in (Answer.BOTH, Answer.NEITHER):
        choice = Choice(str(answer))
    else:
        better = versions[0] if answer is Answer.OLD else versions[1]
        choice = Choice.FIRST if better == first else Choice.SECOND
    vote, _created = ComparisonVote.objects.using(using).update_or_create(
        items=item._meta.label_lower,
        item_pk=str(item.pk),
        first=first,
        second=second,
        voter=voter,
        defaults={"choice": choice, "is_blind": is_blind, "voted_at": Now()},
    )
    return vote


def answer_of(
    item: Model, versions: tuple[str, str], *, voter: str, using: str | None = None
) -> Answer | None:
    """Returns what a person said of an item's shelves; None: nothing yet."""
    first, second = in_order(versions)
    vote = (
        ComparisonVote.objects.using(using)
        .filter(items=item._meta.label_lower, item_pk=str(item.pk), first=first, second=second)
        .filter(voter=voter)
        .first()
    )
    if vote is None:
        return None
    if vote.choice in (Choice.BOTH, Choice.NEITHER):
        return Answer(vote.choice)
    better = first if vote.choice == Choice.FIRST else second
    return Answer.OLD if better == versions[0] else Answer.NEW


def in_order(versions: tuple[str, str]) -> tuple[str, str]:
    """Returns two encoders in the order in which votes hold them."""
    first, second = sorted(versions)
    return first, second


def short(version: str) -> str:
    """Returns a version as a person reads it: the alias and the start of the fingerprint."""
    alias, _space, fingerprint = version.rpartition(" ")
    return f"{alias} {fingerprint[:8]}"
