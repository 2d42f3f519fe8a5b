"""Checks of CARDIGAN_RECO["DUPLICATES"] and of the class that it names."""

from __future__ import annotations

import importlib.util
from typing import Any

from django.core import checks
from django.core.exceptions import FieldDoesNotExist
from django.utils.module_loading import import_string

from cardigan_reco import collection, conf
from cardigan_reco.duplicates import pictures
from cardigan_reco.duplicates.listings import Listings

from .settings import TAG, AppConfigs, Messages, unusable

FIELDS = (
    "title_field",
    "brand_field",
    "price_field",
    "sku_field",
    "category_field",
    "tenant_field",
    "parent_field",
)
PACKAGES = {"cv2": "opencv-python-headless", "rapidfuzz": "rapidfuzz"}
"""What the extra [duplicates] installs, by the name it is imported by."""


def check_duplicates(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    return [] if unusable() else list(_duplicates())


def _duplicates() -> Messages:
    settings = conf.current().duplicate_listings
    if settings is None:
        return
    name = f"{conf.SETTING}['DUPLICATES']"
    try:
        embedding = collection.serving(settings.collection)
    except LookupError as error:
        yield checks.Error(
            f"{name}['COLLECTION']: {error.args[0]}",
            hint=f"Name a purpose of {conf.SETTING}['COLLECTIONS'].",
            id=f"{TAG}.E016",
        )
        return
    try:
        found = import_string(settings.listings)
    except ImportError as error:
        yield checks.Error(
            f"{name}['LISTINGS'] is {settings.listings!r}, which can't be imported: {error}",
            hint="Name a subclass of cardigan_reco.duplicates.listings.Listings as "
            "'shop.duplicates.ProductListings'.",
            id=f"{TAG}.E017",
        )
        return
    if not (isinstance(found, type) and issubclass(found, Listings)):
        yield checks.Error(
            f"{name}['LISTINGS'] is {settings.listings!r}, which is no subclass of Listings.",
            hint="class ProductListings(cardigan_reco.duplicates.listings.Listings): ...",
            obj=found,
            id=f"{TAG}.E017",
        )
        return
    yield from _fields(found(embedding))
    yield from _packages()


def _fields(shop: Listings) -> Messages:
    model = shop.embedding.item_model()
    named = [(name, getattr(shop, name)) for name in FIELDS]
    named += [("shown_fields", lookup) for lookup in shop.shown_fields]
    for attribute, lookup in named:
        if lookup is None:
            continue
        try:
            pictures.field(model, lookup)
        except FieldDoesNotExist as error:
            yield checks.Error(
                f"{type(shop).__qualname__}.{attribute} names {lookup!r}, which is not a field of "
                f"{model._meta.label}: {error}.",
                hint="Name a field, or one of a related model as 'category__name'.",
                obj=type(shop),
                id=f"{TAG}.E018",
            )


def _packages() -> Messages:
    missing = [name for module, name in PACKAGES.items() if not importlib.util.find_spec(module)]
    if missing:
        yield checks.Warning(
            f"Listings are to be compared, which needs {', '.join(missing)}, not installed here.",
            hint="pip install 'cardigan-reco[duplicates]' where pictures are encoded and "
            "find_duplicates runs; elsewhere silence this check.",
            id=f"{TAG}.W008",
        )
