"""Whatever is asked, nothing comes that isn't published. CARDIGAN_FULL=1 asks 10,000 times."""

from __future__ import annotations

import math
import os
import random
from typing import Any

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from pytest_django import Settings

from cardigan_reco.models import EncoderVersion
from tests.conftest import jpeg
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import ProductImageEmbedding

pytestmark = pytest.mark.django_db

QUESTIONS = 10_000 if os.environ.get("CARDIGAN_FULL") else 300


@pytest.fixture
def crowd() -> list[Product]:
    """Saves 300 products of which half are hidden, or variants, among near and far neighbours."""
    chance = random.Random(7)
    version = EncoderVersion.objects.current("default")
    parents = Product.objects.bulk_create(
        Product(title=f"item {n}", is_public=n % 2 == 0, shelf=n % 7) for n in range(280)
    )
    variants = Product.objects.bulk_create(
        Product(title="variant", parent=parent, shelf=3) for parent in parents[:20]
    )
    products = parents + variants
    sources = ProductImage.objects.bulk_create(
        ProductImage(product=product, original="x.jpg", caption=chance.choice(["", "a", "b"]))
        for product in products
        for _ in range(chance.choice([1, 1, 3]))
    )
    ProductImageEmbedding.objects.bulk_create(
        ProductImageEmbedding(
            source=source, vector=direction(chance), digest="0" * 64, encoder_version=version
        )
        for source in sources
    )
    # Autovacuum may have looked at these tables while they were empty, and plans are made by that.
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return products


def direction(chance: random.Random) -> list[float]:
    values = [abs(chance.gauss()) for _ in range(16)]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


def query(chance: random.Random) -> str:
    """Returns parameters, most of them allowed, some of them odd or hostile."""
    given = QueryDict(mutable=True)
    for name, values in {
        "limit": [1, 8, 50, 100],
        "page": [1, 1, 2, 3],
        "min_similarity": [0, 0.3, 0.9],
        "shelf": [*range(7), "", "x"],
        "max_shelf": [0, 3, 9],
        "title": ["item", "1", "variant", "%", "' OR 1=1 --"],
        "caption": ["a", "b", ""],
        "is_public": [0],
        "parent": [1],
        "is_public__in": ["0,1"],
    }.items():
        often = 0.02 if name in ("is_public", "parent", "is_public__in") else 0.25
        while chance.random() < often:
            given.appendlist(name, str(chance.choice(values)))
    return given.urlencode()


def test_nothing_hidden_is_ever_in_an_answer(
    crowd: list[Product], client: Client, settings: Settings
) -> None:
    # However slow the machine is, an answer is an answer.
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH_TIMEOUT_SECONDS": 60}
    chance = random.Random(2018)
    shown = set(Product.objects.filter(is_public=True, parent=None).values_list("pk", flat=True))
    answers = items = 0
    for number in range(QUESTIONS):
        if number % 5:
            pk = chance.choice(crowd).pk
            response: Any = client.get(f"/unlimited/{pk}/similar/?{query(chance)}")
            assert response.status_code in ((200, 400) if pk in shown else (400, 404))
        else:
            photo = jpeg(tuple(chance.randrange(256) for _ in range(3)))  # type: ignore[arg-type]
            response = client.post(
                f"/unlimited/search/?{query(chance)}", photo, content_type="image/jpeg"
            )
            assert response.status_code in (200, 400)
        if response.status_code == 200:
            found = {result["item"]["id"] for result in response.json()["results"]}
            assert found <= shown
            answers, items = answers + 1, items + len(found)
    assert answers > QUESTIONS * 0.15
    assert items > QUESTIONS
