from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db import router
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from cardigan_reco import doorbell, queue, recommendations
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
    list_select_related = ["source", "encoder_version"]
    show_full_result_count = False
    ordering = ["-encoded_at"]
    readonly_fields = ["large_picture", "neighbours"]
    fields = ["large_picture", "source", "encoder_version", "encoded_at", "digest", "neighbours"]
    actions = ["encode_again"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("vector")

    @admin.display(description=_("picture"))
    def picture(self, embedding: Embedding) -> SafeString:
        return thumbnail(type(embedding), embedding.source, 64)

    @admin.display(description=_("picture"))
    def large_picture(self, embedding: Embedding) -> SafeString:
        return thumbnail(type(embedding), embedding.source, 240)

    @admin.display(description=_("nearest neighbours"))
    def neighbours(self, embedding: Embedding) -> SafeString:
        items = recommendations.similar_to_picture(embedding, limit=self.neighbour_count)
        if not items:
            return format_html("{}", _("None that may be shown."))
        figures = format_html_join(
            "",
            '<figure style="display:inline-block;width:120px;margin:0 12px 12px 0;'
            'vertical-align:top">{}<figcaption>{}<br>{}</figcaption></figure>',
            (
                (
                    thumbnail(type(embedding), item.matched_source, 120),
                    admin_link(item),
                    f"{item.similarity:.3f}",
                )
                for item in items
            ),
        )
        return format_html("<div>{}</div>", figures)

    @admin.action(description=_("Encode the selected again"), permissions=["change"])
    def encode_again(self, request: HttpRequest, chosen: QuerySet[Any]) -> None:
        using = router.db_for_write(self.model)
        keys = list(chosen.values_list("pk", flat=True))
        queue.mark(self.model, keys, using=using)
        doorbell.ring(using)
        message = ngettext(
            "%d picture is looked at again; one that hasn't changed keeps its vector.",
            "%d pictures are looked at again; those that haven't changed keep their vectors.",
            len(keys),
        )
        self.message_user(request, message % len(keys), messages.SUCCESS)
