"""Filters by public name: what they allow, refuse, and never hand on."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db.models import Count, QuerySet
from django.http import QueryDict

from cardigan_reco.exceptions import InvalidFilter, UnknownFilter
from cardigan_reco.filters import Filters
from cardigan_reco.models import EncoderVersion
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import Poster

pytestmark = pytest.mark.django_db

PRODUCTS = Filters(
    {
        "shelf": "shelf",
        "shelf_again": "shelf__exact",
        "shelf_in": "shelf__in",
        "max_shelf": "shelf__lte",
        "public": "is_public",
        "title": "title__icontains",
        "parent": "parent",
        "parent_title": "parent__title",
        "top": "parent__isnull",
        "caption": "images__caption",
        "captioned": "images__caption__startswith",
        "image": "images",
        "pk": "pk",
        "pictures": "pictures__gte",
    }
)


@pytest.fixture
def products() -> QuerySet[Product]:
    mug = Product.objects.create(title="mug", shelf=1)
    Product.objects.create(title="cup", shelf=2, parent=mug)
    Product.objects.create(title="bowl", shelf=3, is_public=False)
    for caption in ("front", "front", "back"):
        ProductImage.objects.create(product=mug, caption=caption, original="x.jpg")
    return Product.objects.annotate(pictures=Count("images")).order_by("shelf")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "mug cup bowl"),
        ("shelf=2", "cup"),
        ("shelf=1&shelf=3", "mug bowl"),
        ("shelf_again=1&shelf_again=2", "mug cup"),
        ("shelf_in=1&shelf_in=2", "mug cup"),
        ("shelf=", "mug cup bowl"),
        ("shelf=&shelf=3", "bowl"),
        ("max_shelf=2", "mug cup"),
        ("max_shelf=1&max_shelf=2", "mug cup"),
        ("public=false", "bowl"),
        ("public=1", "mug cup"),
        ("public=True&public=0", "mug cup bowl"),
        ("title=U&title=OW", "mug cup bowl"),
        ("title=%25", ""),
        ("parent_title=mug", "cup"),
        ("top=true", "mug bowl"),
        ("top=false", "cup"),
        ("caption=front", "mug"),
        ("caption=front&caption=back", "mug"),
        ("captioned=fr&captioned=b", "mug"),
        ("pictures=1", "mug"),
        ("shelf=1&public=false", ""),
        ("page=7&shelf=1", "mug"),
    ],
)
def test_rows_that_fit(products: QuerySet[Product], query: str, expected: str) -> None:
    found = PRODUCTS.apply(products, QueryDict(query), {"page"})
    assert [product.title for product in found] == expected.split()


def test_no_row_comes_twice_or_is_counted_wrongly(products: QuerySet[Product]) -> None:
    query = QueryDict("caption=front&caption=back&captioned=f")
    assert len(PRODUCTS.apply(Product.objects.all(), query)) == 1
    assert [product.pictures for product in PRODUCTS.apply(products, query)] == [3]


def test_keys_of_relations(products: QuerySet[Product]) -> None:
    mug = products[0]
    assert [p.title for p in PRODUCTS.apply(products, QueryDict(f"parent={mug.pk}"))] == ["cup"]
    assert [p.title for p in PRODUCTS.apply(products, QueryDict(f"pk={mug.pk}"))] == ["mug"]
    image = mug.images.all()[0]
    assert [p.title for p in PRODUCTS.apply(products, QueryDict(f"image={image.pk}"))] == ["mug"]


@pytest.mark.parametrize(
    "name", ["shelf__lte", "is_public", "pk__in", "__class__", "", "_connector", "shelf\0", "page"]
)
def test_other_names_are_unknown(products: QuerySet[Product], name: str) -> None:
    given = QueryDict(mutable=True)
    given[name] = "1"
    with pytest.raises(UnknownFilter, match=r"is unknown. Choices are: shelf, shelf_again,"):
        PRODUCTS.apply(products, given)


def test_without_any_filter_all_names_are_unknown(products: QuerySet[Product]) -> None:
    with pytest.raises(UnknownFilter, match=r"Filter 'shelf' is unknown. Choices are: none."):
        Filters().apply(products, QueryDict("shelf=1"))


def test_a_name_for_another_purpose_is_no_filter(products: QuerySet[Product]) -> None:
    assert PRODUCTS.apply(products, QueryDict("shelf=1"), {"shelf"}).count() == 3


NAMES: dict[str, tuple[Any, str]] = {
    "product": (Product, "shelf"),
    "less": (Product, "shelf__lt"),
    "public": (Product, "is_public"),
    "parent": (Product, "parent"),
    "top": (Product, "parent__isnull"),
    "caption": (Product, "images__caption"),
    "poster": (Poster, "id"),
    "joined": (User, "date_joined__lt"),
    "year": (User, "date_joined__year"),
    "since": (User, "date_joined__year__gte"),
    "day": (User, "date_joined__date"),
    "action": (LogEntry, "action_flag"),
    "version": (EncoderVersion, "pk"),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("product", value) for value in ("x", "1.5", "NaN", "1e3", "9" * 11, "9" * 5000, "\0")),
        *(("less", value) for value in ("-" + "9" * 11, "inf", "1\0", "[1]", "1,2")),
        *(("public", value) for value in ("maybe", "2", "yes\0")),
        *(("parent", value) for value in ("x", "9" * 20, "-" + "9" * 20, "mug")),
        *(("top", value) for value in ("maybe", "2", "None")),
        *(("caption", value) for value in ("x" * 101, "x" * 201, "a\0b")),
        *(("poster", value) for value in ("x", "1" * 31, "37830435-dea0-4274-9940-236373ae86a")),
        *(
            ("joined", value)
            for value in (
                "x",
                "2020-13-01",
                "99999-01-01",
                "9999-12-31T23:59:59-23:59",
                "2020-02-30T00:00",
            )
        ),
        *(("year", value) for value in ("x", "9" * 30)),
        *(("since", value) for value in ("20000", "-1")),
        *(("day", value) for value in ("x", "2020-02-30")),
        *(("action", value) for value in ("77", "-1")),
        *(("version", value) for value in ("x", "9" * 30)),
    ],
)
def test_values_that_a_field_cannot_take(name: str, value: str) -> None:
    model, lookup = NAMES[name]
    given = QueryDict(mutable=True)
    given[name] = value
    with pytest.raises(InvalidFilter, match=f"Filter '{name}' can't be") as raised:
        list(Filters({name: lookup}).apply(model._base_manager.all(), given))
    assert len(str(raised.value)) < 100


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("joined", "2020-01-01"),
        ("joined", "0001-01-01"),
        ("joined", "1999-12-31T23:59:59-23:59"),
        ("since", "1"),
        ("since", "9999"),
        ("year", "20000"),
        ("day", "2020-02-29"),
        ("poster", "0456dd0b-dcc6-4702-a993-a1e2be150c43"),
        ("poster", "0467ea95af0e4c188f2dcac246c8e0a3"),
        ("product", "-2147483648"),
        ("caption", "' OR 1=1 --"),
    ],
)
def test_odd_values_that_are_fine(name: str, value: str) -> None:
    model, lookup = NAMES[name]
    given = QueryDict(mutable=True)
    given[name] = value
    assert list(Filters({name: lookup}).apply(model._base_manager.all(), given)) == []


def test_too_many_values(products: QuerySet[Product]) -> None:
    query = "&".join(f"shelf={number}" for number in range(21))
    with pytest.raises(InvalidFilter, match="Filter 'shelf' takes at most 20 values"):
        PRODUCTS.apply(products, QueryDict(query))


@pytest.mark.parametrize("lookup", ["colour", "shelf__colour", "parent__colour", "shelf__lte__x"])
def test_a_wrong_lookup_of_the_shop_is_named(products: QuerySet[Product], lookup: str) -> None:
    with pytest.raises((FieldDoesNotExist, FieldError)):
        Filters({"shelf": lookup}).apply(products, QueryDict("shelf=1"))
