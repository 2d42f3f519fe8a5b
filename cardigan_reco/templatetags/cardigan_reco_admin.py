"""Template tags of the admin's own pages."""

from __future__ import annotations

from typing import Any

from django import VERSION, template
from django.contrib.admin.sites import all_sites
from django.contrib.admin.utils import label_for_field
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, transaction
from django.db.models.options import Options
from django.utils.html import format_html
from django.utils.translation import gettext as _

from cardigan_reco.duplicates import listings
from cardigan_reco.models import DuplicateGroup, DuplicateState

register = template.Library()

UPWARDS = {"kind", "category"}
"""What is sorted from A to Z at first, where the rest starts with the most."""
LISTS_SINCE = (6, 1)
"""The Django whose admin began to style breadcrumbs as a list alone."""
MOST = 1000
"""Groups that are counted at most, so that the index stays fast however many there are."""


@register.simple_tag(takes_context=True)
def count_open_duplicates(context: template.Context) -> str:
    """Writes the number of open groups behind the report's name in the `app_list` of an admin page:
    of those that its ModelAdmin shows to the person.

    Does nothing for people who may not see the report, and where duplicates aren't looked for.
    """
    for app in context.get("app_list") or ():
        for model in app["models"]:
            if app["app_label"] == "cardigan_reco" and model["object_name"] == "DuplicateGroup":
                count = _open_groups(context)
                if count:
                    told = f"{MOST - 1}+" if count == MOST else str(count)
                    model["name"] = format_html(
                        '{} <span class="cardigan-count">({})</span>',
                        model["name"],
                        _("%s open") % told,
                    )
    return ""


@register.inclusion_tag("admin/cardigan_reco/breadcrumbs.html")
def breadcrumbs(opts: Options[Any], *way: object) -> dict[str, Any]:
    """Writes the way to a page below the model's app: url and text of each page, and last its own
    text, as this Django's admin does.
    """
    *before, here = way
    return {
        "opts": opts,
        "before": list(zip(before[::2], before[1::2], strict=True)),
        "here": here,
        "is_list": VERSION >= LISTS_SINCE,
    }


@register.simple_tag
def sort_links(changelist: ChangeList) -> list[dict[str, Any]]:
    """Returns what a page can be sorted by: text, url, is_current and ascending of each.

    The current one's url turns it around; the others start with what a person wants to see first.
    """
    current = changelist.get_ordering_field_columns()
    links = []
    for place, name in enumerate(changelist.list_display):
        if not changelist.get_ordering_field(name):
            continue
        is_current = next(iter(current), None) == place
        ascending = current.get(place) == "asc"
        downwards = ascending if is_current else name not in UPWARDS
        order = f"-{place}" if downwards else str(place)
        links.append(
            {
                "text": label_for_field(name, changelist.model, changelist.model_admin),
                "url": changelist.get_query_string({ORDER_VAR: order}),
                "is_current": is_current,
                "ascending": ascending,
            }
        )
    return links


def _open_groups(context: template.Context) -> int | None:
    """Returns how many the person may see, up to MOST; None where that can't be known."""
    request = context["request"]
    name = getattr(request, "current_app", "admin")
    reports = (site._registry.get(DuplicateGroup) for site in all_sites if site.name == name)
    report = next(filter(None, reports), None)
    try:
        shop = listings.current()
        if shop is None or report is None:
            return None
        groups = report.get_queryset(request).filter(
            collection=shop.collection, state=DuplicateState.OPEN
        )
        with transaction.atomic(using=groups.db):
            return groups.order_by()[:MOST].count()
    except (LookupError, ImportError, ImproperlyConfigured, DatabaseError):
        return None  # The index leads to the pages that say what is wrong.
