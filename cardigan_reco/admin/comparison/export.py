"""The votes as CSV: a row for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from cardigan_reco.admin import spreadsheet

AT_ONCE = 500
"""Votes that are read together."""


def stream(votes: QuerySet[Any]) -> Iterator[str]:
    """Yields the lines of the file, header first."""
    return spreadsheet.stream(_rows(votes))


def _rows(votes: QuerySet[Any]) -> Iterator[list[Any]]:
    yield [
        _("items"),
        _("item"),
        _("first encoder"),
        _("second encoder"),
        _("better"),
        _("blind"),
        _("voter"),
        _("voted at"),
    ]
    for vote in votes.iterator(chunk_size=AT_ONCE):
        better = {"first": vote.first, "second": vote.second}.get(vote.choice, vote.choice)
        told = [vote.items, vote.item_pk, vote.first, vote.second, better]
        yield [*told, int(vote.is_blind), vote.voter, vote.voted_at.isoformat()]
