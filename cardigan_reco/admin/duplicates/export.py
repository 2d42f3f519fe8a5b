"""The report as CSV: a row for each pair of listings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from cardigan_reco.admin import spreadsheet
from cardigan_reco.duplicates.listings import Listings

from . import contents, fields
from .cards import Card, Listing, PairOfListings

AT_ONCE = 200
"""Groups that are read together."""


def stream(
    groups: QuerySet[Any], shop: Listings, request: HttpRequest, *, site: str
) -> Iterator[str]:
    """Yields the lines of the file, header first, reading a few hundred groups at a time."""
    return spreadsheet.stream(_rows(groups, shop, request, site))


def _rows(
    groups: QuerySet[Any], shop: Listings, request: HttpRequest, site: str
) -> Iterator[list[Any]]:
    labels = fields.labels(shop)
    yield _header(labels)
    rows = groups.iterator(chunk_size=AT_ONCE)
    while chunk := list(islice(rows, AT_ONCE)):
        for card in contents.of(chunk, shop, site=site):
            for pair in card.pairs:
                yield _cells(card, pair, len(labels), request)


def _header(labels: Sequence[str]) -> list[str]:
    side = [_("key"), _("name"), _("page"), *labels]
    return [
        _("group"),
        _("state"),
        _("kind"),
        _("probability"),
        _("category"),
        _("reasons"),
        *(f"{_('first')}: {label}" for label in side),
        *(f"{_('second')}: {label}" for label in side),
        _("survivor"),
        _("reviewer"),
        _("reviewed at"),
        _("note"),
        _("found at"),
    ]


def _cells(card: Card, of: PairOfListings, width: int, request: HttpRequest) -> list[Any]:
    pair = of.pair
    return [
        card.group.pk,
        pair.get_state_display(),
        pair.get_kind_display(),
        round(pair.probability, 4),
        card.group.category,
        "; ".join(of.reasons),
        *_side(of.first, width, request),
        *_side(of.second, width, request),
        card.group.survivor_pk,
        pair.reviewer,
        pair.reviewed_at.isoformat() if pair.reviewed_at else "",
        pair.note,
        pair.found_at.isoformat(),
    ]


def _side(listing: Listing, width: int, request: HttpRequest) -> list[Any]:
    """Returns the cells of a listing; one that is gone has `width` empty ones for its facts."""
    page = request.build_absolute_uri(listing.shop_url) if listing.shop_url else ""
    facts = ["".join(part.text for part in fact.parts) for fact in listing.facts]
    return [listing.pk, listing.name, page, *facts, *[""] * (width - len(facts))]
