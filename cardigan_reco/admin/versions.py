from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Case, Count, IntegerField, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from cardigan_reco import collection
from cardigan_reco.encoders import encoders
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.models import EncoderVersion

from .readonly import ReadOnlyAdmin


@admin.register(EncoderVersion)
class EncoderVersionAdmin(ReadOnlyAdmin):
    """Which state of which encoder made the vectors that are stored."""

    list_display = ["__str__", "in_use", "embeddings", "dimensions", "created_at", "backend"]
    list_filter = ["encoder"]
    ordering = ["-created_at"]
    readonly_fields = ["in_use", "embeddings"]
    fields = [
        "encoder",
        "in_use",
        "embeddings",
        "dimensions",
        "backend",
        "fingerprint",
        "created_at",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[EncoderVersion]:
        counts = [_count(model) for model in collection.models()]
        versions: QuerySet[EncoderVersion] = super().get_queryset(request)
        return versions.annotate(
            embedding_count=sum(counts, start=Value(0)),
            is_in_use=Case(When(pk__in=_newest(), then=True), default=False),
        )

    @admin.display(description=_("in use now"), boolean=True)
    def in_use(self, version: Any) -> bool:
        return bool(version.is_in_use)

    @admin.display(description=_("embeddings"))
    def embeddings(self, version: Any) -> int:
        return int(version.embedding_count)


def _count(model: type[Any]) -> Coalesce:
    """Returns the number of the model's rows that are of a version, as part of one query."""
    rows = model._base_manager.filter(encoder_version=OuterRef("pk")).order_by()
    count = rows.values("encoder_version").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(count, output_field=IntegerField()), 0)


def _newest() -> list[int]:
    """Returns the versions that the aliases name now; an encoder that is broken has none."""
    found = []
    for alias in encoders.aliases():
        try:
            version = EncoderVersion.objects.newest(alias)
        except (CardiganError, ImproperlyConfigured):
            continue
        if version is not None:
            found.append(version.pk)
    return found
