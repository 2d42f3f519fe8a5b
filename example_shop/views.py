"""The shop's pages."""

from __future__ import annotations

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet, Subquery, Window
from django.db.models.functions import MD5, RowNumber
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.static import serve

from cardigan_reco import recommendations

from . import street_photos
from .filters import Filters
from .models import Category, Product, ProductImage, ProductImageEmbedding, ProductQuerySet

PRODUCTS_A_PAGE = 24
PRODUCTS_AT_HOME = 12
LOOK_ALIKES = 24


def home(request: HttpRequest) -> HttpResponse:
    """Shows the categories and a few products of each."""
    categories = list(_categories())
    covers = ProductImage.objects.in_bulk([c.cover_pk for c in categories if c.cover_pk])  # type: ignore[attr-defined]
    # Neither the newest nor the first names: those are one design in many colours.
    place = Window(RowNumber(), partition_by="category", order_by=MD5("slug"))
    pictured = Exists(ProductImage.objects.filter(product=OuterRef("pk")))
    products = Product.objects.available().filter(pictured).annotate(place=place)
    context = {
        "tiles": [(category, covers.get(category.cover_pk)) for category in categories],  # type: ignore[attr-defined]
        "products": products.order_by("place", MD5("slug")).prefetch_related("images")[
            :PRODUCTS_AT_HOME
        ],
    }
    return render(request, "shop/home.html", context)


def product_list(request: HttpRequest, slug: str | None = None) -> HttpResponse:
    """Shows all products, those of a category, or those that were searched for."""
    category = get_object_or_404(Category, slug=slug) if slug else None
    products: ProductQuerySet = Product.objects.published()
    if category:
        products = products.filter(category=category)
    filters = Filters.read(request.GET)
    paginator = Paginator(filters.apply(products).prefetch_related("images"), PRODUCTS_A_PAGE)
    page = paginator.get_page(request.GET.get("page"))
    context = {
        "category": category,
        "categories": list(_categories()),
        "filters": filters,
        "chips": filters.chips,
        "colours": filters.colour_choices(products),
        "materials": filters.material_choices(products),
        "parameters": filters.parameters,
        "page": page,
        "numbers": paginator.get_elided_page_range(page.number, on_each_side=1, on_ends=1),
    }
    return render(request, "shop/product_list.html", context)


def product_page(request: HttpRequest, slug: str) -> HttpResponse:
    """Shows a product with its pictures, and the shelf of similar ones.

    One that was merged into another leads to that for good.
    """
    # The pictures' alternative text falls back on the product's name.
    images = ProductImage.objects.select_related("product")
    products = Product.objects.published().select_related("category")
    product = products.filter(slug=slug).prefetch_related(Prefetch("images", images)).first()
    if product is None:
        survivor = get_object_or_404(Product.objects.published(), replaces__slug=slug)
        return redirect(survivor, permanent=True)
    return render(request, "shop/product_page.html", {"product": product})


def look_alikes(request: HttpRequest, pk: int) -> HttpResponse:
    """Shows the products that look like one picture."""
    images = ProductImage.objects.select_related("product").filter(product__published=True)
    image = get_object_or_404(images, pk=pk)
    embedding = ProductImageEmbedding.objects.filter(source=image).defer("vector").first()
    found = recommendations.similar_to_picture(embedding, limit=LOOK_ALIKES) if embedding else []
    context = {"image": image, "product": image.product, "found": found}
    return render(request, "shop/look_alikes.html", context)


def street_photo(request: HttpRequest, file: str) -> FileResponse:
    """Serves a sample photo of the catalogue, and nothing else of its folder."""
    found = street_photos.path(file)
    if found is None:
        raise Http404(f"{file!r} is not a sample photo.")
    return FileResponse(found.open("rb"))


def picture(request: HttpRequest, path: str) -> HttpResponseBase:
    """Serves an uploaded picture, as a web server does in front of a real shop."""
    return serve(request, path, document_root=str(settings.MEDIA_ROOT))


def _categories() -> QuerySet[Category]:
    """Returns the categories that have products, each with `size` and `cover_pk`."""
    covers = ProductImage.objects.filter(product__category=OuterRef("pk"), product__published=True)
    return (
        Category.objects.annotate(
            size=Count("products", filter=Q(products__published=True)),
            cover_pk=Subquery(covers.order_by("position", "product_id", "pk").values("pk")[:1]),
        )
        .filter(size__gt=0)
        .order_by("-size", "name")
    )
