"""A photo as the whole body of a request."""

from __future__ import annotations

from io import BytesIO
from typing import IO, Any

from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from rest_framework.parsers import BaseParser, DataAndFiles

from cardigan_reco import images, uploads


class PhotoParser(BaseParser):
    """Takes what calls itself a picture. The bytes decide what it is."""

    media_type = "image/*"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Any = None,
    ) -> DataAndFiles[Any, Any]:
        """Returns the body as if a form had sent it; raises ImageTooLarge."""
        file = BytesIO(images.read(stream))
        return DataAndFiles(QueryDict(), MultiValueDict({uploads.FIELD: [file]}))


class BytesParser(PhotoParser):
    """Takes a picture that calls itself nothing in particular."""

    media_type = "application/octet-stream"
