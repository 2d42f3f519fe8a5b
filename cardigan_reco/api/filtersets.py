"""Filters that a django-filter FilterSet describes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.models import QuerySet
from django.http import QueryDict
from rest_framework.request import Request

from cardigan_reco.exceptions import InvalidFilter
from cardigan_reco.filters import check_names


def names(filterset: Any) -> list[str]:
    """Returns the parameters that a FilterSet reads, such as price_min of a range.

    It is an object, not the class: a field that is made on the class would stay for all requests,
    with whatever its first one could see.
    """
    found = []
    for name, field in filterset.form.fields.items():
        suffixes = getattr(field.widget, "suffixes", [""])
        parameter = filterset.form.add_prefix(name)
        found += [f"{parameter}_{suffix}" if suffix else parameter for suffix in suffixes]
    return found


def apply(
    filterset_class: type[Any],
    queryset: QuerySet[Any],
    given: QueryDict,
    ignoring: Collection[str],
    request: Request,
) -> QuerySet[Any]:
    """Returns the rows that fit; raises UnknownFilter and InvalidFilter as `Filters.apply()`."""
    filterset = filterset_class(given, queryset=queryset, request=request)
    check_names(given, names(filterset), ignoring)
    if not filterset.is_valid():
        wrong = ", ".join(filterset.errors)
        message = f"These filters have a value that they can't take: {wrong}."
        raise InvalidFilter(message, wrong)
    narrowed: QuerySet[Any] = filterset.qs
    return narrowed
