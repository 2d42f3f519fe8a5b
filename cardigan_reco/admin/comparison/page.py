"""The page of one item: its pictures, two shelves, and what can be said of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from cardigan_reco import comparison
from cardigan_reco.admin.pictures import admin_link, thumbnail
from cardigan_reco.comparison import Comparison, Shelf, short

from .selection import Selection

PICTURES = 4
"""Of the item itself."""
LARGE, SMALL = 200, 180
"""Sides of the pictures in CSS pixels, where there is room."""


@dataclass(frozen=True)
class Entry:
    """An item on a shelf."""

    picture: SafeString
    link: SafeString
    similarity: float
    is_common: bool


@dataclass(frozen=True)
class Side:
    """A shelf as the page shows it."""

    key: str
    """ "left" or "right"."""
    title: str
    version: str
    """Of its encoder, for people; empty where they shan't know it."""
    entries: list[Entry]
    missing: str
    """Why there are none."""


@dataclass(frozen=True)
class Page:
    """All that the template shows of an item."""

    item: Any
    link: SafeString
    pictures: list[SafeString]
    sides: list[Side]
    common: int
    versions: tuple[str, str] | None
    trouble: str
    """Why there is nothing to vote on."""
    own: str
    """Which button the person pressed before: "left", "right", "both", "neither", or none."""


def of(found: Comparison, selection: Selection, *, voter: str, own: str | None = None) -> Page:
    """Returns the page of an item for a person; `own` is what they answered before."""
    sides = [
        _side(found.old, found, selection, _("Old")),
        _side(found.new, found, selection, _("New")),
    ]
    turned = is_turned(found.item, found.versions, selection, voter=voter)
    if turned:
        sides.reverse()
    keys = ("left", "right")
    names = (_("Left"), _("Right"))
    return Page(
        item=found.item,
        link=admin_link(found.item),
        pictures=_pictures(found, selection),
        sides=[
            replace(side, key=key, title=name if selection.is_blind else side.title)
            for key, name, side in zip(keys, names, sides, strict=True)
        ],
        common=len(found.common),
        versions=found.versions,
        trouble=_trouble(found),
        own={"old": keys[turned], "new": keys[not turned]}.get(own or "", own or ""),
    )


def is_turned(
    item: Any, versions: tuple[str, str] | None, selection: Selection, *, voter: str
) -> bool:
    """Returns whether the new encoder's shelf stands on the left."""
    if versions is None or not selection.is_blind:
        return False
    return comparison.new_is_left(item.pk, versions, voter=voter)


def _side(shelf: Shelf, found: Comparison, selection: Selection, title: str) -> Side:
    entries = [
        Entry(
            # Its name stands below it.
            picture=thumbnail(shelf.embedding, item.matched_source, SMALL, name=""),
            link=admin_link(item),
            similarity=item.similarity,
            is_common=item.pk in found.common,
        )
        for item in shelf.items
    ]
    version = "" if selection.is_blind else ", ".join(map(short, shelf.versions))
    missing = _("Its pictures have no vectors here yet.") if not shelf.versions else ""
    return Side("", title, version, entries, missing or _("It finds nothing that may be shown."))


def _pictures(found: Comparison, selection: Selection) -> list[SafeString]:
    embedding = selection.tables.old
    pictured = embedding.pictured_item(found.item)
    own = {embedding.item_field or "pk": pictured.pk}
    sources = embedding.source_model()._base_manager.using(found.item._state.db).filter(**own)
    shown = embedding.with_pictures(sources).order_by("pk")[:PICTURES]
    return [thumbnail(embedding, source, LARGE, name=found.item) for source in shown]


def _trouble(found: Comparison) -> str:
    if found.versions:
        return ""
    for shelf in (found.old, found.new):
        label = shelf.embedding._meta.label
        if not shelf.versions:
            return (
                _(
                    "%s has no vectors of this item yet, so there is nothing to compare. Run "
                    "encode_images, or choose another item."
                )
                % label
            )
        if len(shelf.versions) > 1:
            return _(
                "%(label)s is being encoded anew, and pictures of this item are of several states "
                "of the encoder: %(versions)s. A vote would say nothing of either."
            ) % {"label": label, "versions": ", ".join(map(short, shelf.versions))}
    return _(
        "Both tables hold vectors of the same encoder, %s: there is nothing to choose between."
    ) % short(found.old.versions[0])
