"""What the page of the photo search offers a shopper, and what the shopper's form says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from django.http import QueryDict

from . import images
from .exceptions import InvalidRequest
from .images import Crop


@dataclass(frozen=True)
class Sample:
    """A photo that shoppers may try the search with."""

    key: str
    """What `?sample=` names it by."""
    url: str
    alternative: str
    """The text for those who can't see it."""
    read: Callable[[], bytes]
    """Returns the file."""
    width: int
    height: int
    crop: Crop | None = None
    """The part that is searched for at first, which the shopper can move."""

    @property
    def crop_text(self) -> str:
        """The crop as the form sends it."""
        return ",".join(f"{side:.4f}" for side in self.crop or ())

    @property
    def frame(self) -> dict[str, str]:
        """The crop as a rectangle of SVG, in shares of 1; never in a language's own decimals."""
        if self.crop is None:
            return {}
        left, top, right, bottom = self.crop
        sides = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        return {name: f"{share:.4f}" for name, share in sides.items()}


@dataclass(frozen=True)
class Choices:
    """A filter as the form shows it: a list to choose from or, without options, a field."""

    name: str
    """One of the view's filters."""
    label: str
    options: Sequence[tuple[object, str]] = ()
    """Values, such as primary keys, and their labels."""
    kind: str = "text"
    """Without options: what HTML calls the field's type, such as "number"."""
    chosen: str = ""

    def asked(self, form: QueryDict) -> Choices:
        """Returns the same filter with the value that the form has chosen, and all values as text,
        since a form has nothing else.
        """
        options = [(str(value), label) for value, label in self.options]
        return replace(self, options=options, chosen=form.get(self.name, ""))


def crop(text: str) -> Crop | None:
    """Returns the part that "left,top,right,bottom" names; None for no text.

    Raises InvalidRequest for anything that is no part of a picture.
    """
    try:
        return images.parse_crop(text) if text else None
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def page(text: str, pages: int) -> int:
    """Returns the number of a page of results, 1 for no text; raises InvalidRequest."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
    if not text or 1 <= number <= pages:
        return number or 1
    raise InvalidRequest(f"{text[:50]!r} is not a page from 1 to {pages}.")
