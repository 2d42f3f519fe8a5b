from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import router, transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.timesince import timesince
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from cardigan_reco import collection, doorbell, overview, queue
from cardigan_reco.models import EncodingRequest

from .readonly import ReadOnlyAdmin


@admin.register(EncodingRequest)
class EncodingRequestAdmin(ReadOnlyAdmin):
    """The queue: what waits, what is being encoded, what was given up and why."""

    list_display = ["source", "state", "age", "attempts", "available_at", "short_error"]
    list_filter = ["state", "collection"]
    search_fields = ["=source_pk", "error"]
    ordering = ["-requested_at"]
    list_per_page = 50
    show_full_result_count = False
    actions = ["try_again"]
    change_list_template = "admin/cardigan_reco/encodingrequest/change_list.html"

    @admin.display(description=_("source"), ordering="source_pk")
    def source(self, request: EncodingRequest) -> str:
        return str(request)

    @admin.display(description=_("age"), ordering="requested_at")
    def age(self, request: EncodingRequest) -> str:
        return timesince(request.requested_at, timezone.now(), depth=1)

    @admin.display(description=_("last error"))
    def short_error(self, request: EncodingRequest) -> str:
        return Truncator(request.error).chars(120)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        using = router.db_for_read(EncodingRequest)
        rows = [overview.of(model, using=using) for model in collection.models()]
        return super().changelist_view(request, {"overview": rows, **(extra_context or {})})

    @admin.action(description=_("Try the selected again"), permissions=["change"])
    def try_again(self, request: HttpRequest, chosen: QuerySet[EncodingRequest]) -> None:
        using = router.db_for_write(EncodingRequest)
        with transaction.atomic(using=using):
            given_up = chosen.using(using).filter(state__in=list(queue.Failure))
            retried = list(given_up.select_for_update())
            queue.retry(given_up)
            LogEntry.objects.log_actions(
                request.user.pk, retried, CHANGE, "Sent back to be encoded."
            )
        doorbell.ring(using)
        message = ngettext(
            "%d picture waits to be encoded again.",
            "%d pictures wait to be encoded again.",
            len(retried),
        )
        self.message_user(request, message % len(retried), messages.SUCCESS)
