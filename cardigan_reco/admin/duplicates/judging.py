"""The verdicts of the report: by the buttons of a card, and on many groups at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from cardigan_reco.duplicates.listings import Listings
from cardigan_reco.exceptions import Conflict

from . import decisions
from .decisions import MAX_AT_ONCE, Decision, Outcome
from .pages import FOLDER, ReportPages, note_of, person_of, shop_or_problem

if TYPE_CHECKING:
    from .cards import Card


class BulkForm(ActionForm):
    """The choice of a bulk action; without a script, all that match can be chosen as well."""

    select_across = forms.BooleanField(
        label=gettext_lazy("all that match, on every page"), required=False, initial=False
    )


class JudgingPages(ReportPages):
    """Confirms, dismisses and reopens."""

    action_form = BulkForm
    actions = ["confirm_selected", "dismiss_selected", "reopen_selected"]

    def judge_view(self, request: HttpRequest) -> HttpResponse:
        """Does what a button of a card says. Answers with the card as it is then, for the script,
        or by going back to the page.
        """
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_change_permission(request):
            raise PermissionDenied
        shop, problem = shop_or_problem()
        if shop is None:
            return HttpResponseBadRequest(problem, content_type="text/plain; charset=utf-8")
        try:
            decision = Decision.read(request.POST.get("verdict", ""))
            note = note_of(request, f"note-{decision.group}")
            within = self.get_queryset(request)
            outcome = decision.carry_out(person_of(request), note, within=within)
        except Conflict as conflict:
            outcome = Outcome("", [decision.group], [decision.group], conflicts=[conflict])
        except ValueError as error:
            return HttpResponseBadRequest(str(error), content_type="text/plain; charset=utf-8")
        if request.POST.get("fragment"):
            return self._fragment(request, shop, outcome)
        self._tell(request, outcome)
        if outcome.conflicts or decision.verb == "survivor":
            self._tell_note(request, note)
        return HttpResponseRedirect(self._next(request))

    def bulk_view(self, request: HttpRequest) -> HttpResponse:
        """Does what the page of a bulk action has shown."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_change_permission(request):
            raise PermissionDenied
        try:
            verb, groups = request.POST.get("verdict"), request.POST.get("groups", "")
            if verb not in decisions.STATES:
                raise ValueError(f"{verb!r} is no verdict. Choices are: confirm, dismiss, reopen.")
            note = note_of(request)
            chosen = decisions.read_groups(groups)
        except ValueError as error:
            return HttpResponseBadRequest(str(error), content_type="text/plain; charset=utf-8")
        within = self.get_queryset(request)
        outcome = decisions.carry_out_for_all(verb, chosen, person_of(request), note, within=within)
        self._tell(request, outcome)
        if outcome.conflicts:
            self._tell_note(request, note)
        return HttpResponseRedirect(self._next(request))

    @admin.action(description=gettext_lazy("Confirm the selected …"), permissions=["change"])
    def confirm_selected(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        return self._ask(request, chosen, "confirm", _("Confirm these duplicates?"))

    @admin.action(description=gettext_lazy("Dismiss the selected …"), permissions=["change"])
    def dismiss_selected(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        return self._ask(request, chosen, "dismiss", _("Dismiss these as different things?"))

    @admin.action(description=gettext_lazy("Reopen the selected …"), permissions=["change"])
    def reopen_selected(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        return self._ask(request, chosen, "reopen", _("Reopen these?"))

    def _ask(
        self, request: HttpRequest, chosen: QuerySet[Any], verb: str, title: str
    ) -> HttpResponse | None:
        """Returns the page that shows what a bulk action will change."""
        shop, _problem = shop_or_problem()
        groups = list(chosen[: MAX_AT_ONCE + 1])
        if len(groups) > MAX_AT_ONCE or shop is None:
            message = _("More than %d groups are chosen. Narrow the filters, or choose fewer.")
            self.message_user(request, message % MAX_AT_ONCE, messages.ERROR)
            return None
        before = decisions.BEFORE[verb]
        able: list[tuple[Card, int]] = []
        left: list[Card] = []
        for card in self._cards(groups, shop):
            count = sum(one.pair.state in before for one in card.pairs)
            if count:
                able.append((card, count))
            else:
                left.append(card)
        context = {
            **self._page_context(request, title),
            "verb": verb,
            "able": able,
            "left": left,
            "pair_count": sum(count for _card, count in able),
            "becomes": decisions.STATES[verb].label,
            "groups": ",".join(f"{card.group.pk}:{card.group.version}" for card, _count in able),
            "next": request.get_full_path(),
        }
        return TemplateResponse(request, f"{FOLDER}/bulk.html", context)

    def _fragment(self, request: HttpRequest, shop: Listings, outcome: Outcome) -> HttpResponse:
        groups = self.get_queryset(request).filter(pk__in=outcome.groups).order_by("pk")
        is_whole = bool(request.POST.get("whole"))  # On the page of one group.
        context = {
            **self._card_context(request, shop),
            "outcome": outcome,
            "is_whole": is_whole,
            "is_selectable": not is_whole and self.has_change_permission(request),
            "cards": self._cards(groups, shop),
        }
        status = 409 if outcome.conflicts else 200
        return TemplateResponse(request, f"{FOLDER}/answer.html", context, status=status)
