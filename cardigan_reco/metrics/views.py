"""The page that Prometheus reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.crypto import constant_time_compare
from django.views import View

from cardigan_reco import conf
from cardigan_reco.exceptions import MissingExtra

from .collector import Collector

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

MULTIPROCESS_FOLDERS = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
"""Variables of the environment by which prometheus-client puts processes together."""


class MetricsView(View):
    """Answers with all metrics of the process, or of all that share PROMETHEUS_MULTIPROC_DIR.

    `path("metrics/", MetricsView.as_view(token=os.environ["METRICS_TOKEN"]))`.
    """

    http_method_names = ["get", "head", "options"]

    token: ClassVar[str | None] = None
    """What the reader has to send as `Authorization: Bearer ...`; None: anybody may read."""

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., HttpResponseBase]:
        view = super().as_view(**initkwargs)
        # The database may be down, and then there is something to be told.
        view.login_required = False  # type: ignore[attr-defined]
        return transaction.non_atomic_requests(view)

    def get(self, request: HttpRequest) -> HttpResponse:
        if self.token is not None:
            wanted = f"Bearer {self.token}"
            if not constant_time_compare(request.headers.get("Authorization", ""), wanted):
                raise PermissionDenied("The token is missing or wrong.")
        if not conf.current().metrics:
            raise ImproperlyConfigured(
                f"{conf.SETTING}['METRICS'] is False, so nothing is measured. Set it to True, or "
                "remove the address of MetricsView."
            )
        try:
            from prometheus_client.exposition import choose_encoder
        except ModuleNotFoundError as error:
            raise MissingExtra("MetricsView", "metrics") from error
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        response = HttpResponse(encode(_Everything()), content_type=content_type)
        response.headers["Cache-Control"] = "no-store"
        return response


class _Everything:
    """As much of a registry as prometheus-client's encoders ask for."""

    def collect(self) -> Iterable[Metric]:
        from prometheus_client import REGISTRY, CollectorRegistry, multiprocess

        if any(name in os.environ for name in MULTIPROCESS_FOLDERS):
            measured = CollectorRegistry()
            multiprocess.MultiProcessCollector(measured)  # type: ignore[no-untyped-call]
        else:
            measured = REGISTRY
        yield from measured.collect()
        yield from Collector().collect()
