"""The page that merges the listings of a group, where the shop says how."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import Error, router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from cardigan_reco.duplicates import merging
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.models import DuplicateGroup

from . import decisions
from .pages import FOLDER, MERGEABLE, ReportPages, note_of, person_of, shop_or_problem

if TYPE_CHECKING:
    from .cards import Card

logger = logging.getLogger(__name__)


class MergingPages(ReportPages):
    """Merges, after asking."""

    def merge_view(self, request: HttpRequest, group_pk: int) -> HttpResponse:
        """Shows which listing stays and which go, and merges them when that is confirmed."""
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "POST"])
        if not self.has_merge_permission(request) or not self.has_view_permission(request):
            raise PermissionDenied
        shop, _problem = shop_or_problem()
        group = self.get_object(request, str(group_pk))
        if group is None or shop is None:
            return self._gone(request, str(group_pk))
        if not shop.can_merge:
            message = _("The shop doesn’t say how listings are merged: Listings.merge_listings().")
            self.message_user(request, message, messages.WARNING)
            return HttpResponseRedirect(self._url("changelist"))
        (card,) = self._cards([group], shop)
        if request.method == "POST":
            return self._merge(request, card)
        chosen = request.GET.get("survivor", group.survivor_pk)
        survivor = next(
            (one for one in card.listings if one.pk == chosen and not one.is_gone), None
        )
        context = {
            **self._page_context(request, _("Merge listings")),
            "group": group,
            "card": card,
            "survivor": survivor,
            "goes": [listing for listing in card.listings if listing is not survivor],
            "is_mergeable": group.state in MERGEABLE,
            "next": self._next(request),
        }
        return TemplateResponse(request, f"{FOLDER}/merge.html", context)

    def _merge(self, request: HttpRequest, card: Card) -> HttpResponse:
        person, survivor = person_of(request), request.POST.get("survivor", "")
        gone = ", ".join(listing.pk for listing in card.listings if listing.pk != survivor)
        using = router.db_for_write(DuplicateGroup)
        try:
            version = decisions.number(request.POST.get("version", ""))
            with transaction.atomic(using=using):
                merging.merge(
                    card.group.pk,
                    survivor_pk=survivor,
                    version=version,
                    reviewer=person.name,
                    note=note_of(request),
                    using=using,
                )
                logged = _("Merged listings %(gone)s into %(survivor)s.")
                said = logged % {"gone": gone, "survivor": survivor}
                decisions.log([card.group.pk], person, said, using=using)
        except (CardiganError, ValidationError, ValueError) as error:
            told = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
            return self._refuse(request, card, told)
        except Error as error:
            extra = {"group": card.group.pk, "database": using}
            logger.exception("Group %d could not be merged", card.group.pk, extra=extra)
            # Of a ProtectedError, str() would show all that it protects.
            told = _("The shop’s merge failed: %s") % str(*error.args[:1]).strip()
            return self._refuse(request, card, told)
        self.message_user(request, _("The listings are merged."), messages.SUCCESS)
        return HttpResponseRedirect(self._next(request))

    def _refuse(self, request: HttpRequest, card: Card, told: str) -> HttpResponse:
        self.message_user(request, told, messages.ERROR)
        self._tell_note(request, note_of(request))
        return HttpResponseRedirect(card.url)
