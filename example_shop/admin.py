"""The shop's admin: products with their pictures."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from cardigan_reco.admin import EmbeddingAdmin

from .models import Category, Order, OrderLine, Product, ProductImage, ProductImageEmbedding

admin.site.site_header = "Cardigan Home"
admin.site.site_title = "Cardigan Home"
admin.site.register(ProductImageEmbedding, EmbeddingAdmin)


def thumbnail(image: ProductImage | None, size: int) -> SafeString | str:
    """Returns the picture's markup, `size` pixels wide and high."""
    if image is None or not image.original:
        return "no picture"
    return format_html(
        '<img src="{}" alt="{}" width="{}" height="{}" loading="lazy" style="object-fit: contain">',
        image.original.url,
        image.alternative,
        size,
        size,
    )


class ProductImageInline(admin.TabularInline):  # type: ignore[type-arg]
    model = ProductImage
    extra = 1
    fields = ("preview", "original", "alt_text", "position")
    readonly_fields = ("preview",)

    @admin.display(description="")
    def preview(self, image: ProductImage) -> SafeString | str:
        return thumbnail(image, 96)


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("picture", "name", "brand", "category", "price", "stock", "published")
    list_display_links = ("picture", "name")
    list_editable = ("stock", "published")
    list_filter = ("published", "category", "colour", "material")
    list_select_related = ("category",)
    list_per_page = 50
    search_fields = ("name", "brand", "reference", "description", "colour", "material")
    fieldsets = (
        (None, {"fields": ("name", "slug", "category", "brand")}),
        ("What it is like", {"fields": ("description", ("colour", "material"))}),
        ("Selling", {"fields": (("price", "stock"), "published", "replaced_by")}),
        ("Catalogue file", {"fields": ("reference",), "classes": ("collapse",)}),
    )
    prepopulated_fields = {"slug": ("name",)}
    autocomplete_fields = ("category", "replaced_by")
    inlines = (ProductImageInline,)
    save_on_top = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Product]:
        return super().get_queryset(request).prefetch_related("images__product")

    @admin.display(description="picture")
    def picture(self, product: Product) -> SafeString | str:
        return thumbnail(product.cover, 56)


@admin.register(Category)
class CategoryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "products")
    search_fields = ("name",)
    prepopulated_fields = {"slug": ("name",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Category]:
        categories: QuerySet[Category] = super().get_queryset(request)
        return categories.annotate(size=Count("products"))

    @admin.display(description="products", ordering="size")
    def products(self, category: Category) -> int:
        size: int = category.size  # type: ignore[attr-defined]
        return size


class OrderLineInline(admin.TabularInline):  # type: ignore[type-arg]
    model = OrderLine
    extra = 1
    autocomplete_fields = ("product",)


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("number", "customer", "placed_at")
    search_fields = ("number", "customer", "lines__product__name")
    inlines = (OrderLineInline,)
