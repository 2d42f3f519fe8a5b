from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import OperationalError, router, transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import floatformat
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from cardigan_reco import doorbell, queue
from cardigan_reco.models import Embedding

from .pictures import admin_link, thumbnail
from .readonly import ReadOnlyAdmin


class EmbeddingAdmin(ReadOnlyAdmin):
    """A shop's embeddings, each with its picture and its nearest neighbours.

    admin.site.register(ProductImageEmbedding, EmbeddingAdmin)
    """

    neighbour_count = 12

    list_display = ["picture", "source", "encoder_version", "encoded_at"]
    list_display_links = ["picture", "source"]
    list_filter = ["encoder_version"]
    list_per_page = 50
    show_full_result_count = False
    ordering = ["-encoded_at"]
    readonly_fields = ["large_picture", "neighbours"]
    fields = ["large_picture", "source", "encoder_version", "encoded_at", "digest", "neighbours"]
    actions = ["encode_again"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("vector")

    def get_list_select_related(self, request: HttpRequest) -> list[str]:
        # With the item, since the name of a picture is often that of its product.
        keys = self.model.picture_keys()
        source = f"source__{keys}" if keys else "source"
        return [source, self.model.item_path(), "encoder_version"]

    @admin.display(description=_("picture"))
    def picture(self, embedding: Embedding) -> SafeString:
        return thumbnail(type(embedding), _source(embedding), 64)

    @admin.display(description=_("picture"))
    def large_picture(self, embedding: Embedding) -> SafeString:
        return thumbnail(type(embedding), _source(embedding), 240)

    @admin.display(description=_("nearest neighbours"))
    def neighbours(self, embedding: Embedding) -> SafeString:
        from cardigan_reco import recommendations  # Every process imports the admin; few search.

        try:
            items = recommendations.similar_to_picture(embedding, limit=self.neighbour_count)
        except OperationalError as error:
            return format_html("{}", _("The search failed: %s") % error)
        if not items:
            return format_html("{}", _("None that may be shown."))
        entries = format_html_join(
            "",
            '<div>{}<br>{}<span class="cardigan-similarity">{}</span></div>',
            (
                (
                    thumbnail(type(embedding), item.matched_source, 120, name=item),
                    admin_link(item),
                    floatformat(item.similarity, 3),
                )
                for item in items
            ),
        )
        return format_html('<div class="cardigan-neighbours">{}</div>', entries)

    @admin.action(description=_("Encode the selected again"), permissions=["change"])
    def encode_again(self, request: HttpRequest, chosen: QuerySet[Any]) -> None:
        using = router.db_for_write(self.model)
        rows = list(chosen)
        with transaction.atomic(using=using):
            queue.mark(self.model, [row.pk for row in rows], using=using)
            LogEntry.objects.log_actions(
                str(request.user.pk), rows, CHANGE, gettext("Marked to be encoded again.")
            )
            transaction.on_commit(partial(doorbell.ring, using), using=using, robust=True)
        message = ngettext(
            "%d picture is looked at again; one that hasn't changed keeps its vector.",
            "%d pictures are looked at again; those that haven't changed keep their vectors.",
            len(rows),
        )
        self.message_user(request, message % len(rows), messages.SUCCESS)


def _source(embedding: Embedding) -> Model:
    source: Model = embedding.source
    return source
