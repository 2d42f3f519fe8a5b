"""What narrows the report: state, kind, category and probability."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from cardigan_reco.models import DuplicateGroup, DuplicateKind, DuplicateState

MAX_CATEGORIES = 200
"""Categories that are offered, in the order of the alphabet."""
ALL = "all"
BOUNDS: dict[str, tuple[Any, Q]] = {
    "99": (_("99 % and more"), Q(probability__gte=0.99)),
    "90": (_("90 to 99 %"), Q(probability__gte=0.9, probability__lt=0.99)),
    "75": (_("75 to 90 %"), Q(probability__gte=0.75, probability__lt=0.9)),
    "0": (_("less than 75 %"), Q(probability__lt=0.75)),
}


class StateFilter(admin.SimpleListFilter):
    """Shows what is open, unless another state is asked for."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [*DuplicateState.choices, (ALL, _("All"))]

    def value(self) -> str:
        given = super().value()
        return given if given in [*DuplicateState.values, ALL] else str(DuplicateState.OPEN.value)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        for value, title in self.lookup_choices:
            yield {
                "selected": value == self.value(),
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": title,
            }

    def queryset(self, request: HttpRequest, groups: QuerySet[Any]) -> QuerySet[Any]:
        return groups if self.value() == ALL else groups.filter(state=self.value())


class KindFilter(admin.SimpleListFilter):
    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(DuplicateKind.choices)

    def queryset(self, request: HttpRequest, groups: QuerySet[Any]) -> QuerySet[Any]:
        return groups.filter(kind=self.value()) if self.value() in DuplicateKind.values else groups


class CategoryFilter(admin.SimpleListFilter):
    """Offers the categories, in the shop's words, that groups are in."""

    title = _("category")
    parameter_name = "category"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        groups: QuerySet[DuplicateGroup] = model_admin.get_queryset(request)
        names = groups.exclude(category="").order_by("category").values_list("category", flat=True)
        return [(name, name) for name in names.distinct()[:MAX_CATEGORIES]]

    def queryset(self, request: HttpRequest, groups: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        if not name:
            return groups
        # PostgreSQL refuses a text with a NUL, so no category has one.
        return groups.none() if "\0" in name else groups.filter(category=name)


class ProbabilityFilter(admin.SimpleListFilter):
    title = _("probability")
    parameter_name = "probability"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, title) for name, (title, _bounds) in BOUNDS.items()]

    def queryset(self, request: HttpRequest, groups: QuerySet[Any]) -> QuerySet[Any]:
        chosen = BOUNDS.get(self.value() or "")
        return groups.filter(chosen[1]) if chosen else groups
