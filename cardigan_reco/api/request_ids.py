"""One id for each request, in its answer and in the log."""

from __future__ import annotations

import re
import uuid

from django.http import HttpRequest

HEADER = "X-Request-ID"

_HARMLESS = re.compile(r"[A-Za-z0-9_-]{8,64}")


def of(request: HttpRequest) -> str:
    """Returns the id that a proxy or client gave, if it can do no harm in a log, or a new one."""
    given = request.headers.get(HEADER, "")
    return given if _HARMLESS.fullmatch(given) else uuid.uuid4().hex
