"""Of listings that were confirmed as one thing, a shelf shows one."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from cardigan_reco import search
from cardigan_reco.models import DuplicateGroup, DuplicateState
from cardigan_reco.recommendations import similar_to
from tests.conftest import BLUE, GREEN, ORANGE, RED, AddProduct, encode_all, jpeg
from tests.duplicates.rows import COLLECTION, pair
from tests.testapp.catalogue.models import Product

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def duplicates_are_looked_for(settings: Settings) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": {}}


@pytest.fixture
def shop(add_product: AddProduct) -> dict[str, Product]:
    products = {
        "mug": add_product("mug", RED),
        "cup": add_product("cup", (225, 60, 30)),
        "cup again": add_product("cup again", (226, 70, 30)),
        "bowl": add_product("bowl", ORANGE),
        "vase": add_product("vase", GREEN),
        "jug": add_product("jug", BLUE),
    }
    encode_all()
    return products


def titles(items: list[Product]) -> list[str]:
    return [item.title for item in items]


def test_what_is_open_or_dismissed_changes_nothing(shop: dict[str, Product]) -> None:
    pair(shop["cup"], shop["cup again"])
    pair(shop["bowl"], shop["mug"], state=DuplicateState.DISMISSED)
    assert titles(similar_to(shop["mug"], limit=3)) == ["cup", "cup again", "bowl"]


@pytest.mark.parametrize("state", [DuplicateState.CONFIRMED, DuplicateState.MERGED])
def test_the_nearest_of_a_family_is_shown_and_the_page_is_full(
    shop: dict[str, Product], state: str
) -> None:
    pair(shop["cup"], shop["cup again"], state=state)
    assert titles(similar_to(shop["mug"], limit=3)) == ["cup", "bowl", "vase"]
    assert titles(search.by_image(jpeg(RED), limit=3)) == ["mug", "cup", "bowl"]


def test_no_double_of_the_product_itself(shop: dict[str, Product]) -> None:
    pair(shop["mug"], shop["cup"], state=DuplicateState.CONFIRMED)
    assert titles(similar_to(shop["mug"], limit=2)) == ["cup again", "bowl"]


def test_a_family_holds_together_through_a_listing_that_is_not_shown(
    shop: dict[str, Product],
) -> None:
    hidden = Product.objects.create(title="hidden", is_public=False)
    pair(shop["cup"], hidden, state=DuplicateState.CONFIRMED)
    pair(shop["cup again"], hidden, state=DuplicateState.CONFIRMED)
    assert titles(similar_to(shop["mug"], limit=2)) == ["cup", "bowl"]


@pytest.mark.parametrize("is_settled", [True, False])
def test_members_of_a_confirmed_group_that_are_not_a_pair(
    shop: dict[str, Product], is_settled: bool
) -> None:
    state = DuplicateState.CONFIRMED if is_settled else DuplicateState.OPEN
    group = DuplicateGroup.objects.create(
        collection=COLLECTION, state=state, kind="same_photo", probability=0.9, listings=4
    )
    for name in ("cup", "cup again"):
        hidden = Product.objects.create(title=f"hidden {name}", is_public=False)
        pair(shop[name], hidden, state=DuplicateState.CONFIRMED, group=group)
    shown = ["cup", "bowl"] if is_settled else ["cup", "cup again"]
    assert titles(similar_to(shop["mug"], limit=2)) == shown


def test_all_of_one_family(shop: dict[str, Product]) -> None:
    names = list(shop)
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            pair(shop[first], shop[second], state=DuplicateState.CONFIRMED)
    assert similar_to(shop["mug"]) == []
    assert titles(search.by_image(jpeg(RED))) == ["mug"]


def test_pages_go_on_where_the_last_one_ended(shop: dict[str, Product]) -> None:
    pair(shop["cup"], shop["cup again"], state=DuplicateState.CONFIRMED)
    pages = [titles(search.by_image(jpeg(RED), limit=2, offset=offset)) for offset in (0, 2, 4)]
    assert pages == [["mug", "cup"], ["bowl", "vase"], ["jug"]]


@pytest.mark.django_db(transaction=True)
def test_it_takes_no_longer_than_a_search_may(shop: dict[str, Product], settings: Settings) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH_TIMEOUT_SECONDS": 0.2}
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("LOCK TABLE cardigan_reco_duplicatepair")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '5s'")  # Lest the test wait for itself.
        with pytest.raises(OperationalError, match="statement timeout"):
            similar_to(shop["mug"])
    finally:
        other.close()
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_it_takes_one_statement_and_none_where_duplicates_are_not_looked_for(
    shop: dict[str, Product], settings: Settings
) -> None:
    pair(shop["cup"], shop["cup again"], state=DuplicateState.CONFIRMED)
    pair(shop["mug"], shop["bowl"], state=DuplicateState.CONFIRMED)
    counts = []
    without = {key: value for key, value in settings.CARDIGAN_RECO.items() if key != "DUPLICATES"}
    elsewhere = {**without, "DUPLICATES": {"COLLECTION": "posters"}}
    for settings.CARDIGAN_RECO in (without, elsewhere, {**without, "DUPLICATES": {}}):
        similar_to(shop["mug"], limit=3)
        with CaptureQueriesContext(connection) as queries:
            similar_to(shop["mug"], limit=3)
        counts.append(len(queries))
    assert counts[1] == counts[0]
    assert counts[2] == counts[0] + 1
