"""Small pictures for the admin's pages."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from cardigan_reco.models import Embedding

NOTHING = "–"


def thumbnail(
    embedding: type[Embedding], source: Model, side: int, *, name: object = None
) -> SafeString:
    """Returns an <img> of the source's picture, `side` CSS pixels square, or a dash.

    The file isn't opened: one that is broken or gone shows `name`, by default the source's.
    """
    picture = embedding.picture_of(source)
    try:
        url = picture.url if picture else None
    except (NotImplementedError, ValueError):  # A storage whose files have no address.
        url = None
    if url is None:
        return format_html("{}", NOTHING)
    return format_html(
        '<img class="cardigan-picture" src="{}" alt="{}" width="{}" height="{}" loading="lazy">',
        url,
        source if name is None else name,
        side,
        side,
    )


def admin_link(instance: Any) -> SafeString:
    """Returns the object's name, linked to its admin page where it has one."""
    meta = instance._meta
    try:
        url = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[instance.pk])
    except NoReverseMatch:
        return format_html("{}", instance)
    return format_html('<a href="{}">{}</a>', url, instance)
