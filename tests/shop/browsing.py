"""Finding a product: filters, search, look-alikes, sample photos, and addresses that are wrong."""

from __future__ import annotations

import re
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.http import QueryDict
from django.test import Client, override_settings
from django.urls import reverse
from PIL import Image

from example_shop import folders, street_photos
from example_shop.filters import Filters
from example_shop.models import Category, Product, ProductImage
from tests.shop.pages import add, queries, shop  # noqa: F401

pytestmark = pytest.mark.django_db

LIGHTEST_PAGE = 200_000
MOST_QUERIES = 14


def furnish(name: str, **facts: object) -> Product:
    product = add(name, pictures=0)
    Product.objects.filter(pk=product.pk).update(**facts)
    return product


def names(client: Client, address: str) -> list[str]:
    """Returns the names of the products that a page lists, in order."""
    answer = client.get(address)
    assert answer.status_code == 200
    return re.findall(r'<span class="name">(.*?)</span>', answer.content.decode())


@pytest.fixture
def range_() -> None:
    furnish("Alma", colour="sage", material="stoneware", price="14", description="Two handles.")
    furnish("Bodil", colour="sage", material="linen", price="30", stock=0)
    furnish("Cara", colour="terracotta", material="linen", price="22.50", brand="Nordlys")
    furnish("Dagny", price=None)


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue's folder with a photo and a file that is nobody's business."""
    folder = tmp_path / "catalogue"
    (folder / "street").mkdir(parents=True)
    Image.new("RGB", (300, 200), "sienna").save(folder / "street" / "a.jpg")
    (folder / "street" / "broken.jpg").write_text("no picture")
    (folder / "secret.txt").write_text("secret")
    monkeypatch.setattr(folders, "CATALOGUE", folder)
    return folder


def sight(folder: Path, *rows: str, header: str = "file,product,left,top,right,bottom") -> None:
    (folder / "street.csv").write_text("\n".join([header, *rows]))


@pytest.mark.usefixtures("range_")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["Alma", "Bodil", "Cara", "Dagny"]),
        ("colour=sage", ["Alma", "Bodil"]),
        ("colour=sage&colour=terracotta&material=linen", ["Bodil", "Cara"]),
        ("min=20", ["Bodil", "Cara"]),
        ("max=22,50", ["Alma", "Cara"]),
        ("min=30&max=20", ["Bodil", "Cara"]),
        ("stock=1&colour=sage", ["Alma"]),
        ("sort=price", ["Alma", "Cara", "Bodil", "Dagny"]),
        ("sort=-price", ["Bodil", "Cara", "Alma", "Dagny"]),
        ("sort=newest", ["Dagny", "Cara", "Bodil", "Alma"]),
        ("colour=unknown", []),
    ],
)
def test_filters_and_orders(client: Client, query: str, expected: list[str]) -> None:
    for path in ("/products/", "/category/kitchen/"):
        assert names(client, f"{path}?{query}") == expected


@pytest.mark.usefixtures("range_")
@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("alma", ["Alma"]),
        ("ALM", ["Alma"]),
        ("handle", ["Alma"]),
        ("terra", ["Cara"]),
        ("nordlys", ["Cara"]),
        ("sage linen", ["Bodil"]),
        ('"two handles"', ["Alma"]),
        ("linen -terracotta", ["Bodil"]),
        ("50%", []),
        ("' OR 1=1 --", []),
    ],
)
def test_the_search_knows_words_and_their_parts(
    client: Client, search: str, expected: list[str]
) -> None:
    assert names(client, f"/products/?q={quote(search)}") == expected


def test_the_end_of_a_word_finds_nothing(client: Client) -> None:
    furnish("Alma", material="lacquered metal", description="Twice fired.")
    furnish("Bodil", colour="red")

    assert names(client, "/products/?q=red") == ["Bodil"]
    assert names(client, "/products/?q=lacq") == ["Alma"]


@pytest.mark.usefixtures("range_")
def test_the_name_counts_most(client: Client) -> None:
    furnish("Zoe", description="A friend of Alma.")

    assert names(client, "/products/?q=alma") == ["Alma", "Zoe"]
    assert names(client, "/products/?q=alma&sort=newest") == ["Zoe", "Alma"]


@pytest.mark.usefixtures("range_")
def test_active_filters_can_be_taken_away_one_by_one(client: Client) -> None:
    address = "/products/?q=linen&colour=sage&max=40&sort=price&nonsense=1"
    page = client.get(address).content.decode()

    assert 'href="?q=linen&amp;max=40&amp;sort=price"' in page
    assert 'href="?q=linen&amp;colour=sage&amp;sort=price"' in page
    assert 'href="?q=linen&amp;sort=price"' in page
    assert "nonsense" not in page
    assert re.search(r'name="colour" value="sage" checked', page)
    assert re.search(r'name="material" value="linen">', page)
    assert 'type="hidden" name="q" value="linen"' in page


@pytest.mark.usefixtures("range_")
def test_choices_tell_what_would_remain() -> None:
    filters = Filters.read(QueryDict("colour=sage&stock=1&material=gold"))
    shown = Product.objects.published()

    assert [(c.value, c.size, c.chosen) for c in filters.colour_choices(shown)] == [
        ("sage", 0, True)
    ]
    assert [(c.value, c.size, c.chosen) for c in filters.material_choices(shown)] == [
        ("gold", 0, True),
        ("stoneware", 1, False),
    ]
    searched = Filters.read(QueryDict("q=linen")).material_choices(shown)
    assert [(c.value, c.size) for c in searched] == [("linen", 2)]


def test_pages_keep_the_filters(client: Client) -> None:
    for number in range(30):
        furnish(f"Mug{number:02}", colour="sage", price=number)
    page = client.get("/products/?colour=sage&min=2&page=2").content.decode()

    assert 'href="?colour=sage&amp;min=2&amp;page=1"' in page
    assert names(client, "/products/?colour=sage&min=2&page=2") == [
        f"Mug{number}" for number in range(26, 30)
    ]


@pytest.mark.usefixtures("range_")
@pytest.mark.parametrize("path", ["/", "/products/", "/category/kitchen/", "/photo/"])
@pytest.mark.parametrize(
    "query",
    [
        "page=x",
        "page=0",
        "page=-1",
        "page=" + "9" * 5000,
        "page=%00",
        "min=abc&max=%00",
        "min=NaN&max=sNaN",
        "min=-1&max=1e999999",
        "min=1e-999999",
        "max=Infinity",
        "q=%00",
        "q=alma%00%00",
        "q=%FF%FE",
        "q=%ED%A0%80",
        "q=%22%22%22%27%5C%28%29%26%7C%21%3A%2A",
        "q=" + "x" * 10_000,
        "q=" + "a+" * 5_000,
        "colour=" + "x" * 10_000,
        "colour=%00&material=%00",
        "&".join(f"colour={number}" for number in range(900)),
        "sort=%00&stock=%00",
        "sort=match",
        "sort=-rank",
        "q=<script>alert(1)</script>&colour=<script>alert(1)</script>",
    ],
)
def test_bad_parameters_give_a_page(client: Client, path: str, query: str) -> None:
    answer = client.get(f"{path}?{query}")

    assert answer.status_code == 200
    assert len(answer.content) < LIGHTEST_PAGE
    assert b"<script>" not in answer.content


def test_what_is_read_is_bounded() -> None:
    read = Filters.read(QueryDict(f"q=+a%00b+&min=5&max=2.50&colour={'x' * 900}&sort=match"))

    assert read.search == "a b"
    assert (read.lowest, read.highest) == (Decimal("2.50"), Decimal(5))
    assert read.colours == ("x" * 100,)
    assert read.sort == "match"
    assert Filters.read(QueryDict("sort=match")).sort == "name"


def test_empty_states(client: Client) -> None:
    assert "The shelves are still empty" in client.get("/").content.decode()
    assert "The shelves are still empty" in client.get("/products/").content.decode()
    bare = furnish("Alma", price="3")
    page = client.get("/products/?q=nothing").content.decode()
    assert "Nothing was found" in page
    assert "See all products" in page
    assert "Remove all filters" in client.get("/products/?colour=gold").content.decode()
    assert "There is no picture" in client.get(bare.get_absolute_url()).content.decode()


def test_home_has_a_picture_and_a_count_of_each_category(client: Client) -> None:
    mug = add("Mug", pictures=2)
    add("Hidden", published=False)
    page = client.get("/").content.decode()

    assert 'href="/category/kitchen/"' in page
    assert "1 product<" in page
    assert page.count(f'src="{mug.images.all()[0].original.url}"') == 2
    assert 'width="32" height="32"' in page
    assert 'name="q"' in page
    assert 'href="/photo/"' in page
    assert 'action="/photo/"' in page


@override_settings(USE_THOUSAND_SEPARATOR=True)
def test_numbers_are_grouped_for_people_alone(client: Client) -> None:
    mug = add("Mug")
    ProductImage.objects.update(width=1600, height=1200)
    Product.objects.update(price=4000)
    filtered = "/products/?min=1000&max=9000"
    look_alikes = reverse("look-alikes", args=[mug.images.get().pk])
    for address in ("/", filtered, mug.get_absolute_url(), look_alikes):
        page = client.get(address).content.decode()
        assert 'width="1600" height="1200"' in page, address
        assert not re.search(r'"\d+,\d+"', page), address
    listed = client.get(filtered).content.decode()
    assert 'value="1000"' in listed
    assert 'value="9000"' in listed
    assert "€4,000.00" in listed


def test_a_product_tells_its_facts_and_its_stock(client: Client) -> None:
    mug = add("Mug", pictures=3, stock=3)
    Product.objects.update(colour="sage & rust", material="stoneware", price="12.50")
    page = client.get(mug.get_absolute_url()).content.decode()

    assert "€12.50" in page
    assert "Only 3 left" in page
    assert 'href="/products/?colour=sage%20%26%20rust"' in page
    assert 'href="/products/?material=stoneware"' in page
    assert "nothing can be bought" in page
    for image in mug.images.all():
        assert f'href="/look-alikes/{image.pk}/"' in page
    Product.objects.update(stock=9)
    assert "In stock" in client.get(mug.get_absolute_url()).content.decode()


def test_look_alikes_of_one_picture(client: Client) -> None:
    mug, bowl = add("Mug", pictures=2), add("Bowl")
    add("Gone", stock=0)
    image = mug.images.all()[1]
    address = f"/look-alikes/{image.pk}/"
    assert "Nothing to compare yet" in client.get(address).content.decode()

    call_command("encode_images")
    page = client.get(address).content.decode()

    assert f'src="{image.original.url}"' in page
    assert names(client, address) == ["Bowl"]
    assert bowl.images.get().original.url in page
    Product.objects.filter(pk=mug.pk).update(published=False)
    for missing in (address, "/look-alikes/0/", f"/look-alikes/{'9' * 30}/", "/look-alikes/x/"):
        assert client.get(missing).status_code == 404


def photo(colour: str) -> SimpleUploadedFile:
    data = BytesIO()
    Image.new("RGB", (64, 64), colour).save(data, "PNG")
    return SimpleUploadedFile("photo.png", data.getvalue())


def test_the_photo_page_has_samples_of_what_can_be_bought(client: Client, street: Path) -> None:
    assert "data-sample" not in client.get("/photo/").content.decode()

    for name, facts in {"Mug": {}, "Hidden": {"published": False}, "Gone": {"stock": 0}}.items():
        product = add(name)
        Product.objects.filter(pk=product.pk).update(reference=name.lower(), **facts)
    sight(
        street,
        "street/a.jpg,hidden,0.3,0.2,0.5,0.75",
        "street/a.jpg,gone,0.2,0.2,0.5,0.75",
        "street/a.jpg,mug,0.1,0.2,0.5,0.75",
        "street/a.jpg,mug,0.9,0.2,0.5,0.75",
        "street/a.jpg,mug,nan,0.2,0.5,0.75",
        "street/a.jpg,mug",
        "street/broken.jpg,mug,0.1,0.2,0.5,0.75",
        "street/missing.jpg,mug,0.1,0.2,0.5,0.75",
        "../outside.jpg,mug,0.1,0.2,0.5,0.75",
    )
    page = client.get("/photo/").content.decode()

    assert page.count('src="/photo/street/a.jpg"') == page.count("<li><a href=") == 1
    assert 'alt="A home with Mug" width="300" height="200"' in page
    assert 'data-crop="0.1000,0.2000,0.5000,0.7500"' in page
    assert '<rect x="0.1000" y="0.2000" width="0.4000" height="0.5500"/>' in page
    assert "Hidden" not in page
    assert "Gone" not in page
    call_command("encode_images")
    assert names(client, "/photo/?sample=a") == ["Mug"]
    assert names(client, "/photo/?sample=a&max_price=1") == []
    sight(street, "street/a.jpg,mug", header="file,product")
    assert street_photos.read() == []
    (street / "street.csv").write_bytes(b"\xff\xfe\x00")
    assert street_photos.read() == []


def test_a_photo_finds_products_that_can_be_bought(client: Client) -> None:
    add("Mug")
    bowl = add("Bowl")
    add("Hidden", published=False)
    add("Gone", stock=0)
    lamps = Category.objects.create(name="Lamps", slug="lamps")
    Product.objects.filter(pk=bowl.pk).update(category=lamps, colour="sage", price="14")
    call_command("encode_images")

    def found(**form: str) -> set[str]:
        answer = client.post("/photo/", {"image": photo("brown"), **form})
        assert answer.status_code == 200
        return set(re.findall(r'<span class="name">(.*?)</span>', answer.content.decode()))

    assert found() == {"Mug", "Bowl"}
    assert found(category="lamps") == found(colour="sage") == {"Bowl"}
    assert found(min_price="10", max_price="14.00") == {"Bowl"}
    assert found(category="kitchen", colour="sage") == set()
    page = client.get("/photo/").content.decode()
    assert re.findall(r'<option value="(\w+)"', page) == ["kitchen", "lamps", "sage"]
    assert client.post("/photo/", {"image": photo("brown"), "stock": "0"}).status_code == 400


def test_only_sample_photos_are_served(client: Client, street: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.jpg").write_text("outside")
    (street / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    box = "mug,0,0,1,1"
    sight(street, f"street/a.jpg,{box}", f"link.jpg,{box}", f"../outside.jpg,{box}")
    answer = client.get("/photo/street/a.jpg")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/jpeg"
    answer.close()
    for file in (
        *("secret.txt", "street.csv", "street/broken.jpg", "link.jpg", "%00"),
        *("../outside.jpg", "..%2foutside.jpg", "/etc/passwd", "street/", "a" * 5000),
    ):
        assert client.get(f"/photo/{file}").status_code == 404


def test_the_404_has_a_search(client: Client) -> None:
    page = client.get("/nothing/").content.decode()

    assert page.count('name="q"') == 2
    assert page.count('id="missing"') == 1


@override_settings(DEBUG_PROPAGATE_EXCEPTIONS=False)
def test_the_500_stands_alone(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(asked: QueryDict) -> Filters:
        raise RuntimeError

    monkeypatch.setattr(Filters, "read", fail)
    client.raise_request_exception = False
    answer = client.get("/products/")

    assert answer.status_code == 500
    assert "Something went wrong" in answer.content.decode()


def test_pages_are_light(client: Client) -> None:
    mug = add("Mug", pictures=4)
    for number in range(40):
        product = add(f"Plate{number}")
        product.colour, product.material, product.price = f"c{number}", f"m{number}", number
        product.save()
    call_command("encode_images")
    pk = ProductImage.objects.filter(product=mug).values_list("pk", flat=True)[0]
    lists = ("/products/", "/products/?q=plate&colour=c1&min=1", "/category/kitchen/?page=2")
    for address in ("/", *lists, mug.get_absolute_url(), f"/look-alikes/{pk}/", "/photo/"):
        assert queries(client, address) <= MOST_QUERIES
        weight = len(client.get(address).content)
        own = ("shop/shop.css", "shop/icon.svg", "cardigan_reco/shelf.css")
        for file in (*own, "cardigan_reco/photo-search.css", "cardigan_reco/photo-search.js"):
            weight += len(b"".join(client.get(f"/static/{file}")))
        assert weight < LIGHTEST_PAGE
