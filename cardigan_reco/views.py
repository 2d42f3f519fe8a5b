"""The page of the photo search, for a shop to subclass: docs/photo-page.md."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from threading import Thread
from typing import Any, ClassVar

from django.core.files.uploadedfile import UploadedFile
from django.db import DataError, InterfaceError, OperationalError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext, ngettext
from django.views import View
from django.views.decorators.csrf import csrf_exempt, csrf_protect, requires_csrf_token

from . import collection as collections
from . import conf, photo_form, photos, refusals, request_ids, search, uploads
from .exceptions import CardiganError, EncoderError, InvalidFilter, InvalidRequest, MissingExtra
from .filters import Filters
from .images import Crop, Readable
from .photo_form import Choices, Sample
from .search import MAX_LIMIT

SCRIPT_HEADER = "X-Cardigan-Photo"
"""The page's script sends it, and gets the results without the page around them."""
OWN_FIELDS = frozenset({"csrfmiddlewaretoken", "image", "crop", "page", "sample"})

logger = logging.getLogger(__name__)


class PhotoSearchView(View):
    """Shows the page, and answers photos and samples with what the shop has like them.

    Nothing of a photo is stored, and no answer may be. It works without the page's script, too.
    """

    http_method_names = ["get", "head", "options", "post"]

    template_name = "cardigan_reco/photo_page.html"
    base_template_name = "cardigan_reco/photo_base.html"
    """What the page extends: the shop's own, with the blocks `title` and `content`."""
    results_template_name = "cardigan_reco/photo_results.html"
    item_template_name = "cardigan_reco/photo_item.html"
    """One of the results; it gets `item` and `picture`."""
    collection = "similar"
    queryset: QuerySet[Any] | None = None
    """What may be found; None: the collection's candidates()."""
    filters: ClassVar[Mapping[str, str]] = {}
    """Name in the form -> lookup, such as {"max_price": "price__lte"}; no other gets through."""
    limit = 24
    """Items a page; all pages together have at most 100."""
    min_similarity = 0.0

    def get_queryset(self) -> QuerySet[Any]:
        """Returns what may be found; never what this visitor may not see."""
        if self.queryset is None:
            return collections.serving(self.collection).candidates()
        return self.queryset.all()

    def filter_choices(self) -> Sequence[Choices]:
        """Returns how the form shows the filters; a hook, by default a field for each."""
        return [
            Choices(name, name.replace("_", " ").replace("-", " ").capitalize())
            for name in self.filters
        ]

    def samples(self) -> Sequence[Sample]:
        """Returns photos to try the search with; a hook, by default there are none."""
        return []

    def seconds_to_wait(self) -> int | None:
        """Returns how long this visitor must wait for another search; a hook for a throttle."""
        return None

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., HttpResponseBase]:
        # The middleware would read the form before its size is bounded: see post().
        return csrf_exempt(super().as_view(**initkwargs))

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with request_ids.carrying(request_id := request_ids.of(request)):
            response = super().dispatch(request, *args, **kwargs)
        response[request_ids.HEADER] = request_id
        response["Cache-Control"] = "no-store, private"
        response["X-Content-Type-Options"] = "nosniff"
        return response

    @method_decorator(csrf_protect)
    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        _make_ready(collections.serving(self.collection).encoder)
        key = request.GET.get("sample")
        samples = list(self.samples())
        sample = next((sample for sample in samples if sample.key == key), None)
        if sample is None:
            return self._page(QueryDict(), {"state": "start", "samples": samples})
        # Addresses come with parameters of others; in a form an unknown name is a mistake.
        known = QueryDict(mutable=True)
        for name in sorted({*self.filters, "sample", "page"} & set(request.GET)):
            known.setlist(name, request.GET.getlist(name))
        results = self._results(known, sample.read, lambda: sample.crop)
        if next_page := results.get("next_page"):
            known["page"] = str(next_page)
            results["next_url"] = f"?{known.urlencode()}"
        return self._page(known, {**results, "samples": samples, "sample": sample})

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            uploads.bound(request)
            request.FILES  # noqa: B018  Read here, where too much of it is no surprise.
        except refusals.EXPECTED as error:
            # Or the check for the token would read the form, and raise this once more.
            request._mark_post_parse_error()  # type: ignore[attr-defined]
            return self._unread(request, error)
        return self._read(request)

    @method_decorator(requires_csrf_token)
    def _unread(self, request: HttpRequest, error: Exception) -> HttpResponse:
        return self._answer(QueryDict(), _refused(error))

    @method_decorator(csrf_protect)
    def _read(self, request: HttpRequest) -> HttpResponse:
        form = request.POST
        crop = partial(photo_form.crop, form.get("crop", ""))
        return self._answer(form, self._results(form, self._photo, crop))

    def _photo(self) -> Readable:
        photo = self.request.FILES.get("image")
        if not isinstance(photo, UploadedFile):
            raise refusals.NoPhoto("The form has no photo.")
        return photo

    def _results(
        self,
        form: QueryDict,
        photo: Callable[[], bytes | Readable],
        crop: Callable[[], Crop | None],
    ) -> dict[str, Any]:
        """Searches; returns what the templates show of it, a refusal included."""
        try:
            if seconds := self.seconds_to_wait():
                raise refusals.Throttled(seconds)
            number = photo_form.page(form.get("page", ""), -(-MAX_LIMIT // self.limit))
            first = (number - 1) * self.limit
            items = search.by_image(
                photo(),
                within=Filters(self.filters).apply(self.get_queryset(), form, OWN_FIELDS),
                limit=min(self.limit + 1, MAX_LIMIT - first),  # One more tells if there are more.
                offset=first,
                min_similarity=self.min_similarity,
                crop=crop(),
                collection=self.collection,
            )
        except InvalidFilter as error:
            labels = {choices.name: choices.label for choices in self.filter_choices()}
            name = labels.get(error.name, error.name)  # As the shopper reads it in the form.
            return _refused(InvalidFilter(str(error), name, error.text))
        except refusals.EXPECTED as error:
            return _refused(error)
        except DataError:  # A filter of the shop's own let through what PostgreSQL can't take.
            return _refused(InvalidRequest("A value is out of range."))
        except (EncoderError, MissingExtra, OperationalError, InterfaceError) as error:
            # Without a traceback: tools that collect its frames' variables would keep the photo.
            logger.error(
                "A photo couldn't be searched by: %s: %s",
                type(error).__name__,
                error,
                extra={"collection": self.collection, "error": type(error).__name__},
            )
            return _refused(refusals.OutOfOrder())
        return self._found(items, number, first)

    def _found(self, items: list[Any], number: int, first: int) -> dict[str, Any]:
        shown = items[: self.limit]
        picture_of = collections.serving(self.collection).picture_of
        last = first + len(shown)
        if not shown:
            message = gettext("Nothing like it was found.")
        elif first and not self._is_asked_by_script:
            message = gettext("Results %(first)s to %(last)s, the most similar first.")
        else:
            message = ngettext(
                "%(last)s result that looks like it.",
                "%(last)s results that look like it, the most similar first.",
                last,
            )
        return {
            "state": "found" if shown else "nothing",
            "message": message % {"first": first + 1, "last": last},
            "entries": [
                {"item": item, "picture": picture_of(item.matched_source)} for item in shown
            ],
            "next_page": number + 1 if len(items) > self.limit else None,
        }

    @property
    def _is_asked_by_script(self) -> bool:
        return SCRIPT_HEADER in self.request.headers

    def _answer(self, form: QueryDict, results: dict[str, Any]) -> HttpResponse:
        if self._is_asked_by_script:
            return self._rendered(self.results_template_name, results)
        # Only the script still has the photo, which the next page needs.
        return self._page(form, {**results, "next_page": None, "samples": list(self.samples())})

    def _page(self, form: QueryDict, results: dict[str, Any]) -> HttpResponse:
        context = {
            "action": self.request.path,
            "base_template_name": self.base_template_name,
            "choices": [choices.asked(form) for choices in self.filter_choices()],
            "max_image_bytes": conf.current().max_image_bytes,
            "results_template_name": self.results_template_name,
            **results,
        }
        return self._rendered(self.template_name, context)

    def _rendered(self, template_name: str, context: dict[str, Any]) -> HttpResponse:
        refusal: refusals.Refusal | None = context.get("refusal")
        context = {**context, "item_template_name": self.item_template_name}
        response = render(
            self.request, template_name, context, status=refusal.status if refusal else 200
        )
        if refusal and refusal.retry_after_seconds is not None:
            response["Retry-After"] = str(refusal.retry_after_seconds)
        return response


def _refused(error: Exception) -> dict[str, Any]:
    refusal = refusals.of(error)
    return {"state": "refused", "message": refusal.message, "refusal": refusal}


@cache
def _make_ready(encoder: str) -> None:
    """Loads the network while the visitor still chooses a photo, once a process."""
    if conf.current().photo_search.encode_in == "process":
        Thread(target=_warm_up, args=[encoder], daemon=True).start()


def _warm_up(encoder: str) -> None:
    try:
        photos.warm_up(encoder)
    except CardiganError:  # The first photo will meet it again, and its visitor be told.
        logger.exception("The encoder %r can't be loaded", encoder, extra={"encoder": encoder})
