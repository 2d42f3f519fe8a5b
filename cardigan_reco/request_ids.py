"""One id for each request: in its answer, in each line of its log, and in those of its tasks."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

HEADER = "X-Request-ID"
TASK_HEADER = "cardigan_request_id"
"""Of a Celery message that a request has sent and waits for."""
NONE = "-"
"""What a line has that belongs to no request and to no task."""

_HARMLESS = re.compile(r"[A-Za-z0-9_-]{8,64}")
_current: ContextVar[str] = ContextVar("cardigan_reco_request_id", default="")


def current() -> str:
    """Returns the id of the request or task in hand; "" outside of one."""
    return _current.get()


def of(request: HttpRequest) -> str:
    """Returns the id of a request: the one in hand, the one that a proxy or client gave, if it can
    do no harm in a log, or a new one.
    """
    given = request.headers.get(HEADER, "")
    return current() or (given if _HARMLESS.fullmatch(given) else uuid.uuid4().hex)


@contextmanager
def carrying(request_id: str) -> Iterator[None]:
    """Puts the id into what is logged inside the block; "" leaves it as it is."""
    token = _current.set(request_id or current())
    try:
        yield
    finally:
        _current.reset(token)


class RequestIdFilter(logging.Filter):
    """Gives each record of a handler the attribute `request_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = current() or NONE
        return True


class RequestIdMiddleware:
    """Gives each request of a shop an id, and its answer the header X-Request-ID."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._answer_later(request)
        with carrying(request_id := of(request)):
            return _labelled(self.get_response(request), request_id)

    async def _answer_later(self, request: HttpRequest) -> HttpResponseBase:
        with carrying(request_id := of(request)):
            return _labelled(await self.get_response(request), request_id)


def _labelled(response: HttpResponseBase, request_id: str) -> HttpResponseBase:
    response.headers[HEADER] = request_id
    return response
