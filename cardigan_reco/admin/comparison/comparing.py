"""The pages on which two encoders are compared and voted on."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, router
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from cardigan_reco import comparison
from cardigan_reco.admin.readonly import ReadOnlyAdmin
from cardigan_reco.comparison import Answer
from cardigan_reco.models import ComparisonVote

from .selection import Selection, categories

FOLDER = "admin/cardigan_reco/comparisonvote"
SHELF = 8
"""Items on a shelf, as `{% similar_products %}` shows by default."""


class ComparingPages(ReadOnlyAdmin):
    """An item's two shelves, and what becomes of a vote on them."""

    def has_vote_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("cardigan_reco.vote_comparisonvote"))

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        """Shows an item's two shelves: the one that the address names, or the next to vote on."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context: dict[str, Any] = {
            **self._context(request, _("Compare encoders")),
            "may_vote": self.has_vote_permission(request),
        }
        try:
            selection = Selection.read(request.GET)
        except (LookupError, ValueError) as error:
            context["problem"] = error.args[0]
            selection = None
        if selection is not None:
            try:
                context |= self._comparison(request, selection)
            except OperationalError as error:
                context["problem"] = _("The search failed: %s") % error
        return TemplateResponse(request, f"{FOLDER}/compare.html", context)

    def _comparison(self, request: HttpRequest, selection: Selection) -> dict[str, Any]:
        from . import page

        items = selection.items(request, self.admin_site)
        voter = request.user.get_username()
        context: dict[str, Any] = {
            "selection": selection,
            "choices": [
                model._meta.label for model in comparison.tables_of(selection.tables.items)
            ],
            "categories": categories(selection.tables),
            "is_filtered": bool(selection.words or selection.category),
        }
        item = first = items.first()
        if text := request.GET.get("item"):
            item = selection.item(text)
            if item is None:
                return {**context, "problem": _("Item %s isn’t there any more.") % text}
        if item is None:
            return context
        found = comparison.compare(item, selection.tables, limit=SHELF)
        if selection.only_unvoted and found.versions:
            items = comparison.unvoted(items, found.versions, voter)
            if item is first and not text:
                item = items.first()
                if item is None:
                    return {**context, "is_done": True}
                if item != first:
                    found = comparison.compare(item, selection.tables, limit=SHELF)
        following = comparison.following(items, item)
        versions = found.versions
        return {
            **context,
            "page": page.of(
                found,
                selection,
                voter=voter,
                own=comparison.answer_of(item, versions, voter=voter) if versions else None,
            ),
            "skip": selection.address(following) if following else "",
            "tally": comparison.tally(item._meta.label_lower, versions) if versions else None,
        }

    def vote_view(self, request: HttpRequest) -> HttpResponse:
        """Stores a vote, and leads to the next item."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_vote_permission(request):
            raise PermissionDenied
        try:
            selection = Selection.read(request.POST)
        except (LookupError, ValueError) as error:
            selection = None
            self.message_user(request, str(error.args[0]), messages.ERROR)
        if selection is None:
            return HttpResponseRedirect(self._url("changelist"))
        item = selection.item(request.POST.get("item", ""))
        if item is None:
            text = _("The item isn’t there any more; nothing was stored.")
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(self._url("changelist") + selection.address())
        seen = (request.POST.get("old_version", ""), request.POST.get("new_version", ""))
        if comparison.versions(item, selection.tables) != seen:
            text = _("An encoder has changed since the page was shown; nothing was stored.")
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(self._url("changelist") + selection.address(item))
        voter = request.user.get_username()
        answer = _answer(request.POST.get("vote", ""), selection, item, seen, voter)
        if answer is None:
            return HttpResponseRedirect(self._url("changelist") + selection.address(item))
        comparison.cast(
            item,
            seen,
            answer,
            voter=voter,
            is_blind=selection.is_blind,
            using=router.db_for_write(ComparisonVote),
        )
        items = selection.items(request, self.admin_site)
        if selection.only_unvoted:
            items = comparison.unvoted(items, seen, voter)
        following = comparison.following(items, item)
        return HttpResponseRedirect(self._url("changelist") + selection.address(following))

    def _context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "is_nav_sidebar_enabled": False,  # The shelves need the width.
            "title": title,
            "opts": self.opts,
            "media": self.media,
            "page_url": self._url("changelist"),
            "vote_url": self._url("vote"),
            "votes_url": self._url("votes"),
            "has_view_permission": True,
        }

    def _url(self, name: str) -> str:
        return reverse(f"{self.admin_site.name}:{self._name(name)}")

    def _name(self, name: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}"


def _answer(
    given: str, selection: Selection, item: Any, versions: tuple[str, str], voter: str
) -> Answer | None:
    """Returns what a button says; None: it is none of the page's."""
    if given in (Answer.BOTH, Answer.NEITHER):
        return Answer(given)
    if given not in ("left", "right"):
        return None
    from . import page

    turned = page.is_turned(item, versions, selection, voter=voter)
    return Answer.NEW if (given == "left") == turned else Answer.OLD
