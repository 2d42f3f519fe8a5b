"""The encoders of CARDIGAN_RECO["ENCODERS"]: `encoders["default"].encode(images)`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from threading import RLock
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .. import conf
from .base import Encoder

__all__ = ["Encoder", "Encoders", "encoders"]


class Encoders:
    """Builds each encoder once a process, whatever the number of threads, and keeps it."""

    def __init__(self) -> None:
        # Not thread-local as Django's own handlers: a network a thread would fill the memory.
        self._lock = RLock()
        self._built: dict[str, Encoder] = {}
        self._configured: Mapping[str, Mapping[str, Any]] = {}

    def __getitem__(self, alias: str) -> Encoder:
        """Returns the encoder of an alias; building it imports no torch.

        Raises ImproperlyConfigured for an unknown alias, a BACKEND that can't be imported and
        OPTIONS that it doesn't take; EncoderError when the backend can't work with their values.
        """
        configured = conf.current().encoders
        with self._lock:
            if configured != self._configured:
                self._built, self._configured = {}, configured
            if alias not in self._built:
                self._built[alias] = _build(alias, configured)
            return self._built[alias]

    def aliases(self) -> list[str]:
        """Returns the aliases that are defined."""
        return list(conf.current().encoders)


encoders = Encoders()


def _build(alias: str, configured: Mapping[str, Mapping[str, Any]]) -> Encoder:
    place = f"{conf.SETTING}['ENCODERS']"
    if alias not in configured:
        raise ImproperlyConfigured(
            f"Encoder {alias!r} is not defined in {place}. Choices are: {', '.join(configured)}."
        )
    backend = str(configured[alias]["BACKEND"])
    try:
        encoder_class = import_string(backend)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"{place}[{alias!r}]['BACKEND'] is {backend!r}, which can't be imported ({error}). "
            "It must be the dotted path of an Encoder class."
        ) from error
    if not (isinstance(encoder_class, type) and issubclass(encoder_class, Encoder)):
        raise ImproperlyConfigured(
            f"{place}[{alias!r}]['BACKEND'] is {backend!r}, which is no Encoder class. "
            "Derive it from cardigan_reco.encoders.base.Encoder."
        )
    options = configured[alias].get("OPTIONS", {})
    try:
        inspect.signature(encoder_class).bind(**options)
    except TypeError as error:
        names = ", ".join(inspect.signature(encoder_class).parameters) or "none"
        raise ImproperlyConfigured(
            f"{place}[{alias!r}]['OPTIONS'] doesn't suit {backend}: {error}. Choices are: {names}."
        ) from error
    try:
        return encoder_class(**options)
    except TypeError as error:
        raise ImproperlyConfigured(
            f"{place}[{alias!r}]['OPTIONS'] is {options!r}, and {backend} can't work with a value "
            f"of it: {error}."
        ) from error
