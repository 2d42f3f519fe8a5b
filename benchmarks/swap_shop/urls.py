"""A shelf, both shelves of a product, and a person who replaces a product's picture."""

from __future__ import annotations

from django.conf import settings
from django.core.files.base import ContentFile
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import path

from cardigan_reco import comparison, conf, recommendations
from tests.testapp.catalogue.models import Product, ProductImage


def shelf(request: HttpRequest, pk: int) -> JsonResponse:
    items = recommendations.similar_to(get_object_or_404(Product, pk=pk), limit=8)
    found = [[item.matched_source.pk, item.similarity] for item in items]
    return JsonResponse({"serving": conf.current().collections["similar"], "found": found})


def save(request: HttpRequest, pk: int) -> HttpResponse:
    image = ProductImage.objects.get(product=pk)
    image.original = ContentFile(request.body, name=f"{pk}.jpg")
    image.save()
    return HttpResponse(image.original.name)


def compare(request: HttpRequest, pk: int) -> JsonResponse:
    tables = comparison.chosen(settings.OLD, settings.NEW)
    found = comparison.compare(get_object_or_404(Product, pk=pk), tables)
    return JsonResponse({"common": len(found.common), "versions": found.versions})


urlpatterns = [
    path("shelf/<int:pk>/", shelf),
    path("save/<int:pk>/", save),
    path("compare/<int:pk>/", compare),
]
