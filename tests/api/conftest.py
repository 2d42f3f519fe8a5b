"""A shop with three coloured products, and a client that sends photos to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from tests.conftest import BLUE, GREEN, ORANGE, RED, AddProduct, encode_all, jpeg
from tests.testapp.catalogue.models import Product

Search = Callable[..., Any]


@pytest.fixture(autouse=True)
def endpoints(settings: Settings) -> Iterator[None]:
    settings.ROOT_URLCONF = "tests.api.urls"
    cache.clear()  # The throttle's counts.
    yield
    cache.clear()


@pytest.fixture
def shop(db: None, add_product: AddProduct) -> dict[str, Product]:
    """Saves and encodes a red mug, a cup in orange and blue, a green bowl, and a hidden red one."""
    products = {
        "mug": add_product("mug", RED, shelf=1),
        "cup": add_product("cup", ORANGE, BLUE, shelf=2),
        "bowl": add_product("bowl", GREEN, shelf=3),
        "hidden": add_product("hidden", RED, is_public=False),
    }
    encode_all()
    return products


@pytest.fixture
def search(client: Client) -> Search:
    """Returns a function that sends a photo in a form, with other fields and headers."""

    def send(
        picture: bytes | None = None,
        address: str = "/visual/search/",
        *,
        name: str = "photo.jpg",
        content_type: str = "image/jpeg",
        headers: dict[str, str] | None = None,
        **fields: object,
    ) -> Any:
        file = SimpleUploadedFile(name, jpeg(RED) if picture is None else picture, content_type)
        return client.post(address, {"image": file, **fields}, headers=headers)

    return send


def names(response: Any) -> list[str]:
    """Returns the names of the items of an answer, in order."""
    assert response.status_code == 200, response.content
    items = [result["item"] for result in response.json()["results"]]
    return [item.get("name") or item["title"] for item in items]
