from __future__ import annotations

from django.contrib import admin

from cardigan_reco import collection
from cardigan_reco.models import EncoderVersion

from .readonly import ReadOnlyAdmin


@admin.register(EncoderVersion)
class EncoderVersionAdmin(ReadOnlyAdmin):
    """Which state of which encoder made the vectors that are stored."""

    list_display = ["__str__", "backend", "dimensions", "created_at", "embeddings"]
    list_filter = ["encoder"]
    ordering = ["-created_at"]
    readonly_fields = ["embeddings"]

    @admin.display(description="embeddings")
    def embeddings(self, version: EncoderVersion) -> int:
        return sum(
            model._base_manager.filter(encoder_version=version).count()
            for model in collection.models()
        )
