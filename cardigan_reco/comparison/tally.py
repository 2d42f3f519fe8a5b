"""What the votes say of two encoders, all together."""

from __future__ import annotations

from typing import NamedTuple

from django.db.models import Count, Max, Q

from cardigan_reco.duplicates.thresholds import interval
from cardigan_reco.models import ComparisonVote, EncoderVersion

from .votes import in_order, short

Choice = ComparisonVote.Choice


class Tally(NamedTuple):
    """The votes on two encoders, as text of alias and fingerprint."""

    items: str
    """Label of the items' model."""
    old: str
    new: str
    old_better: int
    new_better: int
    both: int
    neither: int
    voters: int

    @property
    def votes(self) -> int:
        return self.old_better + self.new_better + self.both + self.neither

    @property
    def decided(self) -> int:
        """The votes that prefer one of the two."""
        return self.old_better + self.new_better

    @property
    def share(self) -> float | None:
        """The share of the decided votes that prefer the new encoder; None: there are none."""
        return self.new_better / self.decided if self.decided else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the share. It takes each vote for an item of its own."""
        return interval(self.new_better, self.decided) if self.decided else None

    @property
    def percent(self) -> int | None:
        return None if self.share is None else round(100 * self.share)

    @property
    def percent_low(self) -> int | None:
        return None if self.interval is None else round(100 * self.interval[0])

    @property
    def percent_high(self) -> int | None:
        return None if self.interval is None else round(100 * self.interval[1])

    @property
    def old_name(self) -> str:
        return short(self.old)

    @property
    def new_name(self) -> str:
        return short(self.new)

    @property
    def better(self) -> str | None:
        """The encoder that the interval speaks for; None: it may be either."""
        if self.interval is None or self.interval[0] <= 0.5 <= self.interval[1]:
            return None
        return self.new if self.interval[0] > 0.5 else self.old


def tally(items: str, versions: tuple[str, str], *, using: str | None = None) -> Tally:
    """Returns the votes on an old and a new encoder for the items of that label."""
    first, second = in_order(versions)
    for found in tallies(using=using, items=items, first=first, second=second):
        return found if found.old == versions[0] else _turned(found)
    return Tally(items, *versions, 0, 0, 0, 0, 0)


def tallies(*, using: str | None = None, **only: str) -> list[Tally]:
    """Returns a tally of each two encoders that were ever compared, the latest vote first.

    The one that was first used before the other is the old one, as far as that is still known.
    """
    counts = {
        f"count_of_{choice}": Count("pk", filter=Q(choice=choice))
        for choice in (Choice.FIRST, Choice.SECOND, Choice.BOTH, Choice.NEITHER)
    }
    rows = (
        ComparisonVote.objects.using(using)
        .filter(**only)
        .values_list("items", "first", "second")
        .annotate(**counts, voters=Count("voter", distinct=True), latest=Max("voted_at"))
        .order_by("-latest")
    )
    used = {
        f"{encoder} {fingerprint}": created_at
        for encoder, fingerprint, created_at in EncoderVersion.objects.using(using).values_list(
            "encoder", "fingerprint", "created_at"
        )
    }
    found = [Tally(*row[:-1]) for row in rows]
    return [
        _turned(one)
        if one.old in used and one.new in used and used[one.new] < used[one.old]
        else one
        for one in found
    ]


def _turned(found: Tally) -> Tally:
    return Tally(
        found.items,
        found.new,
        found.old,
        found.new_better,
        found.old_better,
        found.both,
        found.neither,
        found.voters,
    )
