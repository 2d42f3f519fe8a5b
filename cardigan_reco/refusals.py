"""What a shopper is told when a photo can't be searched by."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.exceptions import TooManyFilesSent
from django.http import UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.template.defaultfilters import filesizeformat
from django.utils.text import Truncator
from django.utils.translation import gettext, ngettext

from . import conf
from .exceptions import (
    Busy,
    CardiganError,
    ImageError,
    ImageTooLarge,
    InvalidFilter,
    InvalidRequest,
    TooManyPixels,
    UnsupportedFormat,
)


class NoPhoto(InvalidRequest):
    """The form was sent without a photo."""


class Throttled(CardiganError):
    """This visitor has asked too often."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"Try again in {retry_after_seconds} s.")
        self.retry_after_seconds = retry_after_seconds


class OutOfOrder(CardiganError):
    """The shop lacks what a search needs, such as its database or its encoder."""

    retry_after_seconds = 5
    """After this, what is down may be up again."""


EXPECTED = (
    ImageError,
    Busy,
    Throttled,
    InvalidRequest,
    MultiPartParserError,
    TooManyFilesSent,
    UnreadablePostError,
)
"""What a visitor's form can raise, whatever is in it or breaks it off; all else is a fault of the
shop.
"""


@dataclass(frozen=True)
class Refusal:
    status: int
    message: str
    retry_after_seconds: int | None = None


def of(error: Exception) -> Refusal:
    """Returns the status and the words for an error; unlike its own they can be translated."""
    if isinstance(error, Busy):
        seconds = error.retry_after_seconds
        text = ngettext(
            "Many photos are being looked at just now. Please try again in %(seconds)s second.",
            "Many photos are being looked at just now. Please try again in %(seconds)s seconds.",
            seconds,
        )
        return Refusal(503, text % {"seconds": seconds}, seconds)
    if isinstance(error, OutOfOrder):
        text = gettext("The photo search is out of order just now. Please try again later.")
        return Refusal(503, text, error.retry_after_seconds)
    if isinstance(error, Throttled):
        seconds = error.retry_after_seconds
        text = ngettext(
            "Those were many photos in a short time. Please try again in %(seconds)s second.",
            "Those were many photos in a short time. Please try again in %(seconds)s seconds.",
            seconds,
        )
        return Refusal(429, text % {"seconds": seconds}, seconds)
    if isinstance(error, ImageTooLarge):
        size = filesizeformat(conf.current().max_image_bytes)
        text = gettext("The file is larger than %(size)s. Please choose a smaller photo.")
        return Refusal(413, text % {"size": size})
    return Refusal(400, _bad(error))


def _bad(error: Exception) -> str:
    if isinstance(error, NoPhoto):
        return gettext("Please choose a photo first.")
    if isinstance(error, InvalidFilter):
        text = (
            gettext("The filter “%(filter)s” can’t be “%(value)s”. Please check the filters.")
            if error.text
            else gettext("The filter “%(filter)s” has too many values. Please choose fewer.")
        )
        return text % {"filter": error.name, "value": Truncator(error.text).chars(50)}
    if isinstance(error, UnsupportedFormat):
        return gettext(
            "This file isn’t a photo that can be read here. Please choose a JPEG, PNG or WebP."
        )
    if isinstance(error, TooManyPixels):
        return gettext(
            "The photo is too large, or much longer than wide. Please make it smaller or cut it."
        )
    if isinstance(error, ImageError):
        return gettext(
            "This photo can’t be used: it is damaged, or the chosen part is too small. Please try "
            "another one or a larger part."
        )
    return gettext("The form couldn’t be understood. Please reload the page and try again.")
