"""The shop's pages: what they show, to whom, and with how many queries."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from PIL import Image

from cardigan_reco import estimates
from example_shop.models import Category, Product, ProductImage

pytestmark = pytest.mark.django_db

RECOMMENDATIONS = {
    "ENCODERS": {
        "default": {
            "BACKEND": "cardigan_reco.encoders.dummy.DummyEncoder",
            "OPTIONS": {"dimensions": 512},
        }
    },
    "COLLECTIONS": {"similar": "shop.ProductImageEmbedding"},
}


@pytest.fixture(autouse=True)
def shop(tmp_path: Path):
    with override_settings(MEDIA_ROOT=tmp_path, CARDIGAN_RECO=RECOMMENDATIONS):
        yield


def add(name: str, *, pictures: int = 1, stock: int = 1, published: bool = True) -> Product:
    category, _created = Category.objects.get_or_create(name="Kitchen", slug="kitchen")
    product = Product.objects.create(
        name=name, slug=name.lower(), category=category, stock=stock, published=published
    )
    for position in range(pictures):
        data = BytesIO()
        Image.new("RGB", (32, 32), (product.pk * 40 % 256, 90, position * 60)).save(data, "JPEG")
        file = ContentFile(data.getvalue(), "picture.jpg")
        ProductImage.objects.create(product=product, original=file, position=position)
    return product


def queries(client: Client, address: str) -> int:
    estimates.forget()
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


def test_the_list_shows_what_is_published(client: Client) -> None:
    add("Mug")
    add("Hidden", published=False)
    add("Gone", stock=0)
    page = client.get("/products/").content.decode()

    assert 'href="/product/mug/"' in page
    assert "sold out" in page
    assert "Price on request" in page
    assert "Hidden" not in page


def test_pages_and_categories(client: Client) -> None:
    Category.objects.create(name="Empty", slug="empty")
    for number in range(25):
        add(f"Mug{number}", pictures=0)

    assert "Mug9" in client.get("/products/?page=2").content.decode()
    assert "Mug9" in client.get("/category/kitchen/?page=2").content.decode()
    assert "Mug9" in client.get("/products/?page=99").content.decode()
    assert client.get("/products/?page=nonsense").status_code == 200
    assert "Empty" not in client.get("/products/").content.decode()
    assert client.get("/category/nowhere/").status_code == 404


def test_a_product_has_its_pictures_and_similar_products(client: Client) -> None:
    mug = add("Mug", pictures=2)
    add("Bowl")
    add("Hidden", published=False)
    add("Gone", stock=0)
    assert "Similar products" not in client.get(mug.get_absolute_url()).content.decode()

    call_command("encode_images")
    page = client.get(mug.get_absolute_url()).content.decode()

    assert page.count('id="picture-') == 2
    assert "Similar products" in page
    assert 'href="/product/bowl/"' in page
    assert "Hidden" not in page
    assert "Gone" not in page


def test_a_sold_out_product_keeps_its_page_and_shelf(client: Client) -> None:
    gone = add("Gone", stock=0)
    add("Bowl")
    call_command("encode_images")
    page = client.get(gone.get_absolute_url()).content.decode()

    assert "Sold out" in page
    assert 'href="/product/bowl/"' in page


def test_a_product_without_a_picture_says_so(client: Client) -> None:
    plain = add("Plain", pictures=0, stock=0)
    page = client.get(plain.get_absolute_url()).content.decode()

    assert "There is no picture of this product yet." in page
    assert "one of those below" not in page
    # The style sheet fills a frame without a picture, if nothing at all is in it.
    assert '<span class="picture"></span>' in client.get("/products/").content.decode()


def test_every_page_has_the_shops_icon(client: Client) -> None:
    answer = client.get("/favicon.ico")  # As browsers ask on the admin's pages.

    assert (answer.status_code, answer["Content-Type"]) == (200, "image/svg+xml")
    answer.close()


def test_unpublished_and_unknown_products_have_the_shops_404(client: Client) -> None:
    hidden = add("Hidden", published=False)
    for address in (hidden.get_absolute_url(), "/product/nothing/", "/nothing"):
        answer = client.get(address)

        assert answer.status_code == 404
        assert "This page isn’t here" in answer.content.decode()


def test_names_are_escaped(client: Client) -> None:
    mug = add("Mug")
    Product.objects.filter(pk=mug.pk).update(name="<script>alert(1)</script>")
    for address in ("/", "/products/", mug.get_absolute_url()):
        assert "<script>" not in client.get(address).content.decode()


def test_the_number_of_queries_is_constant(client: Client, transactional_db: None) -> None:
    mug = add("Mug")
    add("Bowl")
    call_command("encode_images")
    image = mug.images.get()
    addresses = ("/", "/products/", mug.get_absolute_url(), f"/look-alikes/{image.pk}/")
    few = [queries(client, address) for address in addresses]
    for number in range(10):
        add(f"Plate{number}", pictures=3)
    call_command("encode_images")

    assert [queries(client, address) for address in addresses] == few
    assert few == [4, 6, 4, 5]


def test_the_admin_speaks_the_browsers_language_and_the_shop_its_own(admin_client: Client) -> None:
    mug = add("Mug")
    add("Bowl")
    call_command("encode_images")
    german = {"accept-language": "de-AT,de;q=0.9,en;q=0.5"}

    admin = admin_client.get("/admin/", headers=german).content.decode()
    assert '<html lang="de"' in admin
    assert "Visuelle Empfehlungen" in admin
    page = admin_client.get(mug.get_absolute_url(), headers=german).content.decode()
    assert '<html lang="en">' in page
    assert "Similar products" in page
    assert "Visual recommendations" in admin_client.get("/admin/").content.decode()


def test_the_admin_lists_products_with_thumbnails(admin_client: Client) -> None:
    mug = add("Mug")
    few = queries(admin_client, "/admin/shop/product/")
    for number in range(10):
        add(f"Plate{number}")

    assert queries(admin_client, "/admin/shop/product/") == few
    assert "<img" in admin_client.get(f"/admin/shop/product/{mug.pk}/change/").content.decode()
    assert admin_client.get("/admin/shop/product/?q=mug").status_code == 200
    assert admin_client.get("/admin/shop/category/").status_code == 200


def test_pictures_and_styles_are_served(client: Client) -> None:
    image = add("Mug").images.get()
    styles = ("/static/shop/shop.css", "/static/cardigan_reco/shelf.css")
    for address in (image.original.url, *styles):
        answer = client.get(address)

        assert answer.status_code == 200
        assert b"".join(answer)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        answer.close()
    assert client.get("/media/../settings.py").status_code == 400
