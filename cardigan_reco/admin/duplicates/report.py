from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.forms import Script
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _

from cardigan_reco import conf
from cardigan_reco.models import DuplicateGroup

from .filters import CategoryFilter, KindFilter, ProbabilityFilter, StateFilter
from .judging import JudgingPages
from .merging import MergingPages
from .pages import FOLDER, shop_or_problem


@admin.register(DuplicateGroup)
class DuplicateGroupAdmin(JudgingPages, MergingPages):
    """The report of duplicate listings: groups to be judged, with the pictures side by side."""

    class Media:
        css = {"all": ["cardigan_reco/duplicates.css"]}
        js = [Script("cardigan_reco/duplicates.js", defer=True)]

    # What the report can be sorted by.
    list_display = ["probability", "listings", "kind", "category", "found_at", "changed_at"]
    list_filter = [StateFilter, KindFilter, CategoryFilter, ProbabilityFilter]
    list_per_page = 20
    list_max_show_all = 20
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    ordering = ["-probability", "pk"]
    change_list_template = f"{FOLDER}/change_list.html"

    def __init__(self, model: type[Model], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        if admin_site.index_template is None:
            # With the number of open groups; a site's own page can use its tag as well.
            admin_site.index_template = "admin/cardigan_reco/index.html"

    def get_urls(self) -> list[URLPattern]:
        views: list[tuple[str, str, Callable[..., HttpResponseBase]]] = [
            ("judge", "judge/", self.judge_view),
            ("bulk", "bulk/", self.bulk_view),
            ("export", "export/", self.export_view),
            ("thresholds", "thresholds/", self.thresholds_view),
            ("merge", "<int:group_pk>/merge/", self.merge_view),
        ]
        own = [
            path(route, self.admin_site.admin_view(view), name=self._name(name))
            for name, route, view in views
        ]
        return [*own, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        shop, problem = shop_or_problem()
        response = super().changelist_view(request, {"problem": problem, **(extra_context or {})})
        if isinstance(response, TemplateResponse) and response.context_data:
            context = response.context_data
            if "cl" in context and shop is not None:
                page = context["cl"]
                is_last = not page.multi_page or page.page_num >= page.paginator.num_pages
                context |= {
                    **self._card_context(request, shop),
                    "cards": self._cards(page.result_list, shop),
                    "is_filtered": page.has_active_filters,
                    "next_page": "" if is_last else page.get_query_string({"p": page.page_num + 1}),
                }
        return response

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Shows one group: what the admin's log and a verdict's message lead to."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        shop, _problem = shop_or_problem()
        group = self.get_object(request, object_id)
        if group is None or shop is None:
            return self._gone(request, object_id)
        context = {
            **self._page_context(request, str(group)),
            **self._card_context(request, shop),
            "group": group,
            "is_whole": True,
            "cards": self._cards([group], shop),
            **(extra_context or {}),
        }
        return TemplateResponse(request, f"{FOLDER}/group.html", context)

    def export_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """Streams what the report shows with the current filters, all of its pages, as CSV."""
        from . import export

        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET"])
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        shop, _problem = shop_or_problem()
        if shop is None:
            return HttpResponseRedirect(self._url("changelist"))
        try:
            groups = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{self._url('changelist')}?{ERROR_FLAG}=1")
        lines = export.stream(groups, shop, request, site=self.admin_site.name)
        disposition = {"Content-Disposition": 'attachment; filename="duplicate-listings.csv"'}
        return StreamingHttpResponse(
            lines, content_type="text/csv; charset=utf-8", headers=disposition
        )

    def thresholds_view(self, request: HttpRequest) -> HttpResponse:
        """Shows how often people confirmed what lies above each threshold."""
        from cardigan_reco.duplicates import thresholds

        from . import chart

        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        shop, problem = shop_or_problem()
        settings = conf.current().duplicate_listings
        rows, drawn = [], None
        if shop is not None and settings is not None:
            groups = self.get_queryset(request)
            rows = thresholds.table(shop.collection, groups.db, within=groups)
            drawn = chart.draw(rows, settings.min_probability)
        context = {
            **self._page_context(request, _("Which threshold to report from")),
            "problem": problem,
            "rows": rows,
            "chart": drawn,
            "min_probability": settings.min_probability if settings else None,
            "judged": rows[0].confirmed + rows[0].dismissed if rows else 0,
        }
        return TemplateResponse(request, f"{FOLDER}/thresholds.html", context)
