"""What a visitor asked a list of products for, read from the address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from django.db.models import Count, F, OrderBy
from django.http import QueryDict

from . import text_search
from .listings import HIGHEST_PRICE
from .models import ProductQuerySet

LONGEST_SEARCH = 200
MOST_VALUES = 20
LONGEST_VALUE = 100
ORDERS: dict[str, tuple[str, list[str | OrderBy]]] = {
    "match": ("Best match", ["-rank", "name", "pk"]),
    "name": ("Name", ["name", "pk"]),
    "price": ("Price, lowest first", [F("price").asc(nulls_last=True), "name", "pk"]),
    "-price": ("Price, highest first", [F("price").desc(nulls_last=True), "name", "pk"]),
    "newest": ("Newest first", ["-created_at", "-pk"]),
}


@dataclass(frozen=True)
class Chip:
    """An active filter, and the query string of the same list without it."""

    label: str
    query: str


@dataclass(frozen=True)
class Choice:
    """A value that a filter offers, and how many products would remain with it."""

    value: str
    size: int
    chosen: bool


@dataclass(frozen=True)
class Filters:
    search: str = ""
    colours: tuple[str, ...] = ()
    materials: tuple[str, ...] = ()
    lowest: Decimal | None = None
    highest: Decimal | None = None
    in_stock: bool = False
    sort: str = "name"

    @classmethod
    def read(cls, asked: QueryDict) -> Filters:
        """Returns the filters that the address names. What makes no sense in it is left out."""
        search = _text(asked.get("q", ""), LONGEST_SEARCH)
        lowest, highest = _price(asked.get("min", "")), _price(asked.get("max", ""))
        if lowest is not None and highest is not None and lowest > highest:
            lowest, highest = highest, lowest
        sort = asked.get("sort", "")
        if sort not in ORDERS or (sort == "match" and not search):
            sort = _default_sort(search)
        return cls(
            search=search,
            colours=_values(asked.getlist("colour")),
            materials=_values(asked.getlist("material")),
            lowest=lowest,
            highest=highest,
            in_stock=asked.get("stock") == "1",
            sort=sort,
        )

    def apply(self, products: ProductQuerySet) -> ProductQuerySet:
        """Returns the products that pass, in the order that was asked for."""
        return self._keep(products).order_by(*ORDERS[self.sort][1])

    def colour_choices(self, products: ProductQuerySet) -> list[Choice]:
        """Returns the colours among the products that pass all other filters, and the chosen."""
        return _choices(replace(self, colours=())._keep(products), "colour", self.colours)

    def material_choices(self, products: ProductQuerySet) -> list[Choice]:
        """As colour_choices(), of the materials."""
        return _choices(replace(self, materials=())._keep(products), "material", self.materials)

    @property
    def orders(self) -> list[tuple[str, str]]:
        """The choices for `sort` with their labels."""
        return [
            (name, label)
            for name, (label, _fields) in ORDERS.items()
            if name != "match" or self.search
        ]

    @property
    def parameters(self) -> QueryDict:
        """What of the address was understood; links to other pages of the list carry it."""
        sort = "" if self.sort == _default_sort(self.search) else self.sort
        lists = {
            "q": [self.search],
            "colour": self.colours,
            "material": self.materials,
            "min": ["" if self.lowest is None else str(self.lowest)],
            "max": ["" if self.highest is None else str(self.highest)],
            "stock": ["1" if self.in_stock else ""],
            "sort": [sort],
        }
        parameters = QueryDict(mutable=True)
        for name, values in lists.items():
            if any(values):
                parameters.setlist(name, list(values))
        return parameters

    @property
    def chips(self) -> list[Chip]:
        """The active filters, the search not among them."""
        return [Chip(label, rest.parameters.urlencode()) for label, rest in self._without_each()]

    @property
    def cleared(self) -> str:
        """The query string of the same search with no filter."""
        return Filters(search=self.search, sort=self.sort).parameters.urlencode()

    def _without_each(self) -> Iterator[tuple[str, Filters]]:
        for colour in self.colours:
            yield colour, replace(self, colours=_except(self.colours, colour))
        for material in self.materials:
            yield material, replace(self, materials=_except(self.materials, material))
        if self.lowest is not None:
            yield f"From €{self.lowest}", replace(self, lowest=None)
        if self.highest is not None:
            yield f"Up to €{self.highest}", replace(self, highest=None)
        if self.in_stock:
            yield "In stock", replace(self, in_stock=False)

    def _keep(self, products: ProductQuerySet) -> ProductQuerySet:
        if self.colours:
            products = products.filter(colour__in=self.colours)
        if self.materials:
            products = products.filter(material__in=self.materials)
        if self.lowest is not None:
            products = products.filter(price__gte=self.lowest)
        if self.highest is not None:
            products = products.filter(price__lte=self.highest)
        if self.in_stock:
            products = products.filter(stock__gt=0)
        if self.search:
            products = text_search.find(products, self.search)
        return products


def _default_sort(search: str) -> str:
    return "match" if search else "name"


def _choices(products: ProductQuerySet, field: str, chosen: tuple[str, ...]) -> list[Choice]:
    counted = products.exclude(**{field: ""}).order_by().values_list(field)
    sizes = dict(counted.annotate(size=Count("pk", distinct=True)))
    sizes = {**dict.fromkeys(chosen, 0), **sizes}
    return [Choice(value, sizes[value], value in chosen) for value in sorted(sizes)]


def _text(text: str, longest: int) -> str:
    # PostgreSQL takes no zero bytes.
    return " ".join(text[:longest].replace("\0", " ").split())


def _values(texts: list[str]) -> tuple[str, ...]:
    values = (_text(text, LONGEST_VALUE) for text in texts[:MOST_VALUES])
    return tuple(dict.fromkeys(value for value in values if value))


def _price(text: str) -> Decimal | None:
    try:
        price = Decimal(text[:LONGEST_VALUE].strip().lstrip("€").replace(",", "."))
    except InvalidOperation:
        return None
    if not price.is_finite() or not 0 <= price <= HIGHEST_PRICE:
        return None
    cents = price.quantize(Decimal("0.01"))
    return cents.to_integral_value() if cents == cents.to_integral_value() else cents


def _except(values: tuple[str, ...], value: str) -> tuple[str, ...]:
    return tuple(other for other in values if other != value)
