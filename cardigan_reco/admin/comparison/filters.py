"""What narrows the votes: which two encoders they compare."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from cardigan_reco import comparison
from cardigan_reco.comparison import in_order, short

SEPARATOR = "|"


class EncodersFilter(admin.SimpleListFilter):
    title = _("encoders")
    parameter_name = "encoders"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        pairs = {in_order((found.old, found.new)) for found in comparison.tallies()}
        return [
            (SEPARATOR.join(pair), f"{short(pair[0])} – {short(pair[1])}") for pair in sorted(pairs)
        ]

    def queryset(self, request: HttpRequest, votes: QuerySet[Any]) -> QuerySet[Any]:
        first, separator, second = (self.value() or "").partition(SEPARATOR)
        return votes.filter(first=first, second=second) if separator else votes
