from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DatabaseError, router, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator, capfirst
from django.utils.timesince import timesince
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from cardigan_reco import collection, conf, doorbell, overview, queue
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.models import Embedding, EncodingRequest

from .pictures import NOTHING, admin_link, thumbnail
from .readonly import ReadOnlyAdmin


@admin.register(EncodingRequest)
class EncodingRequestAdmin(ReadOnlyAdmin):
    """The queue: what waits, what is being encoded, what was given up and why."""

    list_display = ["subject", "state_name", "age", "tries", "short_error"]
    list_filter = ["state", "collection"]
    search_fields = ["=source_pk", "error"]
    search_help_text = _("The source's primary key, or words of the error")
    ordering = ["-requested_at"]
    list_per_page = 50
    show_full_result_count = False
    readonly_fields = ["picture", "source", "state_name", "age", "tries", "full_error"]
    fieldsets = [
        (None, {"fields": ["picture", "source", "state_name", "full_error"]}),
        (
            _("Progress"),
            {
                "fields": [
                    "tries",
                    "requested_at",
                    "age",
                    "available_at",
                    "lease_expires_at",
                    "version",
                ]
            },
        ),
    ]
    actions = ["try_again"]
    change_list_template = "admin/cardigan_reco/encodingrequest/change_list.html"

    @admin.display(description=_("source"), ordering="source_pk")
    def subject(self, request: EncodingRequest) -> str:
        try:
            model = collection.labelled(request.collection).source_model()
        except LookupError:
            return str(request)
        return f"{capfirst(model._meta.verbose_name)} {request.source_pk}"

    @admin.display(description=_("state"), ordering="state")
    def state_name(self, request: EncodingRequest) -> str:
        name = request.get_state_display()
        if request.state in list(queue.Failure):
            return format_html('<span class="cardigan-given-up">{}</span>', name)
        return name

    @admin.display(description=_("age"), ordering="requested_at")
    def age(self, request: EncodingRequest) -> str:
        return timesince(request.requested_at, timezone.now(), depth=1)

    @admin.display(description=_("attempts"), ordering="attempts")
    def tries(self, request: EncodingRequest) -> str:
        return f"{request.attempts} / {conf.current().max_attempts}"

    @admin.display(description=_("last error"))
    def short_error(self, request: EncodingRequest) -> str:
        return Truncator(request.error).chars(120)

    @admin.display(description=_("last error"))
    def full_error(self, request: EncodingRequest) -> str:
        if not request.error:
            return NOTHING
        return format_html('<div class="cardigan-error">{}</div>', request.error)

    @admin.display(description=_("picture"))
    def picture(self, request: EncodingRequest) -> str:
        found = _find(request)
        return thumbnail(*found, 240) if found else NOTHING

    @admin.display(description=_("source"))
    def source(self, request: EncodingRequest) -> str:
        found = _find(request)
        return admin_link(found[1]) if found else _gone(request)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        rows = [_overview(model) for model in collection.models()]
        return super().changelist_view(request, {"overview": rows, **(extra_context or {})})

    @admin.action(description=_("Try the selected again"), permissions=["change"])
    def try_again(self, request: HttpRequest, chosen: QuerySet[EncodingRequest]) -> None:
        using = router.db_for_write(EncodingRequest)
        with transaction.atomic(using=using):
            given_up = chosen.using(using).filter(state__in=list(queue.Failure))
            retried = list(given_up.select_for_update())
            queue.retry(given_up)
            LogEntry.objects.log_actions(
                str(request.user.pk), retried, CHANGE, gettext("Sent back to be encoded.")
            )
            transaction.on_commit(partial(doorbell.ring, using), using=using, robust=True)
        if not retried:
            nothing = _("Nothing to do: none of the selected was given up.")
            self.message_user(request, nothing, messages.WARNING)
            return
        message = ngettext(
            "%d picture waits to be encoded again.",
            "%d pictures wait to be encoded again.",
            len(retried),
        )
        self.message_user(request, message % len(retried), messages.SUCCESS)


def _find(request: EncodingRequest) -> tuple[type[Embedding], Model] | None:
    """Returns the request's embedding model and its source, if both are still there."""
    try:
        embedding = collection.labelled(request.collection)
        sources = embedding.source_model()._base_manager.using(request._state.db)
        source = sources.filter(pk=request.source_pk).first()
    except (LookupError, ValidationError, ValueError):  # No such model, no such kind of key.
        return None
    return (embedding, source) if source else None


def _gone(request: EncodingRequest) -> SafeString:
    return format_html("{} ({})", request.source_pk, _("no longer there"))


def _overview(embedding: type[Embedding]) -> overview.Overview | dict[str, str]:
    """Returns the counts, or what keeps them from being known: this page is where one looks."""
    using = router.db_for_read(EncodingRequest)
    try:
        with transaction.atomic(using=using):
            return overview.of(embedding, using=using)
    except (CardiganError, ImproperlyConfigured, DatabaseError) as error:
        return {"collection": embedding._meta.label, "problem": str(error)}
