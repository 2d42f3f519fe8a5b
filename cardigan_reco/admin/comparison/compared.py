"""The items of a page of votes, found together."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.apps import apps
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from cardigan_reco.admin.pictures import admin_link
from cardigan_reco.models import ComparisonVote


class ComparedItems(ChangeList):
    """A page of votes with their items, which take one query a model."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        found = items_of(self.result_list)
        for vote in self.result_list:
            vote.item_found = found.get((vote.items, vote.item_pk))


def items_of(votes: list[ComparisonVote]) -> dict[tuple[str, str], Any]:
    """Returns the items of votes by label and key as text; those that are gone are left out."""
    keys: dict[str, set[str]] = defaultdict(set)
    for vote in votes:
        keys[vote.items].add(vote.item_pk)
    found = {}
    for label, texts in keys.items():
        try:
            model = apps.get_model(label)
            items = model._default_manager.filter(pk__in=texts)
            found.update({(label, str(item.pk)): item for item in items})
        except (LookupError, ValueError, ValidationError):  # No such model, or key, any more.
            continue
    return found


def name_of(vote: Any) -> str:
    """Returns the name of a vote's item, linked to its page in the admin."""
    if not hasattr(vote, "item_found"):
        vote.item_found = items_of([vote]).get((vote.items, vote.item_pk))
    return admin_link(vote.item_found) if vote.item_found is not None else str(vote)
