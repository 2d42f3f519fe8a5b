"""A photo's way into the process: in memory, one at a time, and no more bytes than are allowed."""

from __future__ import annotations

import logging
import os
from io import BytesIO
from typing import Any

from django.core.files.uploadedfile import InMemoryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopFutureHandlers
from django.core.handlers.wsgi import LimitedStream
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser
from django.utils.datastructures import MultiValueDict

from . import conf
from .exceptions import ImageTooLarge, InvalidUpload

FIELD = "image"
"""The one field of a form that may hold a file."""
MAX_FIELDS = 50
"""Other values of a form: a crop, a limit, filters."""
FORM_BYTES = 64 * 1024
"""What a body may have beside the file: fields, boundaries, headers."""

logger = logging.getLogger(__name__)


def bound(request: HttpRequest) -> None:
    """Keeps the upload of this request in memory, and within its limits. Nothing is read yet.

    Call it before anything looks at request.POST, FILES or body: a view that Django protects
    against CSRF is csrf_exempt outside and csrf_protect inside, after this call.

    Raises ImageTooLarge when the client announces too much. Reading request.POST or FILES after it
    raises ImageTooLarge as soon as too much has come, and InvalidUpload for a second file, a file
    outside of "image" or too many or too long fields; what Django raises for a broken form stays
    the same. The file's name and content type, which the client made up, are dropped, and so is the
    charset that it names: all is UTF-8.
    """
    limit = conf.current().max_image_bytes
    if hasattr(request, "_files"):
        logger.warning(
            "A middleware read the form at %s before its size could be bounded.",
            request.path,
            extra={"path": request.path},
        )
        return
    request.upload_handlers = [_Form(request, limit)]
    request.encoding = _CHARSET  # By "zlib" nothing is decoded, by "unicode_escape" surrogates are.
    _measure(request, limit + FORM_BYTES)
    if _announced(request) > limit + FORM_BYTES:
        raise _too_large(limit)


class _Form(FileUploadHandler):
    """Parses the whole form, then counts its fields, of which handlers aren't told."""

    def __init__(self, request: HttpRequest, limit: int) -> None:
        super().__init__(request)
        self.limit = limit

    def handle_raw_input(
        self,
        input_data: Any,
        META: dict[str, str],  # noqa: N803  Django passes it by position, and calls it so.
        content_length: int,
        boundary: Any,
        encoding: str | None = None,
    ) -> tuple[QueryDict, MultiValueDict[str, Any]]:
        handler = _Memory(self.request, self.limit)
        fields, files = MultiPartParser(META, input_data, [handler], _CHARSET).parse()
        held = [(name, value) for name, values in fields.lists() for value in values]
        if len(held) > MAX_FIELDS:
            raise InvalidUpload(f"The form has more than {MAX_FIELDS} fields.")
        if sum(len(name.encode()) + len(value.encode()) for name, value in held) > FORM_BYTES:
            raise InvalidUpload(f"The form's fields have more than {FORM_BYTES} bytes.")
        return fields, files


class _Memory(FileUploadHandler):
    """Holds the one file."""

    def __init__(self, request: HttpRequest | None, limit: int) -> None:
        super().__init__(request)
        self.limit = limit
        self.held: BytesIO | None = None

    def new_file(self, field_name: str, *args: Any, **kwargs: Any) -> None:
        if field_name != FIELD:
            raise InvalidUpload(f"Send the picture in the field {FIELD!r}, and no other file.")
        if self.held is not None:
            raise InvalidUpload("Send one picture at a time.")
        self.held = BytesIO()
        raise StopFutureHandlers

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if start + len(raw_data) > self.limit:
            raise _too_large(self.limit)
        if self.held is not None:
            self.held.write(raw_data)

    def file_complete(self, file_size: int) -> InMemoryUploadedFile | None:
        if self.held is None:
            return None
        self.held.seek(0)
        return InMemoryUploadedFile(self.held, FIELD, FIELD, None, file_size, None)


def _announced(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def _measure(request: HttpRequest, most: int) -> None:
    """Gives a length to a body that came without one, which Django would take for empty.

    Such a body is chunked, and is cut after `most` bytes, which are too many for the file in it.
    """
    if request.META.get("CONTENT_LENGTH") or request.content_type == _URLENCODED:
        return
    stream = getattr(request, "_stream", None)
    if request.META.get("wsgi.input_terminated"):
        bounded: Any = LimitedStream(request.META["wsgi.input"], most)
        request._stream = bounded
        request.META["CONTENT_LENGTH"] = str(most)
    elif stream is not None and stream.seekable():  # ASGI: the server has it all.
        request.META["CONTENT_LENGTH"] = str(stream.seek(0, os.SEEK_END))
        stream.seek(0)


_CHARSET = "utf-8"
_URLENCODED = "application/x-www-form-urlencoded"


def _too_large(limit: int) -> ImageTooLarge:
    return ImageTooLarge(f"The file has more than the {limit} bytes that are allowed.")
