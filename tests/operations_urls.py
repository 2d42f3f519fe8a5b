"""The pages for load balancers and monitors, beside one that answers with a shelf and one that
fails.
"""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from cardigan_reco import recommendations
from cardigan_reco.metrics import MetricsView
from cardigan_reco.views import PhotoSearchView
from tests.testapp.catalogue.models import Product


def shelf(request: HttpRequest, pk: int) -> HttpResponse:
    found = recommendations.similar_to(Product.objects.get(pk=pk))
    logging.getLogger("shop").info("A shelf of %d", len(found))
    return HttpResponse(" ".join(str(item.pk) for item in found))


urlpatterns = [
    path("visual/health/", include("cardigan_reco.health")),
    path("visual/", include("cardigan_reco.api.urls")),
    path("photo/", PhotoSearchView.as_view(), name="photo-search"),
    path("metrics/", MetricsView.as_view()),
    path("guarded/", MetricsView.as_view(token="let me in")),
    path("shelf/<int:pk>/", shelf),
]
