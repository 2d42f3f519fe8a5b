"""How the shop's listings are compared, and what happens when two of them are merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet

from cardigan_reco.duplicates.listings import Listings

from .models import OrderLine, Product, ProductImage, ProductImageEmbedding

KEPT_IF_EMPTY = ("brand", "category", "colour", "material", "price")
"""What the survivor takes from the others where it has nothing of its own."""


class ProductListings(Listings):
    title_field = "name"
    brand_field = "brand"
    price_field = "price"
    category_field = "category__name"
    shown_fields = ("name", "brand", "price", "stock", "colour", "material", "published")

    def queryset(self) -> QuerySet[Product]:
        """Returns the products, but for what was merged into others."""
        return Product.objects.filter(replaced_by=None)

    def merge_listings(self, survivor: Model, duplicates: Sequence[Model]) -> None:
        """Pictures and orders move to the survivor, which keeps its own words where it has any, the
        longest description and the largest stock: one thing that was entered twice was likely
        counted twice. The others are unpublished, and their pages lead to the survivor.
        """
        kept, others = cast(Product, survivor), cast(Sequence[Product], duplicates)
        _require_unmerged([kept, *others])
        _fill(kept, others)
        _move_pictures(kept, others)
        OrderLine.objects.filter(product__in=others).update(product=kept)
        Product.objects.filter(replaced_by__in=others).update(replaced_by=kept)
        for other in others:
            other.published, other.stock, other.replaced_by = False, 0, kept
            other.save(update_fields=["published", "stock", "replaced_by"])


def _require_unmerged(products: Sequence[Product]) -> None:
    """Raises ValidationError where one was merged: what it had is with another one, and redirects
    must not lead in a circle.
    """
    for product in products:
        if product.replaced_by is not None:
            raise ValidationError(
                f"{product} was merged into {product.replaced_by} already, so nothing was merged. "
                f"Compare that one with the others."
            )


def _fill(survivor: Product, others: Sequence[Product]) -> None:
    for name in KEPT_IF_EMPTY:
        values = [getattr(product, name) for product in (survivor, *others)]
        setattr(survivor, name, next((one for one in values if one not in (None, "")), values[0]))
    listings = [survivor, *others]
    survivor.description = max((one.description for one in listings), key=len)
    survivor.stock = max(one.stock for one in listings)
    survivor.published = any(one.published for one in listings)
    survivor.save()


def _move_pictures(survivor: Product, others: Sequence[Product]) -> None:
    """Moves the others' pictures behind the survivor's; a file that it has already stays behind."""
    pictures = ProductImage.objects.filter(product__in=[survivor, *others])
    digests = dict(
        ProductImageEmbedding.objects.filter(source__in=pictures).values_list("pk", "digest")
    )
    own = list(survivor.images.all())
    seen = {digests[image.pk] for image in own if image.pk in digests}
    position = max((image.position for image in own), default=-1)
    for other in others:
        for image in other.images.all():
            digest = digests.get(image.pk)
            if digest is not None and digest in seen:
                continue
            position += 1
            image.product, image.position = survivor, position
            image.save(update_fields=["product", "position"])
            if digest is not None:
                seen.add(digest)
