"""The fields of a listing that the report shows: their labels, and how their values are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib.admin.utils import display_for_value
from django.core.exceptions import FieldDoesNotExist
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from cardigan_reco.admin.pictures import NOTHING
from cardigan_reco.duplicates import pictures
from cardigan_reco.duplicates.listings import Listings


@dataclass(frozen=True)
class Field:
    """A field of the shop's listings."""

    label: str
    holds_words: bool
    write: Callable[[Any], str]


def labels(shop: Listings) -> list[str]:
    """Returns the labels of the facts of a listing, in their order."""
    fields = of(shop)
    return [field.label for lookup, field in fields.items() if lookup != shop.title_field]


def of(shop: Listings) -> dict[str, Field]:
    """Returns the fields by their lookups; the title is among them, for the name of a listing."""
    model = shop.embedding.item_model()
    found = {}
    lookups = dict.fromkeys([*([shop.title_field] if shop.title_field else []), *shop.shown_fields])
    for lookup in lookups:
        try:
            last = pictures.field(model, lookup)
        except FieldDoesNotExist:  # A system check tells of it.
            continue
        first = model._meta.get_field(lookup.split("__")[0])
        several = sum(other.split("__")[0] == first.name for other in lookups) > 1
        label = str(getattr(first, "verbose_name", first.name))
        if "__" in lookup and several:
            label = f"{label}: {last.verbose_name}"
        choices = dict(last.flatchoices) if last.choices else {}
        is_text = last.get_internal_type() in ("CharField", "TextField") and not choices
        found[lookup] = Field(capfirst(label), is_text, partial(_text, choices))
    return found


def _text(choices: Mapping[Any, Any], value: Any) -> str:
    if value in choices:
        return str(choices[value])
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    return display_for_value(value, NOTHING) if value != "" else NOTHING
