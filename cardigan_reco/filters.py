"""Filters that a shop allows by name; nothing else of a request reaches the ORM."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import EmptyResultSet, FieldDoesNotExist, ValidationError
from django.db.models import Field, ForeignKey, Model, Q, QuerySet
from django.utils import timezone
from django.utils.datastructures import MultiValueDict

from .exceptions import InvalidFilter, UnknownFilter

MAX_LENGTH = 200
"""Characters of a value."""
MAX_VALUES = 20
"""Values of one filter."""

_BOOLEANS = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}


class Filters(Mapping[str, str]):
    """An allowlist: public name -> lookup, such as {"max_price": "price__lte"}."""

    def __init__(self, lookups: Mapping[str, str] | None = None) -> None:
        self._lookups = dict(lookups or {})

    def __getitem__(self, name: str) -> str:
        return self._lookups[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lookups)

    def __len__(self) -> int:
        return len(self._lookups)

    def apply(
        self,
        queryset: QuerySet[Any],
        given: MultiValueDict[str, Any],
        ignoring: Collection[str] = (),
    ) -> QuerySet[Any]:
        """Returns the rows that fit all filters in `given`, a QueryDict; no row comes twice.

        Several values of one filter mean any of them, an empty one means none was chosen.
        `ignoring`: the names that `given` has for other purposes.

        Raises UnknownFilter for any other name, InvalidFilter for a value that the field can't
        take, and FieldDoesNotExist or FieldError when a lookup of this list is wrong.
        """
        check_names(given, self, ignoring)
        for name in given:
            if name in ignoring or name not in self:
                continue
            texts = [str(value) for value in given.getlist(name) if value != ""]
            if len(texts) > MAX_VALUES:
                raise InvalidFilter(f"Filter {name!r} takes at most {MAX_VALUES} values.", name)
            if texts:
                queryset = self._narrow(queryset, name, texts)
        return queryset

    def _narrow(self, queryset: QuerySet[Any], name: str, texts: list[str]) -> QuerySet[Any]:
        path = _resolve(queryset, self[name])
        wanted = Q()
        values = []
        for text in texts:
            try:
                values.append(path.clean(text))
                if not path.is_exact:
                    wanted |= Q((path.lookup, values[-1]))
                    # Some values are too much for a lookup alone: a year of 20,000.
                    _compile(queryset.filter(wanted))
            except (ValidationError, ValueError, OverflowError) as error:
                message = f"Filter {name!r} can't be {_short(text)}."
                raise InvalidFilter(message, name, text) from error
        if path.is_exact:
            wanted = Q((f"{path.lookup}__in", values))
        if not path.is_multiple:
            return queryset.filter(wanted)
        # A join would bring a row once for each of its matches.
        fitting = queryset.model._base_manager.using(queryset.db).filter(wanted)
        return queryset.filter(pk__in=fitting.values("pk"))


def check_names(given: Iterable[str], choices: Collection[str], ignoring: Collection[str]) -> None:
    """Raises UnknownFilter when a name is in neither of the two."""
    for name in given:
        if name not in choices and name not in ignoring:
            raise UnknownFilter(
                f"Filter {_short(name)} is unknown. Choices are: {', '.join(choices) or 'none'}."
            )


@dataclass(frozen=True)
class _Path:
    """Where a lookup leads."""

    lookup: str
    field: Field[Any, Any] | None
    """What its values are compared with; None: only with true and false."""
    is_exact: bool
    is_multiple: bool
    """Whether a row may meet several others on the way."""

    def clean(self, text: str) -> Any:
        """Returns the value; raises ValidationError, ValueError or OverflowError."""
        if len(text) > MAX_LENGTH or "\0" in text:
            raise ValueError("Too long, or with a NUL, which PostgreSQL can't hold.")
        lowered = text.lower()
        if self.field is None:
            return _BOOLEANS[lowered] if lowered in _BOOLEANS else _refuse(text)
        if self.field.get_internal_type() == "BooleanField" and lowered in _BOOLEANS:
            return _BOOLEANS[lowered]
        value = self.field.clean(text, None)
        if isinstance(value, float) and not math.isfinite(value):
            _refuse(text)
        if isinstance(value, datetime) and settings.USE_TZ:
            aware = timezone.make_aware(value) if timezone.is_naive(value) else value
            return aware.astimezone(UTC)  # PostgreSQL doesn't take every offset.
        return value


def _resolve(queryset: QuerySet[Any], lookup: str) -> _Path:
    model: type[Model] | None = queryset.model
    names = lookup.split("__")
    field: Field[Any, Any] | None = None
    is_multiple = False
    if names[0] in queryset.query.annotations:
        field = queryset.query.annotations[names.pop(0)].output_field
        model = None
    while names and model is not None:
        name = model._meta.pk.name if names[0] == "pk" else names[0]
        try:
            step: Any = model._meta.get_field(name)
        except FieldDoesNotExist:
            if field is None:
                raise
            break
        names.pop(0)
        is_multiple |= bool(step.one_to_many or step.many_to_many)
        model = step.related_model if step.is_relation else None
        field = _compared(step)
    return _ended(lookup, field, names, is_multiple)


def _ended(
    lookup: str, field: Field[Any, Any] | None, names: list[str], is_multiple: bool
) -> _Path:
    """Follows what is behind the field: transforms, such as a date's year, and the comparison."""
    while names and field is not None and field.get_lookup(names[0]) is None:
        transform = field.get_transform(names[0])
        if transform is None:
            raise FieldDoesNotExist(f"{names[0]!r} of the filter {lookup!r} is no lookup.")
        names.pop(0)
        output = getattr(transform, "output_field", None)
        field = output if isinstance(output, Field) else field
    if names == ["isnull"]:
        return _Path(lookup, None, False, is_multiple)
    if names in (["exact"], ["in"]):
        return _Path(lookup.rpartition("__")[0], field, True, is_multiple)
    return _Path(lookup, field, not names, is_multiple)


def _compared(step: Any) -> Field[Any, Any]:
    """Returns the field that a value is compared with: of a relation, the other side's key."""
    while isinstance(step, ForeignKey):
        step = step.target_field
    if step.is_relation:
        return _compared(step.related_model._meta.pk)
    field: Field[Any, Any] = step
    return field


def _compile(queryset: QuerySet[Any]) -> None:
    with suppress(EmptyResultSet):
        queryset.query.get_compiler(queryset.db).as_sql()


def _refuse(text: str) -> Any:
    raise ValueError(f"{text!r} is no value of the field.")


def _short(text: str) -> str:
    return repr(text if len(text) <= 50 else f"{text[:50]}...")
