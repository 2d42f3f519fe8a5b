"""A shop for the tests of duplicates: drawn photos, edits of them, and how it names its fields."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable

from django.core.files.base import ContentFile
from django.db.models import Model
from PIL import Image, ImageDraw

from cardigan_reco import duplicates
from cardigan_reco.duplicates import Progress
from cardigan_reco.duplicates.listings import Listings
from cardigan_reco.models import DuplicatePair
from tests.conftest import encode_all
from tests.testapp.catalogue.models import Product, ProductImage

SIDE = 240


class PlainListings(Listings):
    """Only pictures count."""


class TitledListings(Listings):
    title_field = "title"
    price_field = "shelf"


class BrandedListings(Listings):
    """Each shelf is a brand's."""

    title_field = "title"
    brand_field = "shelf"


class ShelvedListings(PlainListings):
    """Each shelf is a seller's."""

    tenant_field = "shelf"


class VariedListings(PlainListings):
    parent_field = "parent"


class GroupedListings(PlainListings):
    """Products of one shelf are variants, without a parent."""

    parent_field = "shelf"


class PublicListings(PlainListings):
    category_field = "shelf"

    def queryset(self):  # type: ignore[no-untyped-def]
        return Product.objects.filter(is_public=True).exclude(title="hidden")


class NewestListings(PlainListings):
    def queryset(self):  # type: ignore[no-untyped-def]
        return Product.objects.order_by("shelf", "-pk").distinct("shelf")


class BrokenListings(PlainListings):
    def may_compare(self, first: Model, second: Model) -> bool:
        raise RuntimeError("The shop's hook fails.")


class PickyListings(PlainListings):
    """Never compares what says so."""

    def may_compare(self, first: Model, second: Model) -> bool:
        return "unique" not in f"{first} {second}"


def photo(seed: int) -> Image.Image:
    """Draws a photo that looks like no other: coloured shapes with some texture on white."""
    chance = random.Random(seed)
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        colour = tuple(chance.randint(0, 220) for _ in range(3))
        left, top = (chance.randint(20, SIDE - 90) for _ in range(2))
        box = (left, top, left + chance.randint(25, 70), top + chance.randint(25, 70))
        shape = chance.choice([draw.ellipse, draw.rectangle])
        shape(box, fill=colour, outline="black", width=2)
        for step in range(0, box[2] - left, chance.randint(6, 14)):
            draw.line((left + step, top, left + step, box[3]), fill=colour[::-1], width=2)
    return image


def file_of(image: Image.Image, quality: int = 92) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return data.getvalue()


def recompressed(seed: int, quality: int = 60) -> bytes:
    """Returns another file with the photo of that seed."""
    return file_of(photo(seed), quality)


def list_item(title: str, *files: bytes, **fields: object) -> Product:
    """Saves a product with these pictures."""
    product = Product.objects.create(title=title, **fields)
    for order, data in enumerate(files):
        add_picture(product, data, order)
    return product


def add_picture(product: Product, data: bytes, order: int = 0) -> ProductImage:
    file = ContentFile(data, name=f"{product.pk}-{order}.jpg")
    return ProductImage.objects.create(product=product, original=file, display_order=order)


def replace_picture(product: Product, data: bytes) -> None:
    image = product.images.get()
    image.original = ContentFile(data, name=f"{product.pk}-new.jpg")
    image.save()


def find(**options: object) -> Progress:
    """Encodes what waits and runs to the end; returns how far it came."""
    encode_all()
    *_, last = duplicates.find(**options)  # type: ignore[arg-type]
    return last


def reported(pairs: Iterable[DuplicatePair] | None = None) -> list[tuple[str, str, str, str]]:
    """Returns the titles, kind and state of each pair, in the order of the titles."""
    titles = {str(pk): title for pk, title in Product.objects.values_list("pk", "title")}
    return sorted(
        (titles[pair.first_pk], titles[pair.second_pk], pair.kind, pair.state)
        for pair in (DuplicatePair.objects.all() if pairs is None else pairs)
    )
