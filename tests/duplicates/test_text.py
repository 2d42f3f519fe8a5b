"""What the words and numbers of two listings say of their being one."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from cardigan_reco.duplicates.text import Facts, facts


def titles(first: str, second: str, **others: Any) -> Facts:
    return facts({"title": first, **others}, {"title": second, **others})


def test_what_a_listing_does_not_say_counts_for_nothing() -> None:
    assert facts({}, {}) == Facts()
    listing = {"title": "Alma mug", "brand": "", "price": None}
    assert facts(listing, {"brand": "Nord", "price": 5}) == Facts()


def test_titles_are_alike_whatever_case_order_and_punctuation() -> None:
    assert titles("Alma mug, ivory", "IVORY Alma-Mug!").title == 1
    likeness = titles("Alma mug", "Alma mugs").title
    assert likeness is not None
    assert 0.9 < likeness < 1
    other = titles("Alma mug", "Walnut chair").title
    assert other is not None
    assert other < 0.5


def test_brands_and_skus() -> None:
    found = facts({"brand": "Loft Living", "sku": "A-12"}, {"brand": "loft living", "sku": "a 12"})
    assert found.is_same_brand
    assert found.sku == 1
    found = facts({"brand": "Loft Living", "sku": "A-12"}, {"brand": "Market Hall", "sku": "B-12"})
    assert found.is_same_brand is False
    assert found.sku == 0
    assert facts({"sku": 7}, {}).sku is None


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        (10, 10, 1),
        (Decimal("8.00"), 10.0, 0.8),
        ("12.50", "25", 0.5),
        (SimpleNamespace(amount=Decimal(4)), 8, 0.5),  # as django-money and others have it
        (0, 10, None),
        (-1, 10, None),
        ("on request", 10, None),
        (float("nan"), 10, None),
        (float("inf"), 10, None),
    ],
)
def test_prices(first: Any, second: Any, share: float | None) -> None:
    assert facts({"price": first}, {"price": second}).price == share
    assert facts({"price": second}, {"price": first}).price == share


@pytest.mark.parametrize(
    ("first", "second", "variants"),
    [
        ("Ribe vase, teal", "Ribe vase, large, teal", "large"),
        ("Ribe vase, teal", "Ribe vase, plum", "teal / plum"),
        ("Olive oil 500 ml", "Olive oil 750 ml", "500 / 750"),
        ("Tee XL", "Tee S", "xl / s"),
        ("Lage table, oak", "Lage table, walnut", "oak / walnut"),
        ("Ribe vase, teal", "Teal vase Ribe", ""),
        ("Ribe vase, grey", "Ribe vase, greys", ""),  # a spelling
        ("Ribe vase, teal", "Lovely vase in teal", ""),
        ("Jacket, 5'10", "Jacket, 5'11", "10 / 11"),
    ],
)
def test_titles_that_tell_variants_apart(first: str, second: str, variants: str) -> None:
    assert titles(first, second, brand="Cardigan").variants == variants


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Men's jacket", "Mens jacket"),
        ("Men’s jacket", "Menʼs jacket"),
        ("L'Oréal shampoo", "LOréal shampoo"),
    ],
)
def test_an_apostrophe_leaves_no_size(first: str, second: str) -> None:
    found = titles(first, second, brand="Cardigan")
    assert (found.title, found.variants) == (1, "")


def test_of_two_brands_both_must_name_what_differs() -> None:
    one, other = {"title": "Ribe vase", "brand": "Loft"}, {"title": "Ribe vase, large"}
    assert facts(one, {**other, "brand": "Market"}).variants == ""
    assert facts(one, {**other, "brand": "Loft"}).variants == "large"
    small = {"title": "Ribe vase, small", "brand": "Loft"}
    assert facts(small, {**other, "brand": "Market"}).variants == "small / large"


def test_one_sku_is_one_variant_whatever_the_titles_say() -> None:
    assert titles("Ribe vase, teal", "Ribe vase, plum", sku="A-12").variants == ""


def test_titles_in_any_writing() -> None:
    assert titles("花瓶 青", "青 花瓶").title == 1
    assert titles("Łyżka", "łyżka").title == 1
