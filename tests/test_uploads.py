"""Uploads stay in memory, within their limits, whatever the client says of them."""

from __future__ import annotations

import tempfile
from io import BytesIO
from typing import Any

import pytest
from django.core.files.uploadedfile import InMemoryUploadedFile, SimpleUploadedFile
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.test import RequestFactory
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from pytest_django import Settings

from cardigan_reco import uploads
from cardigan_reco.exceptions import ImageTooLarge, InvalidUpload

LIMIT = 100_000


@pytest.fixture(autouse=True)
def limit(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "MAX_IMAGE_BYTES": LIMIT}
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("A file was made on the disk.")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    monkeypatch.setattr("django.core.files.uploadedfile.tempfile.NamedTemporaryFile", refuse)


class Counting(BytesIO):
    """A connection that tells how much was read of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def form(**fields: Any) -> bytes:
    return encode_multipart(BOUNDARY, fields)


def file(size: int, name: str = "secret-name.jpg") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, bytes(size), "text/html")


def chunked(body: BytesIO, content_type: str = MULTIPART_CONTENT) -> HttpRequest:
    """Returns a request without a length, as gunicorn hands it over."""
    environ = RequestFactory()._base_environ(
        REQUEST_METHOD="POST", CONTENT_TYPE=content_type, HTTP_TRANSFER_ENCODING="chunked"
    )
    environ.pop("CONTENT_LENGTH", None)
    return WSGIRequest({**environ, "wsgi.input": body, "wsgi.input_terminated": True})


def test_a_file_of_the_largest_size_is_held_in_memory() -> None:
    request = RequestFactory().post("/", {"image": file(LIMIT), "crop": "0,0,1,1"})
    uploads.bound(request)
    held = request.FILES["image"]
    assert isinstance(held, InMemoryUploadedFile)
    assert held.read() == bytes(LIMIT)
    assert (held.name, held.content_type, held.size) == ("image", None, LIMIT)
    assert request.POST["crop"] == "0,0,1,1"


def test_without_it_django_would_write_to_the_disk() -> None:
    request = RequestFactory().post("/", {"image": file(LIMIT)})
    with pytest.raises(AssertionError, match="on the disk"):
        request.FILES  # noqa: B018


def test_one_byte_more_is_too_large() -> None:
    request = RequestFactory().post("/", {"image": file(LIMIT + 1)})
    uploads.bound(request)
    with pytest.raises(ImageTooLarge, match="more than the 100000 bytes that are allowed"):
        request.FILES  # noqa: B018
    assert dict(request.POST) == {}  # A second look doesn't read on.


def test_what_is_announced_as_too_large_is_not_read() -> None:
    body = Counting(form(image=file(LIMIT + uploads.FORM_BYTES)))
    request = RequestFactory().post("/", {"image": file(1)})
    request.META.update({"CONTENT_LENGTH": str(len(body.getvalue())), "wsgi.input": body})
    with pytest.raises(ImageTooLarge):
        uploads.bound(request)
    assert body.taken == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": [file(1), file(1)]}, "one picture at a time"),
        ({"image": file(1), "other": file(1)}, "in the field 'image', and no other file"),
        ({"other": file(1)}, "in the field 'image', and no other file"),
        ({f"field{number}": "" for number in range(51)}, "more than 50 fields"),
        ({"field": ["x"] * 51}, "more than 50 fields"),
        ({"image": file(1), "field": ["é" * 30_000] * 2}, "fields have more than 65536 bytes"),
    ],
)
def test_other_forms_are_refused(fields: dict[str, Any], message: str) -> None:
    request = RequestFactory().post("/", fields)
    uploads.bound(request)
    with pytest.raises(InvalidUpload, match=message):
        request.FILES  # noqa: B018


class TestWithoutALength:
    def test_a_form_is_read(self) -> None:
        request = chunked(BytesIO(form(image=file(LIMIT), crop="0,0,1,1")))
        uploads.bound(request)
        assert request.FILES["image"].size == LIMIT
        assert request.POST["crop"] == "0,0,1,1"

    def test_a_body_is_read(self) -> None:
        request = chunked(BytesIO(b"picture"), "image/jpeg")
        uploads.bound(request)
        assert request.read() == b"picture"

    def test_a_large_form_is_read_no_further_than_allowed(self) -> None:
        body = Counting(form(image=file(50 * LIMIT)))
        request = chunked(body)
        uploads.bound(request)
        assert body.taken == 0
        with pytest.raises(ImageTooLarge):
            request.FILES  # noqa: B018
        assert body.taken <= LIMIT + uploads.FORM_BYTES

    def test_a_large_body_ends_early(self) -> None:
        body = Counting(bytes(50 * LIMIT))
        request = chunked(body, "image/jpeg")
        uploads.bound(request)
        assert len(request.read()) == body.taken == LIMIT + uploads.FORM_BYTES

    def test_a_server_that_does_not_end_the_body_is_not_asked(self) -> None:
        body = Counting(form(image=file(1)))
        request = chunked(body)
        del request.META["wsgi.input_terminated"]
        uploads.bound(request)
        assert dict(request.FILES) == {}
        assert body.taken == 0

    @pytest.mark.parametrize("size", [10, LIMIT * 2])
    def test_asgi(self, size: int) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": [(b"content-type", MULTIPART_CONTENT.encode())],
            "query_string": b"",
        }
        request = ASGIRequest(scope, BytesIO(form(image=file(size))))
        if size > LIMIT:
            with pytest.raises(ImageTooLarge):
                uploads.bound(request)
        else:
            uploads.bound(request)
            assert request.FILES["image"].size == size


def test_a_form_that_is_read_already_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    request = RequestFactory().post("/visual/", {"crop": "x"})
    assert request.POST["crop"] == "x"
    uploads.bound(request)
    assert "A middleware read the form at /visual/" in caplog.text


@pytest.mark.parametrize("length", ["", "x", "-5"])
def test_lengths_that_are_none(length: str) -> None:
    request = RequestFactory().post("/", {"image": file(1)})
    request.META["CONTENT_LENGTH"] = length
    uploads.bound(request)
