"""What a person chose to compare, as the page's address holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from cardigan_reco import comparison
from cardigan_reco.comparison import Tables
from cardigan_reco.duplicates import listings

MAX_CATEGORIES = 200
"""Categories that are offered, in the order of the alphabet."""
ALL = "all"


class Selection(NamedTuple):
    """Two tables, the items that they are compared by, and how."""

    tables: Tables
    is_blind: bool = False
    only_unvoted: bool = True
    """Whether items that the person has voted on are left out."""
    words: str = ""
    """What the items are searched for."""
    category: str = ""

    @classmethod
    def read(cls, given: Mapping[str, str]) -> Selection | None:
        """Returns what an address chooses; None: nothing, and there is nothing to choose from.

        Raises LookupError and ValueError for tables that can't be compared.
        """
        given = {name: text.replace("\0", "") for name, text in given.items()}
        tables: Tables | None
        if given.get("old") or given.get("new"):
            tables = comparison.chosen(given.get("old", ""), given.get("new", ""))
        else:
            tables = comparison.default()
        if tables is None:
            return None
        return cls(
            tables,
            is_blind=bool(given.get("blind")),
            only_unvoted=given.get("show") != ALL,
            words=given.get("q", "").strip()[:200],
            category=given.get("category", ""),
        )

    @property
    def parameters(self) -> dict[str, str]:
        """What an address needs to choose the same."""
        given = {
            "old": self.tables.old._meta.label,
            "new": self.tables.new._meta.label,
            "blind": "1" if self.is_blind else "",
            "show": "" if self.only_unvoted else ALL,
            "q": self.words,
            "category": self.category,
        }
        return {name: value for name, value in given.items() if value}

    def address(self, item: Any = None) -> str:
        """Returns the query string of the page of that item, or of the first one."""
        chosen = {} if item is None else {"item": str(item.pk)}
        return f"?{urlencode({**self.parameters, **chosen})}"

    def items(self, request: HttpRequest, site: AdminSite) -> QuerySet[Any]:
        """Returns the items to compare by, in their order.

        They are searched as their own admin page does it, or else by primary key alone.
        """
        items = comparison.queries(self.tables)
        if self.category and (field := category_field(self.tables)):
            try:
                items = items.filter(**{field: self.category})
            except (ValueError, ValidationError):  # No value of that field.
                return items.none()
        if not self.words:
            return items
        own = site._registry.get(self.tables.items)
        may_search = own is not None and own.has_view_permission(request)
        if own is not None and may_search and own.get_search_fields(request):
            found, _may_repeat = own.get_search_results(
                request, self.tables.items._default_manager.using(items.db).all(), self.words
            )
            return items.filter(pk__in=found.order_by().values("pk"))
        try:
            return items.filter(pk=self.words)
        except (ValueError, ValidationError):  # No primary key of these items.
            return items.none()

    def item(self, text: str) -> Any:
        """Returns the item of that primary key; None: there is none that may be shown."""
        try:
            return comparison.shown(self.tables).filter(pk=text).first()
        except (ValueError, ValidationError):
            return None


def category_field(tables: Tables) -> str | None:
    """Returns the lookup of the items' category, where the shop has named one."""
    try:
        shop = listings.current()
    except (LookupError, ImportError, ImproperlyConfigured):
        return None
    if shop is None or shop.embedding.item_model() is not tables.items:
        return None
    return shop.category_field


def categories(tables: Tables) -> list[str]:
    """Returns the categories to choose from."""
    field = category_field(tables)
    if field is None:
        return []
    values = tables.items._default_manager.order_by(field).values_list(field, flat=True).distinct()
    return [str(value) for value in values[:MAX_CATEGORIES] if value is not None]
