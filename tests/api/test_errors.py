"""What a client is told when the server fails, and what is logged."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import DataError, InterfaceError
from django.http import UnreadablePostError
from django.test import Client
from pytest_django import Settings

from cardigan_reco import recommendations
from cardigan_reco import search as service
from cardigan_reco.api import openapi
from cardigan_reco.exceptions import Busy, EncoderError, MissingExtra
from tests.api.conftest import Search, names
from tests.conftest import RED, jpeg
from tests.testapp.catalogue.models import Product
from tests.testapp.models import ProductImageEmbedding

pytestmark = pytest.mark.django_db


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(service, "by_image", fail)
    monkeypatch.setattr(recommendations, "similar_to", fail)


def test_busy_says_when_to_come_again(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, Busy("No worker of the queue 'secret' answered in 5 s.", 7))
    response = search()
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "7"
    assert response.json() == {
        "detail": "Too many photos are being searched by. Try again soon.",
        "code": "busy",
        "request_id": response.headers["X-Request-ID"],
    }


@pytest.mark.parametrize(
    "error",
    [
        EncoderError("Weights /secret are missing."),
        MissingExtra("Encoding /secret", "torch"),
        InterfaceError("connection to /secret is closed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_server_lacks_is_logged_and_not_told(
    search: Search,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    failing(monkeypatch, error)
    with caplog.at_level(logging.ERROR, "cardigan_reco"):
        response = search()
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    answer = response.json()
    assert answer["code"] == "unavailable"
    assert "secret" not in answer["detail"]
    (record,) = [record for record in caplog.records if record.name.startswith("cardigan_reco")]
    assert "/secret" in record.message
    assert answer["request_id"] in record.message
    assert record.exc_info is None


def test_a_search_that_takes_too_long(
    shop: dict[str, Product],
    client: Client,
    search: Search,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH_TIMEOUT_SECONDS": 0.1}
    slow = Product.objects.extra(where=["pg_sleep(5) IS NOT NULL"])
    with monkeypatch.context() as patched:
        patched.setattr(ProductImageEmbedding, "candidates", lambda: slow)
        response = search()
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert names(search(limit=1)) == ["mug"]


@pytest.mark.parametrize("error", [DataError("x"), UnreadablePostError("x")])
def test_what_slips_through_is_the_clients_fault(
    search: Search, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing(monkeypatch, error)
    response = search()
    assert (response.status_code, response.json()["code"]) == (400, "invalid")


def test_a_mistake_of_the_shop_is_not_hidden(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, LookupError("Collection 'x' is not defined."))
    with pytest.raises(LookupError):
        search()


def test_the_shops_own_handler_of_errors_has_its_way(search: Search, settings: Settings) -> None:
    settings.REST_FRAMEWORK = {"EXCEPTION_HANDLER": "tests.api.test_errors.handle"}
    response = search(b"no picture")
    assert response.status_code == 400
    assert response.json() == ["unsupported_format"]


def handle(exc: Any, context: object) -> Any:
    from rest_framework.response import Response

    return Response([exc.get_codes()], status=exc.status_code)


def test_a_broken_form(client: Client) -> None:
    for body, content_type in (
        (b"", "multipart/form-data; boundary=x"),
        (b"nonsense", "multipart/form-data; boundary=x"),
        (b"nonsense", "multipart/form-data"),
        (b"nonsense", "multipart/form-data; boundary=" + "x" * 210),
        (b"nonsense", "multipart/form-data; boundary=x; charset=bz2"),
        (b"--x\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\nabc", MULTIPART),
        (
            b"--x\r\nContent-Disposition: form-data; name=image; filename=a\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n!!!\r\n--x--\r\n",
            MULTIPART,
        ),
    ):
        response = client.generic("POST", "/visual/search/", body, content_type=content_type)
        assert response.status_code == 400, (body, content_type)
        assert response.json()["code"] in ("parse_error", "invalid_image", "unsupported_format")


MULTIPART = "multipart/form-data; boundary=x"


def test_fields_that_are_too_large(client: Client) -> None:
    response = client.post("/visual/search/", {"crop": "x" * 3_000_000})
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_more_bytes_than_are_allowed(client: Client, search: Search, settings: Settings) -> None:
    data = jpeg(RED)
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "MAX_IMAGE_BYTES": len(data)}
    assert search(data).status_code == 200
    for size in (1, 100_000):
        for response in (
            search(data + bytes(size)),
            client.post("/visual/search/", data + bytes(size), content_type="image/jpeg"),
        ):
            assert (response.status_code, response.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "address", "headers", "status", "code"),
    [
        ("GET", "/visual/search/", {}, 405, "method_not_allowed"),
        ("POST", "/visual/search/", {"accept": "text/html"}, 406, "not_acceptable"),
        ("POST", "/staff/search/", {}, 403, "not_authenticated"),
        ("POST", "/basic/search/", {}, 401, "not_authenticated"),
        ("POST", "/basic/search/", {"authorization": "Basic x"}, 401, "authentication_failed"),
    ],
)
def test_what_drf_refuses_has_the_code_that_is_documented(
    client: Client, method: str, address: str, headers: dict[str, str], status: int, code: str
) -> None:
    response = client.generic(method, address, headers=headers)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert is_documented(status, code)


def test_described_codes_are_documented() -> None:
    for status, examples in openapi._ERRORS.items():
        assert [code for code, _detail in examples if not is_documented(status, code)] == []


def is_documented(status: int, code: str) -> bool:
    text = (Path(__file__).parents[2] / "docs/api.md").read_text()
    return bool(re.search(rf"^\|[^|]*{status}[^|]*\|[^|]*`{code}`", text, re.MULTILINE))


def test_without_drf_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("cardigan_reco.api")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rest_framework", None)
    with pytest.raises(MissingExtra, match=r"pip install 'cardigan-reco\[drf\]'"):
        __import__("cardigan_reco.api.urls")
