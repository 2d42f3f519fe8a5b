"""What drf-spectacular is told, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def typed(shape: dict[str, Any]) -> Callable[[Method], Method]:
    """Decorates a serializer's method with the JSON schema of what it returns."""
    if find_spec("drf_spectacular") is None:
        return lambda method: method
    from drf_spectacular.utils import extend_schema_field

    decorate: Callable[[Method], Method] = extend_schema_field(shape)
    return decorate


if find_spec("drf_spectacular") is not None:
    from . import openapi  # noqa: F401  Its classes register themselves.
