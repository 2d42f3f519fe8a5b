"""POST search/: what a photo finds, how it may be sent, and the pages of results."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from PIL import Image
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.request import Request
from rest_framework.response import Response

from cardigan_reco.api.views import PhotoSearchView
from tests.api.conftest import Search, names
from tests.conftest import BLUE, GREEN, RED, AddProduct, encode_all, jpeg
from tests.pictures import encoded, plain
from tests.testapp.catalogue.models import Product
from tests.testapp.models import Poster

pytestmark = pytest.mark.django_db

STATEMENTS = 11
"""The encoder's version, and the ten of a search."""


def test_an_answer(shop: dict[str, Product], search: Search) -> None:
    response = search(jpeg(RED), limit=2)
    mug = shop["mug"]
    picture = mug.images.get()
    answer = response.json()
    assert answer == {
        "request_id": response.headers["X-Request-ID"],
        "page": 1,
        "next_page": 2,
        "results": [
            {
                "item": {
                    "id": mug.pk,
                    "name": "mug",
                    "url": f"http://testserver/products/{mug.pk}/",
                    "image": f"http://testserver{picture.original.url}",
                },
                "similarity": 1.0,
                "matched": {
                    "pk": picture.pk,
                    "url": f"http://testserver{picture.original.url}",
                },
            },
            answer["results"][1],
        ],
    }
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Type"] == "application/json"


def test_says_which_picture_matched(shop: dict[str, Product], search: Search) -> None:
    matched = search(jpeg(BLUE), limit=1).json()["results"][0]["matched"]
    assert matched["pk"] == shop["cup"].images.get(display_order=1).pk


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "content_type",
    ["image/jpeg", "image/png", "image/webp", "image/anything", "application/octet-stream"],
)
def test_a_body_is_what_its_bytes_are(
    shop: dict[str, Product], client: Client, format: str, content_type: str
) -> None:
    data = encoded(plain(GREEN), format)
    response = client.post("/visual/search/?limit=1", data, content_type=content_type)
    assert names(response) == ["bowl"]


def test_a_crop_decides(shop: dict[str, Product], client: Client, search: Search) -> None:
    picture = Image.new("RGB", (200, 100), RED)
    picture.paste(GREEN, (100, 0, 200, 100))
    data = encoded(picture, "PNG")
    assert names(search(data, limit=1, crop="0,0,0.5,1")) == ["mug"]
    assert names(search(data, limit=1, crop="0.5,0,1,1e0")) == ["bowl"]
    response = client.post("/visual/search/?limit=1&crop=0.5,0,1,1", data, content_type="image/png")
    assert names(response) == ["bowl"]


def test_pages_have_every_item_once(search: Search, add_product: AddProduct) -> None:
    for number in range(7):
        add_product(f"product {number}", (220, 30, 10 + 20 * number))
    encode_all()
    found, page, pages = [], 1, []
    while page:
        response = search(limit=3, page=page)
        found += names(response)
        pages.append(page)
        page = response.json()["next_page"]
    assert pages == [1, 2, 3]
    assert found == names(search(limit=50))
    assert len(set(found)) == 7


def test_the_last_page_that_can_be_asked_for_has_none_after_it(
    shop: dict[str, Product], search: Search
) -> None:
    response = search(limit=1, page=100)
    assert response.json()["results"] == []
    assert response.json()["next_page"] is None


def test_exactly_a_page_has_no_next(shop: dict[str, Product], search: Search) -> None:
    response = search(limit=3)
    assert len(response.json()["results"]) == 3
    assert response.json()["next_page"] is None


def test_min_similarity(shop: dict[str, Product], search: Search) -> None:
    assert names(search(min_similarity=0.999)) == ["mug"]


def test_filters_stand_in_the_form_or_in_the_address(
    shop: dict[str, Product], search: Search
) -> None:
    assert names(search(address="/shop/search/", shelf=3)) == ["bowl"]
    assert names(search(address="/shop/search/?shelf=3&utm_source=mail")) == ["bowl"]
    assert set(names(search(address="/shop/search/?shelf=3", shelf=1))) == {"bowl", "mug"}
    assert names(search(address="/shop/search/", max_shelf=2, title="CU")) == ["cup"]


def test_filter_backends_narrow_what_is_found(shop: dict[str, Product], search: Search) -> None:
    assert names(search(address="/tenant/search/", headers={"tenant": "2"})) == ["cup"]


def test_a_filterset_of_django_filter(shop: dict[str, Product], search: Search) -> None:
    address = "/filterset/search/"
    assert set(names(search(address=address, shelf_min=2))) == {"cup", "bowl"}
    assert names(search(address=address, shelf_max=2, title="cup")) == ["cup"]
    wrong = search(address=address, shelf_min="x")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_filter")
    assert "shelf" in wrong.json()["detail"]
    unknown = search(address=address, shelf__gte=2)
    assert (unknown.status_code, unknown.json()["code"]) == (400, "unknown_filter")
    assert "Choices are: title, shelf_min, shelf_max, parent." in unknown.json()["detail"]


def test_the_choices_of_a_filterset_are_those_of_the_request(
    shop: dict[str, Product], search: Search
) -> None:
    for _ in range(2):
        refused = search(address="/filterset/search/", parent=shop["mug"].pk)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_filter")
        allowed = search(
            address="/filterset/search/", parent=shop["mug"].pk, headers={"staff": "yes"}
        )
        assert names(allowed) == []


def read_the_form(get_response: Any) -> Any:
    """A middleware that reads the form, as some do."""

    def read(request: Any) -> Any:
        assert request.POST is not None
        return get_response(request)

    return read


def test_a_form_that_a_middleware_has_read(
    shop: dict[str, Product],
    search: Search,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.MIDDLEWARE = ["tests.api.test_search.read_the_form"]
    assert names(search(limit=1)) == ["mug"]
    assert "A middleware read the form at /visual/search/" in caplog.text
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "MAX_IMAGE_BYTES": 100}
    assert search().json()["code"] == "too_large"


def test_a_collection_whose_items_are_the_pictures(client: Client, db: None) -> None:
    poster = Poster.objects.create(title="red", image=ContentFile(jpeg(RED), name="red.jpg"))
    encode_all()
    response = client.post("/posters/search/", jpeg(RED), content_type="image/jpeg")
    (result,) = response.json()["results"]
    assert result["item"]["id"] == result["matched"]["pk"] == str(poster.pk)
    assert result["item"]["url"] is None
    response = client.get(f"/posters/{poster.pk}/similar/")
    assert response.json()["results"] == []


def test_a_shop_without_any_vector_has_an_empty_answer(search: Search) -> None:
    assert names(search()) == []


def test_the_number_of_queries_is_constant(
    shop: dict[str, Product],
    search: Search,
    add_product: AddProduct,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_max_num_queries(STATEMENTS):
        assert len(names(search(limit=50))) == 3
    for number in range(12):
        add_product(f"more {number}", RED, GREEN)
    encode_all()
    with django_assert_max_num_queries(STATEMENTS):
        assert len(names(search(limit=50))) == 15


def test_no_query_is_made_for_a_bad_request(
    shop: dict[str, Product], search: Search, client: Client
) -> None:
    with CaptureQueriesContext(connection) as queries:
        for fields in ({"limit": 0}, {"crop": "1,1,0,0"}, {"unknown": 1}):
            assert search(**fields).status_code == 400
        assert search(b"no picture").status_code == 400
    assert len(queries) == 0


def test_a_form_without_a_picture(client: Client) -> None:
    for sent in (
        client.post("/visual/search/", {"limit": 3}),
        client.post("/visual/search/", {"image": "text"}),
        client.post("/visual/search/"),
        client.post("/visual/search/", b"", content_type="image/jpeg"),
    ):
        assert sent.status_code == 400
        assert sent.json()["code"] == "invalid_image"
        assert "There is no picture" in sent.json()["detail"]


def test_other_bodies_and_methods(client: Client) -> None:
    for content_type in ("application/json", "text/html", "application/x-www-form-urlencoded"):
        response = client.post("/visual/search/", "{}", content_type=content_type)
        assert response.status_code == 415
        assert response.json()["code"] == "unsupported_media_type"
    for method in (client.get, client.put, client.delete, client.patch, client.options):
        response = method("/visual/search/")
        assert response.status_code == 405
        assert response.json()["code"] == "method_not_allowed"


class TestTheRequestId:
    def test_is_new_each_time(self, search: Search) -> None:
        first, second = search(), search()
        assert first.headers["X-Request-ID"] != second.headers["X-Request-ID"]
        assert len(first.headers["X-Request-ID"]) == 32

    def test_of_a_proxy_is_kept(self, search: Search) -> None:
        given = "9f1c-proxy_01"
        response = search(headers={"X-Request-ID": given})
        assert response.headers["X-Request-ID"] == response.json()["request_id"] == given

    @pytest.mark.parametrize("given", ["short", "x" * 65, "line\nbreak", "<script>12", "ümlaut123"])
    def test_that_could_do_harm_is_replaced(self, search: Search, given: str) -> None:
        response = search(headers={"X-Request-ID": given})
        assert response.headers["X-Request-ID"] != given


class TestPermissions:
    def test_the_shops_hold(self, shop: dict[str, Product], search: Search) -> None:
        response = search(address="/staff/search/")
        assert response.status_code == 403
        assert response.json()["code"] == "not_authenticated"

    def test_a_session_needs_its_csrf_token(
        self, shop: dict[str, Product], admin_user: Any
    ) -> None:
        client = Client(enforce_csrf_checks=True)
        file = lambda: SimpleUploadedFile("x.jpg", jpeg(RED))  # noqa: E731
        anonymous = client.post("/visual/search/", {"image": file()})
        assert anonymous.status_code == 200
        client.force_login(admin_user)
        refused = client.post("/visual/search/", {"image": file()})
        assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
        client.cookies["csrftoken"] = token = "a" * 32
        form = {"image": file(), "csrfmiddlewaretoken": token}
        assert client.post("/visual/search/", form).status_code == 200
        headers = {"X-CSRFToken": token}
        sent = client.post("/visual/search/", jpeg(RED), content_type="image/jpeg", headers=headers)
        assert sent.status_code == 200


def test_nothing_of_the_photo_is_logged_or_answered(
    shop: dict[str, Product], search: Search, caplog: pytest.LogCaptureFixture
) -> None:
    exif = Image.Exif()
    exif[0x010E] = "A-DESCRIPTION"
    data = encoded(plain(), "JPEG", exif=exif)
    with caplog.at_level(logging.DEBUG):
        told = [search(data, name="SECRET-NAME.jpg").content.decode()]
        told.append(search(data[:-9], name="SECRET-NAME.jpg").content.decode())
        told.append(search(b"GIF89a", name="SECRET-NAME.jpg").content.decode())
    for text in (*told, caplog.text):
        assert "SECRET" not in text
        assert "A-DESCRIPTION" not in text


@pytest.mark.parametrize("picture", [jpeg(RED), jpeg(RED)[:-200]], ids=["found", "refused"])
def test_a_photo_is_let_go_before_the_answer(
    shop: dict[str, Product], picture: bytes, rf: RequestFactory
) -> None:
    photos = []

    class View(PhotoSearchView):
        def finalize_response(self, request: Request, *args: Any, **kwargs: Any) -> Response:
            photos.append(request.FILES["image"])
            return super().finalize_response(request, *args, **kwargs)

    View.as_view()(rf.post("/visual/search/", picture, content_type="image/jpeg"))
    assert [photo.closed for photo in photos] == [True]
