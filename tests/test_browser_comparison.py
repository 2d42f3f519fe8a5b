"""The comparison of encoders in a real browser: voted on with the keyboard alone, without a script,
and open to all, as far as axe-core can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import connection
from django.test import Client
from playwright.sync_api import Browser, Page, Route, expect
from pytest_django.live_server_helper import LiveServer

from cardigan_reco import comparison
from cardigan_reco.comparison import Answer
from cardigan_reco.models import ComparisonVote
from tests.conftest import BLUE, GREEN, ORANGE, RED, add_image, encode_all
from tests.duplicates.shop import file_of, list_item, photo
from tests.swapping.shop import NEW, OLD, second_table_declared
from tests.test_admin import staff
from tests.test_browser import browser, fits, settle  # noqa: F401
from tests.test_browser_duplicates import (  # noqa: F401
    SIZES,
    asked_beside_an_event_loop,
    opened,
    press_on_a_layout,
)
from tests.testapp.catalogue.models import Product

PAGE = "/admin/cardigan_reco/comparisonvote/"
PRODUCTS = 9  # Each has all the others on its shelves.

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("silent_doorbell", "shop"),
]


@pytest.fixture
def shop(transactional_db: None, silent_doorbell: list[str]) -> Iterator[list[Product]]:
    """Products with drawn photos in two tables."""
    connection.ensure_connection()
    with second_table_declared():
        products = [
            list_item(f"Blue mug no. {number} with a long name", file_of(photo(number)))
            for number in range(PRODUCTS)
        ]
        for order, colour in enumerate((RED, ORANGE, GREEN, BLUE), 1):
            add_image(products[0], colour, order)
        encode_all()
        yield products


def shown(page: Page) -> str:
    """Returns the item on the page."""
    return page.locator("input[name=item]").get_attribute("value") or ""


def choices() -> list[str]:
    pair = first_pair()
    votes = ComparisonVote.objects.order_by("voted_at", "pk")
    items = {str(item.pk): item for item in Product.objects.all()}
    found = [comparison.answer_of(items[one.item_pk], pair, voter=one.voter) for one in votes]
    return [str(answer) for answer in found]


def on_the_left() -> list[str]:
    """Returns whose shelf was left, vote after vote."""
    pair = first_pair()
    votes = ComparisonVote.objects.order_by("voted_at", "pk")
    falls = [comparison.new_is_left(one.item_pk, pair, voter=one.voter) for one in votes]
    return ["new" if is_left else "old" for is_left in falls]


def first_pair() -> tuple[str, str]:
    tables = comparison.chosen(OLD, NEW)
    pair = comparison.versions(comparison.queries(tables)[0], tables)
    assert pair is not None
    return pair


def press_and_wait(page: Page, key: str) -> None:
    with page.expect_navigation():
        page.keyboard.press(key)


def test_votes_by_keys(
    browser: Browser,  # noqa: F811
    live_server: LiveServer,
    admin_client: Client,
) -> None:
    complaints: list[str] = []
    with opened(browser, live_server, admin_client, path=PAGE) as page:
        page.on("console", lambda message: complaints.append(message.text))
        seen = []
        for key in ("1", "2", "3", "4", "ArrowLeft", "ArrowRight"):
            seen.append(shown(page))
            press_and_wait(page, key)
        assert len(set(seen)) == 6
        assert choices() == ["old", "new", "both", "neither", "old", "new"]

        skipped = shown(page)
        press_and_wait(page, "n")
        assert shown(page) != skipped
        assert len(choices()) == 6
        for picture in page.locator(".cardigan-side img").all():
            picture.scroll_into_view_if_needed()
            picture.evaluate("image => image.decode()")
        assert page.locator(".cardigan-side img").count() == 16
        # Letters and numbers are letters and numbers where one writes.
        page.get_by_text("What is compared").click()
        page.get_by_label("Search").fill("")
        page.keyboard.type("1234n")
        page.get_by_label("Turn these keys off").check()
        page.keyboard.press("1")
        page.reload()
        page.keyboard.press("1")
        page.get_by_label("Turn these keys off").uncheck()
        press_and_wait(page, "n")
        assert len(choices()) == 6
    assert complaints == []


def test_blind_from_the_first_to_the_last(
    browser: Browser,  # noqa: F811
    live_server: LiveServer,
    admin_client: Client,
) -> None:
    with opened(browser, live_server, admin_client, path=PAGE) as page:
        page.get_by_text("What is compared").click()
        page.get_by_label("Blind").check()
        page.get_by_role("button", name="Compare").click()
        expect(page.get_by_role("heading", name="Left", exact=True)).to_be_visible()
        expect(page.locator(".cardigan-similarity")).to_have_count(0)
        expect(page.get_by_text("Turn these keys off")).to_be_visible()
        for _ in range(PRODUCTS):
            press_and_wait(page, "1")
        expect(page.get_by_text("You have voted on all items")).to_be_visible()
        page.get_by_role("link", name="See what the votes say").click()
        expect(page.get_by_text("What the votes say")).to_be_visible()
        assert choices() == on_the_left()
        assert ComparisonVote.objects.filter(is_blind=True).count() == PRODUCTS


def test_digits_are_where_a_french_keyboard_has_them(
    browser: Browser,  # noqa: F811
    live_server: LiveServer,
    admin_client: Client,
) -> None:
    with opened(browser, live_server, admin_client, path=PAGE) as page:
        for key, code in (("é", "Digit2"), ('"', "Digit3"), ("à", "Digit0")):
            with page.expect_navigation():
                press_on_a_layout(page, key, code)
        with page.expect_navigation():
            press_on_a_layout(page, "1", "Digit1", with_shift=True)
        assert choices() == ["new", "both", "neither", "old"]


def test_without_the_script(
    browser: Browser,  # noqa: F811
    live_server: LiveServer,
    admin_client: Client,
) -> None:
    with opened(browser, live_server, admin_client, path=PAGE, java_script_enabled=False) as page:
        expect(page.get_by_text("Turn these keys off")).to_be_hidden()
        first = shown(page)
        with page.expect_navigation():
            page.get_by_role("button", name="New is better").click()
        assert shown(page) != first
        with page.expect_navigation():
            page.get_by_role("link", name="Next item").click()
        page.get_by_text("What is compared").click()
        page.locator("select[name=show]").select_option("all")
        with page.expect_navigation():
            page.get_by_role("button", name="Compare").click()
        assert shown(page) == first
        expect(page.get_by_role("button", name="New is better")).to_have_attribute(
            "aria-pressed", "true"
        )
    assert choices() == ["new"]


def test_who_may_only_look_has_nothing_to_press(
    browser: Browser,  # noqa: F811
    live_server: LiveServer,
) -> None:
    with opened(browser, live_server, staff("view_comparisonvote"), path=PAGE) as page:
        first = shown(page)
        page.keyboard.press("1")
        press_and_wait(page, "n")
        assert shown(page) != first
    assert choices() == []


def test_a_strict_content_policy_is_kept(
    browser: Browser,  # noqa: F811
    live_server: LiveServer,
    admin_client: Client,
) -> None:
    def answer(route: Route) -> None:
        response = route.fetch()
        policy = "default-src 'none'; form-action 'self'"
        for kind in ("script", "style", "img", "connect"):
            policy += f"; {kind}-src 'self'"
        headers = {**response.headers, "content-security-policy": policy}
        route.fulfill(response=response, headers=headers)

    complaints: list[str] = []
    with opened(browser, live_server, admin_client, path=PAGE) as page:
        page.route(re.compile(f"{PAGE}($|[?]|votes)"), answer)
        page.on("console", lambda message: complaints.append(message.text))
        page.reload()
        press_and_wait(page, "1")
        page.goto(f"{live_server.url}{PAGE}votes/")
    assert choices() == ["old"]
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_comparison_is_open_to_all(
    browser: Browser,  # noqa: F811
    live_server: LiveServer,
    admin_client: Client,
    shop: list[Product],
    size: str,
    scheme: Literal["light", "dark"],
) -> None:
    width, height = SIZES[size]
    screen = {"width": width, "height": height}
    with opened(
        browser, live_server, admin_client, path=PAGE, viewport=screen, color_scheme=scheme
    ) as page:

        def look(path: str) -> None:
            page.goto(f"{live_server.url}{path}")
            settle(page)
            violations = Axe().run(page).response["violations"]
            wrong = [(v["id"], [node["html"] for node in v["nodes"]]) for v in violations]
            assert wrong == [], path
            assert fits(page), path

        look(f"{PAGE}votes/")
        comparison.cast(shop[0], first_pair(), Answer.NEW, voter="admin", is_blind=False)
        look(f"{PAGE}?item={shop[0].pk}")
        look(f"{PAGE}?item={shop[1].pk}&blind=1")
        look(f"{PAGE}?q=nothing")
        look(f"{PAGE}?old=a.B&new=c.D")
        look(f"{PAGE}votes/")
