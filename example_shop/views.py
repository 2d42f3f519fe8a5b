"""The shop's pages."""

from __future__ import annotations

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Count, Prefetch, Q
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.static import serve

from .models import Category, Product, ProductImage

PRODUCTS_A_PAGE = 24


def product_list(request: HttpRequest, slug: str | None = None) -> HttpResponse:
    """Shows all products, or those of a category."""
    category = get_object_or_404(Category, slug=slug) if slug else None
    products = Product.objects.published().prefetch_related("images")
    if category:
        products = products.filter(category=category)
    paginator = Paginator(products, PRODUCTS_A_PAGE)
    page = paginator.get_page(request.GET.get("page"))
    size = Count("products", filter=Q(products__published=True))
    context = {
        "category": category,
        "categories": list(
            Category.objects.annotate(size=size).filter(size__gt=0).order_by("-size", "name")
        ),
        "page": page,
        "numbers": paginator.get_elided_page_range(page.number, on_ends=1),
    }
    return render(request, "shop/product_list.html", context)


def product_page(request: HttpRequest, slug: str) -> HttpResponse:
    """Shows a product with its pictures, and the shelf of similar ones."""
    # The pictures' alternative text falls back on the product's name.
    images = ProductImage.objects.select_related("product")
    products = Product.objects.published().select_related("category")
    product = get_object_or_404(products.prefetch_related(Prefetch("images", images)), slug=slug)
    return render(request, "shop/product_page.html", {"product": product})


def picture(request: HttpRequest, path: str) -> HttpResponseBase:
    """Serves an uploaded picture, as a web server does in front of a real shop."""
    return serve(request, path, document_root=str(settings.MEDIA_ROOT))
