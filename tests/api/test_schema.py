"""The OpenAPI description is sound, and the endpoints keep to it.

CARDIGAN_FULL=1 lets schemathesis try 1,000 requests an endpoint and kind.
"""

from __future__ import annotations

import os
from io import StringIO
from typing import Any

import pytest
import schemathesis
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.management.commands.spectacular import Command
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from tests.api import urls
from tests.conftest import RED, jpeg
from tests.testapp.catalogue.models import Product

IS_FULL = bool(os.environ.get("CARDIGAN_FULL"))
EXAMPLES = 1_000 if IS_FULL else 40


@pytest.fixture(autouse=True)
def described(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    settings.REST_FRAMEWORK = {
        "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
        "DEFAULT_THROTTLE_RATES": {"photo_search": None, "similar": None},
    }


def description() -> Any:
    return SchemaGenerator(patterns=urls.urlpatterns).get_schema(request=None, public=True)


def test_it_is_valid_and_raises_no_warning() -> None:
    written = StringIO()
    call_command(Command(), validate=True, fail_on_warn=True, stdout=written)
    assert "/visual/search/" in written.getvalue()


def test_it_says_how_a_photo_may_be_sent() -> None:
    operation = description()["paths"]["/visual/search/"]["post"]
    bodies = operation["requestBody"]["content"]
    assert set(bodies) == {
        *("multipart/form-data", "image/jpeg", "image/png", "image/webp"),
        "application/octet-stream",
    }
    assert bodies["image/jpeg"]["schema"] == {"type": "string", "format": "binary"}
    form = bodies["multipart/form-data"]["schema"]
    assert form["required"] == ["image"]
    assert set(form["properties"]) == {"image", "crop", "limit", "page", "min_similarity"}
    parameters = [parameter["name"] for parameter in operation["parameters"]]
    assert sorted(parameters) == ["crop", "limit", "min_similarity", "page"]
    assert set(operation["responses"]) == {
        *("200", "400", "401", "403", "406", "413", "415", "429", "503")
    }
    examples = operation["responses"]["400"]["content"]["application/json"]["examples"]
    codes = {example["value"]["code"] for example in examples.values()}
    assert {"invalid_image", "unsupported_format", "too_many_pixels", "unknown_filter"} < codes


def test_it_knows_the_filters_and_the_serializer_of_a_shop() -> None:
    written = description()
    operation = written["paths"]["/shop/search/"]["post"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert set(urls.FILTERS) < names
    assert set(urls.FILTERS) < set(
        operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    )
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/ProductMatches"}
    match = written["components"]["schemas"]["ProductMatch"]["properties"]
    assert match["item"]["$ref"] == "#/components/schemas/Product"
    operation = written["paths"]["/filterset/search/"]["post"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert {"title", "shelf_min", "shelf_max"} < names


@pytest.mark.parametrize(
    ("path", "name", "kind"),
    [
        ("/visual/{id}/similar/", "id", "integer"),
        ("/tenant/{id}/similar/", "id", "integer"),
        ("/titled/{title}/similar/", "title", "string"),
        ("/slugs/{slug}/similar/", "slug", "string"),
    ],
)
def test_it_says_which_key_finds_an_item(path: str, name: str, kind: str) -> None:
    parameters = description()["paths"][path]["get"]["parameters"]
    keys = {one["name"]: one["schema"]["type"] for one in parameters if one["in"] == "path"}
    assert keys == {name: kind}


@pytest.mark.django_db(transaction=True)  # Each request closes its connection.
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", ["/visual/search/", "/visual/{id}/similar/", "/shop/search/"])
def test_the_endpoints_keep_to_it(
    shop: dict[str, Product], path: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_dict(description())
    schema.app = get_wsgi_application()
    (operation,) = schema[path].values()
    passed: list[int] = []

    @hypothesis_settings(
        max_examples=EXAMPLES,
        derandomize=not IS_FULL,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode), st.booleans())
    def keeps(case: Any, is_real: bool) -> None:
        # Whether bytes are a picture, left is before right, and an item exists, it can't say.
        unfit = [checks.positive_data_acceptance]
        if is_real and "id" in case.path_parameters:
            case.path_parameters["id"] = str(shop["mug"].pk)
            if [] in (case.query or {}).values():  # Which isn't sent: what is may all be right.
                unfit.append(checks.negative_data_rejection)
        if is_real and mode is GenerationMode.POSITIVE and case.method == "POST":
            case.query = {}
            case.body = {"image": jpeg(RED)} if isinstance(case.body, dict) else jpeg(RED)
            unfit.append(checks.negative_data_rejection)  # It takes ours for damaged.
        response = case.call_and_validate(excluded_checks=unfit)
        passed.append(response.status_code)

    keeps()
    if mode is GenerationMode.POSITIVE:
        assert 200 in passed
