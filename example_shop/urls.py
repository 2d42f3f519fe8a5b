from django.contrib import admin
from django.contrib.staticfiles.views import serve as serve_static
from django.urls import path

from . import views
from .photo_search import PhotoSearch

urlpatterns = [
    path("", views.home, name="home"),
    path("products/", views.product_list, name="products"),
    path("category/<slug:slug>/", views.product_list, name="category"),
    path("product/<slug:slug>/", views.product_page, name="product"),
    path("look-alikes/<int:pk>/", views.look_alikes, name="look-alikes"),
    path("photo/", PhotoSearch.as_view(), name="photo-search"),
    path("photo/<path:file>", views.street_photo, name="street-photo"),
    path("admin/", admin.site.urls),
    # A demo has no web server in front of it; a real shop serves these without Django.
    path("favicon.ico", serve_static, {"insecure": True, "path": "shop/icon.svg"}),
    path("static/<path:path>", serve_static, {"insecure": True}),
    path("media/<path:path>", views.picture),
]
