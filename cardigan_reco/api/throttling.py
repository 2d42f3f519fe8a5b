"""How often a client may ask. Rates by scope, in REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import ScopedRateThrottle

RATES = {"photo_search": "30/min", "similar": "600/min"}
"""What holds where the shop sets nothing; None in the shop's settings means no limit."""

logger = logging.getLogger(__name__)


class ClientThrottle(ScopedRateThrottle):
    """Counts requests by user, or else by address. A forged X-Forwarded-For is no new client.

    Behind a proxy, REST_FRAMEWORK["NUM_PROXIES"] must say how many there are: without it the
    header isn't believed, and all that comes through the proxy is one client.
    """

    def get_rate(self) -> str | None:
        shops: Any = api_settings.DEFAULT_THROTTLE_RATES
        rates: dict[str, str | None] = {**RATES, **shops}
        return rates[self.scope] if self.scope in rates else super().get_rate()

    def get_ident(self, request: Request) -> str:
        if api_settings.NUM_PROXIES is not None:
            return super().get_ident(request)
        if "x-forwarded-for" in request.headers:
            _warn_of_proxies()
        return str(request.META.get("REMOTE_ADDR", ""))


@cache
def _warn_of_proxies() -> None:
    """Once a process: a client can send the header without any proxy."""
    logger.warning(
        "A request has X-Forwarded-For, and REST_FRAMEWORK['NUM_PROXIES'] is not set. If there is "
        "a proxy, set it: all clients share one rate until then.",
        extra={"setting": "NUM_PROXIES"},
    )
