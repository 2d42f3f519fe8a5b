"""The two endpoints. A shop subclasses them to say what is shown, how, and to whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.generics import GenericAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings

from cardigan_reco import collection as collections
from cardigan_reco import recommendations, request_ids, search, uploads
from cardigan_reco.exceptions import ImageError
from cardigan_reco.filters import Filters

from . import errors, filtersets, parameters
from .parameters import Asked
from .parsers import BytesParser, PhotoParser
from .serializers import ItemSerializer
from .throttling import ClientThrottle


class VisualView(GenericAPIView[Any]):
    """What both endpoints share. DRF's attributes mean what they mean elsewhere.

    `queryset`: what may be shown; by default the collection's candidates(). An item outside of it,
    or that `filter_backends` take out of it, is never in an answer.
    """

    collection: ClassVar[str] = "similar"
    """Purpose in CARDIGAN_RECO["COLLECTIONS"]."""
    filters: ClassVar[Mapping[str, str]] = {}
    """Allowed filters: public name -> lookup, such as {"max_price": "price__lte"}."""
    filterset_class: ClassVar[type[Any] | None] = None
    """A FilterSet of django-filter, in place of `filters`."""
    other_parameters: ClassVar[frozenset[str]] = frozenset()
    """Names in a query string that are no filters and mean something to the shop, such as utm_*."""

    serializer_class = ItemSerializer
    throttle_classes = [ClientThrottle]
    renderer_classes = [JSONRenderer]
    filter_backends = []
    pagination_class = None
    metadata_class = None

    request_id: str

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "queryset", None) is not None:
            return super().get_queryset()
        return collections.serving(self.collection).candidates()

    def picture_url(self, item: Any) -> str | None:
        """Returns the address of the picture that matched; override it to serve thumbnails."""
        picture = collections.serving(self.collection).picture_of(item.matched_source)
        return self.request.build_absolute_uri(picture.url) if picture else None

    def narrowed(self, given: Any, own: frozenset[str]) -> QuerySet[Any]:
        """Returns the queryset within the filters of a request; `own` names are no filters."""
        own |= self.other_parameters | {api_settings.URL_FORMAT_OVERRIDE or ""}
        shown = self.filter_queryset(self.get_queryset())
        if self.filterset_class is not None:
            return filtersets.apply(self.filterset_class, shown, given, own, self.request)
        return Filters(self.filters).apply(shown, given, own)

    def answer(self, found: list[Any], asked: Asked) -> Response:
        """Returns a page of items; `found` may have one more than is shown."""
        shown = found[: asked.limit]
        rows = zip(shown, self.get_serializer(shown, many=True).data, strict=True)
        return Response(
            {
                "request_id": self.request_id,
                "page": asked.page,
                "next_page": asked.next_page(len(found)),
                "results": [
                    {
                        "item": data,
                        "similarity": round(item.similarity, 3),
                        "matched": {
                            "pk": _key(item.matched_source.pk),
                            "url": self.picture_url(item),
                        },
                    }
                    for item, data in rows
                ],
            }
        )

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.request_id = request_ids.of(request)
        with request_ids.carrying(self.request_id):
            return super().dispatch(request, *args, **kwargs)

    def handle_exception(self, exc: Exception) -> Response:
        error = errors.translated(exc, self.request_id)
        response = super().handle_exception(error)
        errors.label(response, error, self.request_id)
        return response

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        final.headers[request_ids.HEADER] = self.request_id
        final.headers["X-Content-Type-Options"] = "nosniff"
        return final


class PhotoSearchView(VisualView):
    """Items that look like a photo. The photo is neither stored nor logged."""

    throttle_scope = "photo_search"
    parser_classes = [MultiPartParser, PhotoParser, BytesParser]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        uploads.bound(request._request)
        super().initial(request, *args, **kwargs)

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        picture = request.FILES.get(uploads.FIELD)
        if picture is None:
            raise ImageError(
                f"There is no picture. Send one as the file {uploads.FIELD!r} of a form "
                "(multipart/form-data), or as the body."
            )
        given = request.query_params.copy()
        given.update(request.POST)
        asked = parameters.read(given)
        # Closed at once: a request of DRF refers to itself, and would hold the bytes until Python
        # looks for such cycles.
        with picture:
            found = search.by_image(
                picture,
                within=self.narrowed(given, _PHOTO_PARAMETERS),
                limit=asked.limit_and_one,
                offset=asked.offset,
                min_similarity=asked.min_similarity,
                crop=parameters.read_crop(given),
                collection=self.collection,
            )
        response = self.answer(found, asked)
        response.headers["Cache-Control"] = "no-store"
        return response


class SimilarView(VisualView):
    """Items that look like an item."""

    throttle_scope = "similar"

    def get_object(self) -> Any:
        """Returns the item of the address. A variant that is not in the queryset isn't found: to
        serve it, override this.
        """
        if any("\0" in str(value) for value in self.kwargs.values()):
            raise Http404  # PostgreSQL can't hold it.
        return super().get_object()

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        given = request.query_params
        asked = parameters.read(given)
        within = self.narrowed(given, parameters.NAMES)
        found = recommendations.similar_to(
            self.get_object(),
            within=within,
            limit=asked.offset + asked.limit_and_one,
            min_similarity=asked.min_similarity,
            collection=self.collection,
        )
        return self.answer(found[asked.offset :], asked)


_PHOTO_PARAMETERS = parameters.NAMES | {"crop", "csrfmiddlewaretoken", uploads.FIELD}


def _key(pk: Any) -> int | str:
    return pk if isinstance(pk, int) else str(pk)
