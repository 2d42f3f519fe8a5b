"""Small pictures for the admin's pages."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from cardigan_reco.models import Embedding

STYLE = "object-fit:contain;background:#fff;border-radius:4px"


def thumbnail(embedding: type[Embedding], source: Model, side: int) -> SafeString:
    """Returns an <img> of the source's picture, `side` CSS pixels square, or a dash."""
    picture = getattr(source, embedding.image_field)
    if not picture:
        return SafeString("–")
    return format_html(
        '<img src="{}" alt="{}" width="{}" height="{}" loading="lazy" style="{}">',
        picture.url,
        source,
        side,
        side,
        STYLE,
    )


def admin_link(instance: Any) -> SafeString:
    """Returns the object's name, linked to its admin page where it has one."""
    meta = instance._meta
    try:
        url = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[instance.pk])
    except NoReverseMatch:
        return format_html("{}", instance)
    return format_html('<a href="{}">{}</a>', url, instance)
