"""The shop's search: words, and beginnings of words, in what is written of the products."""

from __future__ import annotations

import re

from django.contrib.postgres.search import SearchQuery, SearchRank, SearchVector
from django.db.models import Q

from .models import ProductQuerySet

CONFIG = "english"
BEGINNINGS_IN = ("name", "brand", "colour", "material", "category__name")
"""Not in the description: "red" is no word of it where a thing is "reduced"."""
MOST_WORDS = 10


def find(products: ProductQuerySet, text: str) -> ProductQuerySet:
    """Returns the products that `text` finds, with `rank`, higher where the name has it.

    `text` is as in a web search: several words, "a phrase", -without.
    """
    # The full text finds "mugs" by "mug" and ranks; the beginnings find "terracotta" by "terra".
    # The vectors are made anew for each search: nothing to keep up to date for a small shop.
    vector = (
        SearchVector("name", weight="A", config=CONFIG)
        + SearchVector("colour", "material", "category__name", weight="B", config=CONFIG)
        + SearchVector("brand", "description", weight="C", config=CONFIG)
    )
    query = SearchQuery(text, search_type="websearch", config=CONFIG)
    begun = Q()
    for word in text.split()[:MOST_WORDS]:
        # \m is PostgreSQL's for the beginning of a word.
        pattern = rf"\m{re.escape(word)}"
        anywhere = Q()
        for field in BEGINNINGS_IN:
            anywhere |= Q(**{f"{field}__iregex": pattern})
        begun &= anywhere
    found = products.annotate(vector=vector, rank=SearchRank(vector, query))
    return found.filter(Q(vector=query) | begun)
