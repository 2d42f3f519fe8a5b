"""path("visual/", include("cardigan_reco.api.urls")): POST search/ and GET <pk>/similar/."""

from django.urls import path

from .views import PhotoSearchView, SimilarView

app_name = "cardigan_reco_api"
urlpatterns = [
    path("search/", PhotoSearchView.as_view(), name="search"),
    path("<pk>/similar/", SimilarView.as_view(), name="similar"),
]
