"""What goes wrong, as DRF's own answers: {"detail": ..., "code": ..., "request_id": ...}."""

from __future__ import annotations

import logging

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, UnreadablePostError
from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from cardigan_reco.exceptions import (
    Busy,
    EncoderError,
    ImageError,
    ImageTooLarge,
    InvalidRequest,
    MissingExtra,
)

RETRY_SECONDS = 5
"""After this, something that is down may be up again."""

logger = logging.getLogger(__name__)


class Refusal(APIException):
    """An answer with a code of ours."""

    def __init__(
        self, status_code: int, detail: str, code: str, wait_seconds: int | None = None
    ) -> None:
        super().__init__(detail, code)
        self.status_code = status_code
        self.wait = wait_seconds  # DRF makes it Retry-After.


def translated(error: Exception, request_id: str) -> Exception:
    """Returns the refusal that stands for `error`, or `error` itself where it isn't known.

    What is the server's fault is logged under the request's id, and not told.
    """
    if isinstance(error, ImageTooLarge):
        return Refusal(status.HTTP_413_REQUEST_ENTITY_TOO_LARGE, str(error), error.code)
    if isinstance(error, (ImageError, InvalidRequest)):
        return Refusal(status.HTTP_400_BAD_REQUEST, str(error), error.code)
    if isinstance(error, Busy):
        return Refusal(
            status.HTTP_503_SERVICE_UNAVAILABLE,
            "Too many photos are being searched by. Try again soon.",
            error.code,
            error.retry_after_seconds,
        )
    if isinstance(error, (EncoderError, MissingExtra, OperationalError, InterfaceError)):
        # Without a traceback: tools that collect the variables of its frames would keep the photo.
        logger.error(
            "Request %s failed: %s: %s",
            request_id,
            type(error).__name__,
            error,
            extra={"error": type(error).__name__},
        )
        return Refusal(
            status.HTTP_503_SERVICE_UNAVAILABLE,
            "The search is out of order. Try again later.",
            "unavailable",
            RETRY_SECONDS,
        )
    return _translated_from_django(error)


def _translated_from_django(error: Exception) -> Exception:
    if isinstance(error, RequestDataTooBig):
        return Refusal(
            status.HTTP_413_REQUEST_ENTITY_TOO_LARGE, "The form is too large.", "too_large"
        )
    if isinstance(error, (SuspiciousOperation, UnreadablePostError)):
        return Refusal(status.HTTP_400_BAD_REQUEST, "The form can't be read.", "invalid")
    if isinstance(error, DataError):
        # A filter of the shop's own let through what PostgreSQL can't take.
        return Refusal(status.HTTP_400_BAD_REQUEST, "A value is out of range.", "invalid")
    return error


def label(response: Response, error: Exception, request_id: str) -> None:
    """Adds code and request id to DRF's answer, unless the shop's handler made another of it."""
    if isinstance(response.data, dict) and "detail" in response.data:
        response.data = {**response.data, "code": _code(error), "request_id": request_id}


def _code(error: Exception) -> str:
    if isinstance(error, Http404):
        return "not_found"
    if isinstance(error, PermissionDenied):
        return "permission_denied"
    codes = error.get_codes() if isinstance(error, APIException) else "error"
    return codes if isinstance(codes, str) else "invalid"
