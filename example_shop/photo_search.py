"""The shop's page that searches by photo: what may be found, filters and samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import PurePosixPath

from django.db.models import QuerySet
from django.urls import reverse

from cardigan_reco.photo_form import Choices, Sample
from cardigan_reco.views import PhotoSearchView

from . import street_photos
from .models import Product

SAMPLES = 12


class PhotoSearch(PhotoSearchView):
    template_name = "shop/photo.html"
    base_template_name = "shop/base.html"
    item_template_name = "shop/photo_item.html"
    filters = {
        "category": "category__slug",
        "colour": "colour",
        "min_price": "price__gte",
        "max_price": "price__lte",
    }

    def get_queryset(self) -> QuerySet[Product]:
        return Product.objects.available()

    def filter_choices(self) -> Sequence[Choices]:
        """Offers what the products that may be found have."""
        products = self.get_queryset().order_by()
        categories = products.exclude(category=None).values_list("category__slug", "category__name")
        colours = products.exclude(colour="").values_list("colour", flat=True)
        return [
            Choices("category", "Category", sorted(set(categories), key=lambda pair: pair[1])),
            Choices("colour", "Colour", [(c, c.capitalize()) for c in sorted(set(colours))]),
            Choices("min_price", "From, in euros", kind="number"),
            Choices("max_price", "To, in euros", kind="number"),
        ]

    def samples(self) -> Sequence[Sample]:
        """Returns photos from homes; the frame is around a product that can be bought."""
        photos = street_photos.read()
        wanted = {sighting.reference for photo in photos for sighting in photo.sightings}
        names = dict(
            self.get_queryset().filter(reference__in=wanted).values_list("reference", "name")
        )
        found = (sample for photo in photos if (sample := _sample(photo, names)) is not None)
        return list(islice(found, SAMPLES))


def _sample(photo: street_photos.StreetPhoto, names: dict[str | None, str]) -> Sample | None:
    for sighting in photo.sightings:
        if sighting.reference in names:
            return Sample(
                key=PurePosixPath(photo.file).stem,
                url=reverse("street-photo", args=[photo.file]),
                alternative=f"A home with {names[sighting.reference]}",
                read=partial(_read, photo.file),
                width=photo.width,
                height=photo.height,
                crop=(sighting.left, sighting.top, sighting.right, sighting.bottom),
            )
    return None


def _read(file: str) -> bytes:
    path = street_photos.path(file)
    if path is None:
        raise FileNotFoundError(file)
    return path.read_bytes()
