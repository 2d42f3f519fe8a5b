from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.forms import Script
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from cardigan_reco import comparison
from cardigan_reco.models import ComparisonVote

from . import export
from .compared import ComparedItems, name_of
from .comparing import FOLDER, ComparingPages
from .filters import EncodersFilter

Choice = ComparisonVote.Choice


@admin.register(ComparisonVote)
class ComparisonVoteAdmin(ComparingPages):
    """Two encoders side by side, to be voted on; the votes, and what they say together."""

    class Media:
        css = {"all": ["cardigan_reco/comparison.css"]}
        js = [Script("cardigan_reco/comparison.js", defer=True)]

    list_display = ["item", "vote", "is_blind", "voter", "voted_at"]
    list_display_links = None
    list_filter = [EncodersFilter, "is_blind", "voter", "voted_at"]
    list_per_page = 100
    list_max_show_all = 100
    show_full_result_count = False
    ordering = ["-voted_at", "-pk"]
    actions = None
    fields = ["item", "first", "second", "vote", "is_blind", "voter", "voted_at"]
    readonly_fields = ["item", "vote"]
    change_list_template = f"{FOLDER}/change_list.html"

    def get_urls(self) -> list[URLPattern]:
        views: list[tuple[str, str, Callable[..., HttpResponseBase]]] = [
            # What the admin's index leads to; the votes themselves are a page of their own.
            ("changelist", "", self.compare_view),
            ("vote", "vote/", self.vote_view),
            ("votes", "votes/", self.changelist_view),
            ("export", "export/", self.export_view),
        ]
        own = [
            path(route, self.admin_site.admin_view(view), name=self._name(name))
            for name, route, view in views
        ]
        return [*own, *super().get_urls()]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ComparedItems]:
        return ComparedItems

    @admin.display(description=gettext_lazy("item"))
    def item(self, vote: ComparisonVote) -> str:
        return name_of(vote)

    @admin.display(description=gettext_lazy("vote"), ordering="choice")
    def vote(self, vote: ComparisonVote) -> str:
        told = {
            Choice.FIRST: _("%(first)s rather than %(second)s"),
            Choice.SECOND: _("%(second)s rather than %(first)s"),
            Choice.BOTH: _("%(first)s and %(second)s are equally good"),
            Choice.NEITHER: _("neither %(first)s nor %(second)s"),
        }[Choice(vote.choice)]
        return told % {
            "first": comparison.short(vote.first),
            "second": comparison.short(vote.second),
        }

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Shows the votes one by one, below what they say of each two encoders."""
        context = {
            "title": _("Votes on encoders"),
            "tallies": comparison.tallies() if self.has_view_permission(request) else [],
            "compare_url": self._url("changelist"),
            "export_url": self._url("export"),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def export_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """Streams the votes that the list shows with its filters, all pages of it, as CSV."""
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            votes = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{self._url('votes')}?{ERROR_FLAG}=1")
        disposition = {"Content-Disposition": 'attachment; filename="encoder-votes.csv"'}
        return StreamingHttpResponse(
            export.stream(votes),
            content_type="text/csv; charset=utf-8",
            headers=disposition,
        )
