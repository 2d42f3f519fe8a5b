"""What `demo --check` looks at: a product page, its shelf, and the report of duplicates."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser


class CheckFailed(Exception):
    """The shop is up, but a page isn't as it should be. The text says what was seen."""


class ShelfReader(HTMLParser):
    """Collects the addresses that the shelf of a page links to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self._in_shelf = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "section":
            self._in_shelf = "cardigan-shelf" in (values.get("class") or "").split()
        elif tag == "a" and self._in_shelf:
            self.links.append(values.get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "section":
            self._in_shelf = False


def fetch(address: str) -> str:
    """Returns the page; raises OSError, or HTTPError where the site answers an error."""
    # The address is the demo's own; no other scheme than http gets here.
    with urllib.request.urlopen(address, timeout=20) as answer:  # noqa: S310
        page: bytes = answer.read()
    return page.decode()


def describe_shelf(address: str) -> Iterator[str]:
    """Yields lines that tell of a product page of the site at `address` and of its shelf.

    Raises CheckFailed when the shelf isn't there or shows other products than it should.
    """
    from cardigan_reco import recommendations

    from .models import Product

    product = Product.objects.available().filter(images__isnull=False).order_by("pk").first()
    if product is None:
        raise CheckFailed("No product of the catalogue can be bought and has a picture.")
    url = f"{address}{product.get_absolute_url()}"
    reader = ShelfReader()
    reader.feed(fetch(url))
    yield f"{product.name}: {url}"
    similar = recommendations.similar_to(product, limit=8)
    expected = [item.get_absolute_url() for item in similar]
    if not reader.links:
        raise CheckFailed(f"{url} has no shelf of similar products.")
    if reader.links != expected:
        raise CheckFailed(f"The shelf links to {reader.links}, expected {expected}.")
    for item in similar:
        yield f"  {item.similarity:.3f}  {item.name}"
    yield f"The shelf shows {len(similar)} similar products."


def describe_duplicates(address: str, *, expected: bool) -> str:
    """Returns a line that tells of the report of duplicates.

    Raises CheckFailed when nothing was found though some is `expected`.
    """
    from django.urls import reverse

    from cardigan_reco.models import DuplicateGroup

    groups = DuplicateGroup.objects.all()
    if expected and not groups.exists():
        raise CheckFailed("No listings of the catalogue are reported as duplicates.")
    url = f"{address}{reverse('admin:cardigan_reco_duplicategroup_changelist')}"
    waiting = groups.filter(state=DuplicateGroup.State.OPEN).count()
    return f"The report of duplicate listings has {waiting} open: {url}"
