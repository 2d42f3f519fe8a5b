"""GET <pk>/similar/: whose neighbours, which of them, and at which price."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import Client, RequestFactory
from pytest_django import DjangoAssertNumQueries
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from cardigan_reco.api.views import SimilarView
from tests.api.conftest import names
from tests.conftest import GREEN, ORANGE, RED, AddProduct, encode_all
from tests.testapp.catalogue.models import Product

pytestmark = pytest.mark.django_db

STATEMENTS = 11
"""The item, and the ten of a search."""


def test_an_answer(shop: dict[str, Product], client: Client) -> None:
    response = client.get(f"/visual/{shop['mug'].pk}/similar/?limit=1")
    answer = response.json()
    assert names(response) == ["cup"]
    assert answer["page"] == 1
    assert answer["next_page"] == 2
    result = answer["results"][0]
    assert 0 < result["similarity"] < 1
    assert result["similarity"] == round(result["similarity"], 3)
    assert result["matched"]["pk"] == shop["cup"].images.get(display_order=0).pk
    assert response.headers["X-Request-ID"] == answer["request_id"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_pages_and_limits(shop: dict[str, Product], client: Client) -> None:
    address = f"/visual/{shop['mug'].pk}/similar/"
    assert names(client.get(f"{address}?limit=1&page=2")) == ["bowl"]
    assert names(client.get(f"{address}?limit=1&page=3")) == []
    assert names(client.get(f"{address}?min_similarity=1")) == []


def test_filters(shop: dict[str, Product], client: Client) -> None:
    address = f"/shop/{shop['mug'].pk}/similar/"
    assert names(client.get(f"{address}?shelf=3")) == ["bowl"]
    assert names(client.get(f"{address}?shelf=3&shelf=2")) == ["cup", "bowl"]
    assert names(client.get(f"{address}?shelf=")) == ["cup", "bowl"]


@pytest.mark.parametrize(
    "pk",
    ["0", "-1", "9" * 30, "9" * 4_400, "x", "1.5", "%00", "1%00", "%C3%BC", "NaN", "' OR 1=1 --"],
)
def test_an_item_that_is_not_there(shop: dict[str, Product], client: Client, pk: str) -> None:
    for purpose in ("visual", "posters"):
        response = client.get(f"/{purpose}/{pk}/similar/")
        assert response.status_code == 404
        assert response.json()["code"] == "not_found"


def test_items_by_other_keys(shop: dict[str, Product], client: Client) -> None:
    assert names(client.get("/slugs/mug/similar/?limit=1")) == ["cup"]
    assert names(client.get("/titled/mug/similar/?limit=1")) == ["cup"]
    for address in ("titled/%00", "titled/hidden", "slugs/jug", f"uuids/{uuid4()}"):
        response = client.get(f"/{address}/similar/")
        assert (response.status_code, response.json()["code"]) == (404, "not_found"), address


def test_filter_backends_narrow_the_item_and_what_is_like_it(
    shop: dict[str, Product], client: Client, add_product: AddProduct
) -> None:
    add_product("beaker", ORANGE, shelf=1)
    encode_all()
    address = f"/tenant/{shop['mug'].pk}/similar/"
    assert names(client.get(address, headers={"tenant": "1"})) == ["beaker"]
    assert client.get(address, headers={"tenant": "2"}).status_code == 404


def test_an_item_that_may_not_be_shown_is_not_there(
    shop: dict[str, Product], client: Client
) -> None:
    variant = Product.objects.create(title="variant", parent=shop["mug"])
    for item in (shop["hidden"], variant):
        assert client.get(f"/visual/{item.pk}/similar/").status_code == 404
    # The view of this shop shows variants too, with the pictures of their parent.
    assert names(client.get(f"/shop/{variant.pk}/similar/?limit=1")) == ["cup"]


def test_a_view_of_the_shops_own(shop: dict[str, Product], client: Client) -> None:
    Product.objects.create(title="variant", parent=shop["mug"])
    response = client.get("/own/variant/similar/?limit=2")
    assert names(response) == ["cup", "bowl"]
    assert response.json()["next_page"] is None
    assert [result["matched"]["url"] for result in response.json()["results"]] == [
        f"/thumbnails/{shop[title].images.get(display_order=0).pk}.webp"
        for title in ("cup", "bowl")
    ]


def test_an_item_without_pictures_has_no_neighbours(
    shop: dict[str, Product], client: Client
) -> None:
    bare = Product.objects.create(title="bare")
    assert names(client.get(f"/visual/{bare.pk}/similar/")) == []


def test_crop_is_no_parameter_here(shop: dict[str, Product], client: Client) -> None:
    response = client.get(f"/visual/{shop['mug'].pk}/similar/?crop=0,0,1,1")
    assert (response.status_code, response.json()["code"]) == (400, "unknown_filter")


def test_the_number_of_queries_is_constant(
    shop: dict[str, Product],
    client: Client,
    add_product: AddProduct,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    address = f"/visual/{shop['mug'].pk}/similar/?limit=50"
    with django_assert_max_num_queries(STATEMENTS):
        assert len(names(client.get(address))) == 2
    for number in range(12):
        add_product(f"more {number}", RED, GREEN)
    encode_all()
    with django_assert_max_num_queries(STATEMENTS):
        assert len(names(client.get(address))) == 14


def test_permissions_on_objects_are_asked(shop: dict[str, Product], rf: RequestFactory) -> None:
    class IsMug(BasePermission):
        def has_object_permission(self, request: Request, view: object, item: Product) -> bool:
            return item.title == "mug"

    view = SimilarView.as_view(permission_classes=[IsMug])
    for title, status in (("mug", 200), ("cup", 403)):
        assert view(rf.get("/"), pk=str(shop[title].pk)).status_code == status
