"""The OpenAPI description of the two endpoints, and of a shop's subclasses of them."""

from __future__ import annotations

from functools import cache
from typing import Any

from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    inline_serializer,
)
from rest_framework import serializers

from cardigan_reco import uploads
from cardigan_reco.search import MAX_LIMIT

from . import filtersets, parameters

_REQUEST_ID = "3f6c2f0e0a7d4d3b9a5b6f0d3f3f9a11"
_CROP = {
    "type": "string",
    "pattern": "^[0-9.eE+-]+(,[0-9.eE+-]+){3}$",
    "description": "The part that counts: left,top,right,bottom as shares of the upright "
    "picture's sides, from 0 to 1.",
    "example": "0.1,0.2,0.9,0.8",
}
_ERRORS = {
    400: [
        ("invalid_image", "The picture has 4 x 4 pixels. Each side needs at least 8."),
        ("unsupported_format", "This is GIF. Save the picture as JPEG, PNG or WebP."),
        (
            "too_many_pixels",
            "The picture has 9000 x 9000 pixels, more than the 25000000 that are allowed. Make it "
            "smaller.",
        ),
        ("unknown_filter", "Filter 'colr' is unknown. Choices are: category, max_price."),
        ("invalid_filter", "Filter 'max_price' can't be 'NaN'."),
        ("invalid", "limit must be a whole number from 1 to 100, got '-1'."),
    ],
    401: [
        ("not_authenticated", "Authentication credentials were not provided."),
        ("authentication_failed", "Invalid username/password."),
    ],
    403: [("permission_denied", "You do not have permission to perform this action.")],
    404: [("not_found", "Not found.")],
    406: [("not_acceptable", "Could not satisfy the request Accept header.")],
    413: [("too_large", "The file has more than the 10485760 bytes that are allowed.")],
    415: [("unsupported_media_type", 'Unsupported media type "text/html" in request.')],
    429: [("throttled", "Request was throttled. Expected available in 12 seconds.")],
    503: [
        ("busy", "Too many photos are being searched by. Try again soon."),
        ("unavailable", "The search is out of order. Try again later."),
    ],
}


class ErrorSerializer(serializers.Serializer[Any]):
    detail = serializers.CharField()
    code = serializers.CharField()
    request_id = serializers.CharField()


class MatchedPictureSerializer(serializers.Serializer[Any]):
    pk = serializers.JSONField(help_text="Key of the row that has the picture.")
    url = serializers.CharField(allow_null=True)


class PhotoSearchDescription(OpenApiViewExtension):
    target_class = "cardigan_reco.api.views.PhotoSearchView"
    match_subclasses = True

    def view_replacement(self) -> type[Any]:
        view: Any = self.target
        numbers = _numbers()
        names = _filters(view)
        fields = {
            uploads.FIELD: {"type": "string", "format": "binary"},
            "crop": _CROP,
            **{parameter.name: parameter.type for parameter in numbers},
            **{name: {"type": "array", "items": {"type": "string"}} for name in names},
        }
        form = {"type": "object", "properties": fields, "required": [uploads.FIELD]}
        photo = {"type": "string", "format": "binary"}
        bodies = ["image/jpeg", "image/png", "image/webp", "application/octet-stream"]

        class Described(view):  # type: ignore[misc]
            @extend_schema(
                summary="Search by photo",
                description="Items that look like a photo, most similar first. Send a JPEG, PNG or "
                "WebP file as the field `image` of a form, or as the body; what it says of its "
                "type and name doesn't count. It is neither stored nor logged. Send it again for "
                "another page. Crop, numbers and filters may stand in the form or in the query "
                "string.",
                request={"multipart/form-data": form, **dict.fromkeys(bodies, photo)},
                parameters=[
                    OpenApiParameter("crop", _CROP, description=_CROP["description"]),
                    *numbers,
                    *_filter_parameters(names),
                ],
                responses={200: _matches(view), **_errors(400, 401, 403, 406, 413, 415, 429, 503)},
            )
            def post(self, request: Any, *args: Any, **kwargs: Any) -> Any: ...

        return Described


class SimilarDescription(OpenApiViewExtension):
    target_class = "cardigan_reco.api.views.SimilarView"
    match_subclasses = True

    def view_replacement(self) -> type[Any]:
        view: Any = self.target

        class Described(view):  # type: ignore[misc]
            @extend_schema(
                summary="Similar items",
                description="Items that look like an item, most similar first.",
                parameters=[*_numbers(), *_filter_parameters(_filters(view))],
                responses={200: _matches(view), **_errors(400, 401, 403, 404, 406, 429, 503)},
            )
            def get(self, request: Any, *args: Any, **kwargs: Any) -> Any: ...

        return Described


def _numbers() -> list[OpenApiParameter]:
    whole = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}
    return [
        OpenApiParameter(
            "limit",
            {**whole, "default": parameters.DEFAULT_LIMIT},
            description=f"Results on a page; page times limit is at most {MAX_LIMIT}.",
        ),
        OpenApiParameter("page", {**whole, "default": 1}, description="From 1."),
        OpenApiParameter(
            "min_similarity",
            {"type": "number", "minimum": 0, "maximum": 1, "default": 0},
            description="Leaves out what is less similar.",
        ),
    ]


def _filters(view: Any) -> list[str]:
    if view.filterset_class is not None:
        return filtersets.names(view.filterset_class())
    return list(view.filters)


def _filter_parameters(names: list[str]) -> list[OpenApiParameter]:
    text = "Several values mean any of them."
    return [OpenApiParameter(name, str, many=True, description=text) for name in names]


def _errors(*codes: int) -> dict[int, OpenApiResponse]:
    return {
        code: OpenApiResponse(
            ErrorSerializer,
            examples=[
                OpenApiExample(name, {"detail": detail, "code": name, "request_id": _REQUEST_ID})
                for name, detail in _ERRORS[code]
            ],
        )
        for code in codes
    }


def _matches(view: Any) -> OpenApiResponse:
    item = {"id": 7, "name": "Blue mug", "url": "https://shop/p/7/", "image": "https://shop/7.jpg"}
    matched = {"pk": 31, "url": "https://shop/media/31.jpg"}
    answer = {
        "request_id": _REQUEST_ID,
        "page": 1,
        "next_page": 2,
        "results": [{"item": item, "similarity": 0.913, "matched": matched}],
    }
    example = OpenApiExample("Results", answer, response_only=True)
    return OpenApiResponse(_answer(view.serializer_class), examples=[example])


@cache
def _answer(item: type[serializers.Serializer[Any]]) -> serializers.Serializer[Any]:
    name = item.__name__.removesuffix("Serializer")
    match = inline_serializer(
        f"{name}Match",
        {
            "item": item(),
            "similarity": serializers.FloatField(help_text="Cosine, from 0 to 1, of 3 digits."),
            "matched": MatchedPictureSerializer(help_text="Which picture is near."),
        },
        many=True,
    )
    return inline_serializer(
        f"{name}Matches",
        {
            "request_id": serializers.CharField(),
            "page": serializers.IntegerField(),
            "next_page": serializers.IntegerField(allow_null=True),
            "results": match,
        },
    )
