"""A shop's addresses: the endpoints as they come, and views of its own."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.urls import include, path
from rest_framework import serializers
from rest_framework.authentication import BasicAuthentication
from rest_framework.filters import BaseFilterBackend
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import IsAuthenticated

from cardigan_reco.api.views import PhotoSearchView, SimilarView
from tests.testapp.catalogue.models import Product

FILTERS = {
    "shelf": "shelf",
    "max_shelf": "shelf__lte",
    "title": "title__icontains",
    "caption": "images__caption",
}


class ProductSerializer(serializers.ModelSerializer[Product]):
    class Meta:
        model = Product
        fields = ["id", "title", "shelf"]


def parents(request: Any) -> QuerySet[Product]:
    """Returns what this client may choose; a FilterSet calls it once a request."""
    is_staff = request is not None and "staff" in request.headers
    return Product.objects.all() if is_staff else Product.objects.none()


class ProductFilterSet(django_filters.FilterSet):
    shelf = django_filters.RangeFilter()
    parent = django_filters.ModelChoiceFilter(queryset=parents)

    class Meta:
        model = Product
        fields = ["title"]


class ShopSearch(PhotoSearchView):
    serializer_class = ProductSerializer
    filters = FILTERS
    other_parameters = frozenset({"utm_source"})


class ShopSimilar(SimilarView):
    queryset = Product.objects.filter(is_public=True)
    serializer_class = ProductSerializer
    filters = FILTERS


class FilterSetSearch(PhotoSearchView):
    filterset_class = ProductFilterSet


class StaffSearch(PhotoSearchView):
    permission_classes = [IsAuthenticated]


class BasicSearch(StaffSearch):
    authentication_classes = [BasicAuthentication]


class TenantBackend(BaseFilterBackend):
    """The shelf of the client's own tenant."""

    def filter_queryset(self, request: Any, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        return queryset.filter(shelf=request.headers["tenant"])


class TenantSearch(PhotoSearchView):
    filter_backends = [TenantBackend]


class TenantSimilar(SimilarView):
    filter_backends = [TenantBackend]


class TitledSimilar(SimilarView):
    queryset = Product.objects.filter(is_public=True)
    lookup_field = "title"


class Pages(PageNumberPagination):
    page_size = 1


class OwnSimilar(SimilarView):
    """Thumbnails, variants that the queryset lacks, and a pagination that stays without effect."""

    queryset = Product.objects.filter(is_public=True, parent=None)
    pagination_class = Pages

    def picture_url(self, item: Any) -> str:
        return f"/thumbnails/{item.matched_source.pk}.webp"

    def get_object(self) -> Product:
        return get_object_or_404(Product, title=self.kwargs["title"])


class UnlimitedSearch(PhotoSearchView):
    throttle_classes: list[Any] = []
    filters = FILTERS


class UnlimitedSimilar(SimilarView):
    throttle_classes: list[Any] = []
    filters = FILTERS


urlpatterns = [
    path("visual/", include("cardigan_reco.api.urls")),
    path("shop/search/", ShopSearch.as_view()),
    path("shop/<pk>/similar/", ShopSimilar.as_view()),
    path("filterset/search/", FilterSetSearch.as_view()),
    path("basic/search/", BasicSearch.as_view()),
    path("tenant/search/", TenantSearch.as_view()),
    path("tenant/<int:pk>/similar/", TenantSimilar.as_view()),
    path("titled/<title>/similar/", TitledSimilar.as_view()),
    path("slugs/<slug:slug>/similar/", TitledSimilar.as_view(lookup_url_kwarg="slug")),
    path("own/<title>/similar/", OwnSimilar.as_view()),
    path("uuids/<uuid:pk>/similar/", SimilarView.as_view()),
    path("staff/search/", StaffSearch.as_view()),
    path("posters/search/", PhotoSearchView.as_view(collection="posters")),
    path("posters/<pk>/similar/", SimilarView.as_view(collection="posters")),
    path("unlimited/search/", UnlimitedSearch.as_view()),
    path("unlimited/<pk>/similar/", UnlimitedSimilar.as_view()),
]
