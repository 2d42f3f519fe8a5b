"""{% similar_products %}: items that look like an item; {% photo_search %}: a box for a photo."""

from __future__ import annotations

import logging
from typing import Any

from django import template
from django.conf import settings
from django.db import Error
from django.template import TemplateSyntaxError
from django.template.base import FilterExpression, Parser, Token, token_kwargs
from django.template.context import Context
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from cardigan_reco import collection as collections
from cardigan_reco import conf, recommendations

register = template.Library()
logger = logging.getLogger(__name__)

TEMPLATE = "cardigan_reco/similar_products.html"
PHOTO_SEARCH = "photo-search"
OPTIONS = ["within", "limit", "min_similarity", "collection", "heading"]


@register.tag
def similar_products(parser: Parser, token: Token) -> SimilarProductsNode:
    """Renders a shelf of the items that look like an item.

    {% similar_products product limit=8 %}
    {% similar_products product limit=8 within=queryset min_similarity=0.5 heading="More" %}
    {% similar_products product limit=8 as items %}

    The template cardigan_reco/similar_products.html can be overridden. With `as` nothing is
    rendered, and the variable holds the list that recommendations.similar_to returns.
    """
    name, *bits = token.split_contents()
    target = None
    if len(bits) >= 2 and bits[-2] == "as":
        *bits, _as, target = bits
    if not bits:
        raise TemplateSyntaxError(f"{name} needs an item, as in {{% {name} product limit=8 %}}.")
    item = parser.compile_filter(bits.pop(0))
    options = token_kwargs(bits, parser)
    for wrong in [*bits, *(option for option in options if option not in OPTIONS)]:
        choices = ", ".join(f"{option}=" for option in OPTIONS)
        raise TemplateSyntaxError(f"{name} doesn't know {wrong!r}. Choices are: {choices}.")
    return SimilarProductsNode(item, options, target)


class SimilarProductsNode(template.Node):
    def __init__(
        self, item: FilterExpression, options: dict[str, FilterExpression], target: str | None
    ) -> None:
        self.item = item
        self.options = options
        self.target = target

    def render(self, context: Context) -> SafeString:
        options = {name: option.resolve(context) for name, option in self.options.items()}
        heading = options.pop("heading", None) or gettext("Similar products")
        items = _items(self.item.resolve(context), **options)
        if self.target is not None:
            context[self.target] = items
            return SafeString("")
        if not items:
            return SafeString("")
        purpose = options.get("collection", "similar")
        picture_of = collections.named(purpose).picture_of
        shelf = {
            "heading": heading,
            "shelf": [{"item": item, "picture": picture_of(item.matched_source)} for item in items],
        }
        engine = context.template.engine  # type: ignore[union-attr]
        with context.push(**shelf):
            return engine.get_template(TEMPLATE).render(context)


def _items(item: Any, **options: Any) -> list[Any]:
    try:
        return recommendations.similar_to(item, **options)
    except Error:
        # A page must not die of its shelf. Developers want to see it.
        if settings.DEBUG:
            raise
        logger.exception(
            "No similar products for %s %s",
            type(item).__name__,
            item.pk,
            extra={"item": item._meta.label_lower, "item_pk": str(item.pk)},
        )
        return []


@register.inclusion_tag("cardigan_reco/photo_box_form.html", takes_context=True)
def photo_search(context: Context, action: str = "") -> dict[str, Any]:
    """Renders a box that takes a photo and leads to the page with its results.

    {% photo_search %}
    {% photo_search action=address %}

    `action`: where that page is; by default what the shop's urls.py calls "photo-search".
    """
    if not action:
        try:
            action = reverse(PHOTO_SEARCH)
        except NoReverseMatch as error:
            raise TemplateSyntaxError(
                f"photo_search doesn't know the page: give urls.py a path named {PHOTO_SEARCH!r} "
                "to a PhotoSearchView, or the tag its address, as in action=address."
            ) from error
    return {"action": action, "max_image_bytes": conf.current().max_image_bytes}
