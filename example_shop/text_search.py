"""The shop's search: words, and parts of words, in what is written of the products."""

from __future__ import annotations

from django.contrib.postgres.search import SearchQuery, SearchRank, SearchVector
from django.db.models import Q

from .models import ProductQuerySet

CONFIG = "english"
FIELDS = ("name", "brand", "description", "colour", "material", "category__name")
MOST_WORDS = 10


def find(products: ProductQuerySet, text: str) -> ProductQuerySet:
    """Returns the products that `text` finds, with `rank`, higher where the name has it.

    `text` is as in a web search: several words, "a phrase", -without.
    """
    # The full text finds "mugs" by "mug" and ranks; the parts find "terra" in "terracotta". The
    # vectors are made anew for each search: nothing to keep up to date for a small shop.
    vector = (
        SearchVector("name", weight="A", config=CONFIG)
        + SearchVector("colour", "material", "category__name", weight="B", config=CONFIG)
        + SearchVector("brand", "description", weight="C", config=CONFIG)
    )
    query = SearchQuery(text, search_type="websearch", config=CONFIG)
    parts = Q()
    for word in text.split()[:MOST_WORDS]:
        held = Q()
        for field in FIELDS:
            held |= Q(**{f"{field}__icontains": word})
        parts &= held
    found = products.annotate(vector=vector, rank=SearchRank(vector, query))
    return found.filter(Q(vector=query) | parts)
