"""What the pages of the report have in common: where they lead, what they say, to whom."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from cardigan_reco.admin.readonly import ReadOnlyAdmin
from cardigan_reco.duplicates import listings
from cardigan_reco.duplicates.listings import Listings
from cardigan_reco.models import DuplicateGroup, DuplicateState

from .decisions import Outcome, Person

if TYPE_CHECKING:
    from .cards import Card

MERGEABLE = (DuplicateState.OPEN, DuplicateState.CONFIRMED)
MAX_CONFLICTS = 5
"""Conflicts of a bulk action that are told in full."""
MAX_NOTE = 2000
FOLDER = "admin/cardigan_reco/duplicategroup"


class ReportPages(ReadOnlyAdmin):
    """Groups of the collection in which duplicates are looked for."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        shop, _problem = shop_or_problem()
        groups: QuerySet[Any] = super().get_queryset(request)
        return groups.filter(collection=shop.collection) if shop else groups.none()

    def has_merge_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("cardigan_reco.merge_duplicategroup"))

    def _cards(self, groups: Iterable[DuplicateGroup], shop: Listings) -> list[Card]:
        """Returns what the report shows of each group."""
        from . import contents  # Every process imports the admin, and few show these pages.

        return contents.of(groups, shop, site=self.admin_site.name)

    def _card_context(self, request: HttpRequest, shop: Listings) -> dict[str, Any]:
        """Returns what the templates of cards need beside the cards."""
        from . import cards

        return {
            "may_change": self.has_change_permission(request),
            "may_merge": shop.can_merge and self.has_merge_permission(request),
            "mergeable": MERGEABLE,
            "max_listings": cards.MAX_LISTINGS,
            "max_pairs": cards.MAX_PAIRS,
            "judge_url": self._url("judge"),
            "next": self._next(request) if request.method == "POST" else request.get_full_path(),
        }

    def _page_context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "title": capfirst(title),
            "opts": self.opts,
            "media": self.media,
            "list_url": self._url("changelist"),
            "has_view_permission": True,
        }

    def _tell(self, request: HttpRequest, outcome: Outcome) -> None:
        if outcome.undo:
            message: str = format_html(
                '{} <button type="submit" class="cardigan-undo" form="changelist-form" '
                'formaction="{}" name="verdict" value="{}">{}</button>',
                outcome.message,
                self._url("judge"),
                outcome.undo,
                _("Undo"),
            )
            self.message_user(request, message, messages.SUCCESS)
        elif outcome.message and outcome.replaced:
            self.message_user(request, outcome.message, messages.SUCCESS)
        for conflict in outcome.conflicts[:MAX_CONFLICTS]:
            self.message_user(request, str(conflict), messages.WARNING)
        if (more := len(outcome.conflicts) - MAX_CONFLICTS) > 0:
            message = _("%d more groups have changed meanwhile, and were left alone.") % more
            self.message_user(request, message, messages.WARNING)

    def _tell_note(self, request: HttpRequest, note: str) -> None:
        """Gives back what a person wrote that isn't stored, or not with all that it was for."""
        if note:
            self.message_user(request, f"{_('Your note:')} {note}", messages.WARNING)

    def _gone(self, request: HttpRequest, pk: str) -> HttpResponse:
        message = _("Duplicate listing %s isn’t there any more.") % pk
        self.message_user(request, message, messages.WARNING)
        self._tell_note(request, note_of(request))
        return HttpResponseRedirect(self._url("changelist"))

    def _next(self, request: HttpRequest) -> str:
        """Returns where a page leads on to: back to where the person came from, in this site."""
        given = request.POST.get("next") or request.GET.get("next") or ""
        hosts = {request.get_host()}
        if url_has_allowed_host_and_scheme(given, hosts, require_https=request.is_secure()):
            return given
        return self._url("changelist")

    def _url(self, name: str) -> str:
        return reverse(f"{self.admin_site.name}:{self._name(name)}")

    def _name(self, name: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}"


def person_of(request: HttpRequest) -> Person:
    """Returns who asks."""
    return Person(str(request.user.pk), request.user.get_username())


def shop_or_problem() -> tuple[Listings | None, str]:
    """Returns the shop's listings, or None and what keeps them from being read."""
    try:
        shop = listings.current()
    except (LookupError, ImportError, ImproperlyConfigured) as error:
        return None, str(error)
    if shop is None:
        return None, _(
            "CARDIGAN_RECO['DUPLICATES'] is not set, so no listings are compared. Set it to {} or "
            "to what differs from its defaults, and run find_duplicates."
        )
    return shop, ""


def note_of(request: HttpRequest, name: str = "note") -> str:
    """Returns what a person wrote beside a verdict, without what PostgreSQL refuses in a text."""
    return request.POST.get(name, "").replace("\0", "").strip()[:MAX_NOTE]
