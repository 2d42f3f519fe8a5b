"""{% similar_products %} in a page."""

from __future__ import annotations

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.db.models import Prefetch
from django.db.models.expressions import RawSQL
from django.template import Context, Template, TemplateSyntaxError
from django.test import override_settings
from django.utils.html import escape
from pytest_django import Settings

from tests.conftest import BLUE, GREEN, ORANGE, RED, AddProduct, encode_all, jpeg
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import Poster

pytestmark = pytest.mark.django_db
LOAD = "{% load cardigan_reco %}"


def render(text: str, **context: object) -> str:
    return Template(LOAD + text).render(Context(context))


@pytest.fixture
def red(add_product: AddProduct) -> Product:
    product = add_product("red", RED)
    for title, colour in [("orange", ORANGE), ("green", GREEN), ("blue", BLUE)]:
        add_product(title, colour)
    encode_all()
    return product


def test_a_shelf_of_linked_pictures(red: Product) -> None:
    html = render("{% similar_products product limit=2 %}", product=red)
    orange = Product.objects.get(title="orange")
    assert f'href="/products/{orange.pk}/"' in html
    assert f'<img src="/media/{orange.images.get().original.name}" alt="orange"' in html
    assert html.count("<li ") == 2
    assert html.index("orange") < html.index("green")
    assert "Similar products</h2>" in html


def test_items_for_the_shops_own_markup(red: Product) -> None:
    html = render(
        "{% similar_products product limit=2 as items %}"
        "{% for item in items %}{{ item.title }} {{ item.similarity|floatformat:1 }};{% endfor %}",
        product=red,
    )
    first, second, rest = html.split(";")
    assert first.startswith("orange 0.")
    assert second.startswith("green 0.")
    assert rest == ""


def test_options_reach_the_search(red: Product) -> None:
    html = render(
        '{% similar_products product within=public min_similarity=0.1 heading="More" %}',
        product=red,
        public=Product.objects.filter(title="blue"),
    )
    assert "More</h2>" in html
    assert html.count("<li ") == 1


def test_another_collection() -> None:
    for title, colour in [("a", RED), ("b", BLUE)]:
        Poster.objects.create(title=title, image=ContentFile(jpeg(colour), name="p.jpg"))
    encode_all()
    html = render(
        '{% similar_products poster collection="posters" %}', poster=Poster.objects.get(title="a")
    )
    assert 'alt="b"' in html
    assert "href" not in html.split("<ul", 1)[1]


def test_nothing_similar_renders_nothing(add_product: AddProduct) -> None:
    assert render("{% similar_products product %}", product=add_product("new")).strip() == ""


def test_names_are_escaped(red: Product) -> None:
    evil = '<script>alert("x")</script>'
    Product.objects.filter(title="orange").update(title=evil)
    html = render("{% similar_products product heading=evil %}", product=red, evil=evil)
    assert "<script" not in html
    assert html.count(escape(evil)) == 4


def test_the_template_can_be_overridden(red: Product) -> None:
    own = "{% for entry in shelf %}{{ entry.item }}|{% endfor %}{{ shop }}"
    engine = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.locmem.Loader",
                    {"cardigan_reco/similar_products.html": own},
                )
            ]
        },
    }
    with override_settings(TEMPLATES=[engine]):
        html = render("{% similar_products product limit=1 %}", product=red, shop="Mine")
    assert html == "orange|Mine"


@pytest.mark.parametrize("debug", [False, True])
def test_a_broken_database_leaves_the_page_alone_in_production(
    red: Product, debug: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE testapp_productimageembedding RENAME TO elsewhere")
    with override_settings(DEBUG=debug):
        if debug:
            with pytest.raises(Exception, match="testapp_productimageembedding"):
                render("{% similar_products product %}", product=red)
        else:
            assert render("a{% similar_products product %}b", product=red) == "ab"
            assert f"No similar products for Product {red.pk}" in caplog.text
    assert Product.objects.count() == 4  # The caller's transaction lives.


@pytest.mark.parametrize("cache", [None, "default"])
@pytest.mark.parametrize("broken", ["pairs", "items", "pictures"])
def test_whatever_of_a_shelf_fails_spares_the_transaction_of_the_page(
    red: Product, settings: Settings, cache: str | None, broken: str
) -> None:
    """As with ATOMIC_REQUESTS."""
    own = {"SHELF_CACHE": cache, "DUPLICATES": {}}
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, **own}
    within = Product.objects.all()
    if broken == "pairs":
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE cardigan_reco_duplicatepair RENAME TO elsewhere")
    elif broken == "items":
        within = within.select_for_update().annotate(nothing=RawSQL("1 / (id - id)", []))
    else:
        within = within.prefetch_related(
            Prefetch("images", ProductImage.objects.extra(where=["1 / (id - id) = 1"]))
        )
    text = "a{% similar_products product within=within %}b"
    assert render(text, product=red, within=within) == "ab"
    assert Product.objects.count() == 4


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("{% similar_products %}", "needs an item, as in {% similar_products product limit=8 %}"),
        ("{% similar_products product size=3 %}", "doesn't know 'size'. Choices are: within=,"),
        ("{% similar_products product 8 %}", "doesn't know '8'. Choices are: within=, limit=,"),
    ],
)
def test_a_wrong_tag_is_a_syntax_error(tag: str, message: str) -> None:
    with pytest.raises(TemplateSyntaxError, match=message):
        render(tag)
