"""The demo's pages in a real browser, on a desktop and on phones: they work, fit and are open
to all, as far as axe-core can tell.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.test_demo import running_demo

# Chromium's own services are of no use here, and may not be reachable.
OPTIONS = [
    *["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    *["--disable-background-networking", "--disable-component-update", "--disable-sync"],
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not on the PATH, and CI needs it.")
        pytest.skip("chromium is not on the PATH.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def product_page() -> Iterator[str]:
    """The address of a product page of the demo, with the catalogue of the repository."""
    with (
        tempfile.TemporaryDirectory(prefix="cardigan-browser-") as folder,
        running_demo(Path(folder)) as (_process, printed),
    ):
        found = re.search(r"A product +(\S+)", printed)
        assert found, printed
        yield found[1]


@pytest.fixture(params=[(1280, 900), (390, 844), (360, 740)], ids=lambda size: f"{size[0]}px")
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, height = request.param
    opened = browser.new_page(viewport={"width": width, "height": height})
    opened.set_default_timeout(10_000)
    yield opened
    opened.close()


def test_the_shelf_is_seen_and_leads_on(page: Page, product_page: str) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    page.goto(product_page)
    shelf = page.get_by_role("region", name="Similar products")
    pictures = shelf.get_by_role("img")
    assert pictures.count() == 8
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        picture.evaluate("image => image.decode()")
        assert picture.get_attribute("alt")
    assert fits(page)
    name = pictures.first.get_attribute("alt")
    shelf.get_by_role("link", name=name, exact=True).click()
    page.wait_for_url(lambda url: url != product_page)
    assert page.get_by_role("heading", level=1).inner_text() == name
    assert complaints == []


def test_from_the_start_to_a_neighbour_on_the_shelf(page: Page, product_page: str) -> None:
    page.goto(site(product_page))
    page.get_by_role("region", name="Categories").get_by_role("link").first.click()
    if not page.get_by_role("button", name="Show products").is_visible():
        page.locator("summary", has_text="Filters").click()
    page.get_by_label("In stock only").check()
    page.get_by_label("To", exact=True).fill("9999")
    page.get_by_role("button", name="Show products").click()
    page.get_by_label("Sort by").select_option(label="Price, highest first")
    page.get_by_role("button", name="Sort").click()
    assert re.search(r"/category/[\w-]+/\?min=&max=9999&stock=1&sort=-price$", page.url)
    page.get_by_role("list", name="Active filters").get_by_role("link").first.click()
    assert page.url.endswith("?stock=1&sort=-price")
    assert fits(page)
    page.locator("a.card").first.click()
    assert "/product/" in page.url
    neighbour = page.get_by_role("region", name="Similar products").get_by_role("link").first
    name = neighbour.get_by_role("img").get_attribute("alt")
    neighbour.click()
    page.wait_for_url(lambda url: name is not None and url != product_page)
    assert page.get_by_role("heading", level=1).inner_text() == name
    page.get_by_role("link", name=re.compile("More like this picture")).first.click()
    assert page.get_by_role("heading", level=1).inner_text() == "More like this picture"
    assert page.locator("a.card").count() > 8


def test_the_search_works_without_a_mouse(page: Page, product_page: str) -> None:
    page.goto(site(product_page))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.get_by_label("Search for products").focus()
    page.keyboard.type("bowl")
    page.keyboard.press("Enter")
    page.wait_for_url("**/products/?q=bowl")
    assert page.locator("a.card").count() > 1
    assert page.get_by_label("Search for products").input_value() == "bowl"


def test_long_words_fit_the_screen(page: Page, product_page: str) -> None:
    home = site(product_page)
    for address in (home, f"{home}/products/?stock=1&min=5", product_page):
        page.goto(address)
        page.evaluate("""
            for (const text of document.querySelectorAll("h1, dd a, .name, .tile-name, .chips a,"
                + ".categories a, .trail a, .cardigan-shelf-name"))
                text.textContent = "x".repeat(70)
        """)
        assert fits(page), address


def test_a_picture_that_is_changed_in_the_admin_changes_the_shelf(
    browser: Browser, product_page: str, tmp_path: Path
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(product_page)
    name = page.get_by_role("heading", level=1).inner_text()
    before = shelf(page)
    page.goto(f"{site(product_page)}/admin/login/?next=/admin/shop/product/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("admin")
    page.get_by_role("button", name="Log in").click()
    page.locator("#searchbar").fill(name)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=name, exact=True).first.click()
    inline = page.locator(".inline-related.has_original, tr.has_original")
    inline.first.wait_for()
    assert inline.get_by_role("img").count() == inline.count() > 0
    for checkbox in inline.get_by_role("checkbox").all()[1:]:
        checkbox.check()
    picture = tmp_path / "blue.jpg"
    Image.new("RGB", (400, 400), "blue").save(picture)
    inline.locator("input[type=file]").first.set_input_files(picture)
    page.get_by_role("button", name="Save", exact=True).first.click()
    page.get_by_text("was changed successfully").wait_for()
    deadline = time.monotonic() + 30
    page.goto(product_page)
    while shelf(page) == before:
        assert time.monotonic() < deadline
        page.wait_for_timeout(500)
        page.reload()
    assert len(shelf(page)) == 8
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_each_kind_of_page_is_open_to_all(
    browser: Browser, product_page: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    home = site(product_page)
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.goto(product_page)
    alike = page.locator("a.more").first.get_attribute("href")
    page.goto(home)
    category = page.locator("a.tile").first.get_attribute("href")
    filtered = f"{category}?stock=1&min=1&sort=price"
    lists = ["/products/", category, filtered, "/products/?q=bowl", "/products/?q=bowl&min=99999"]
    for path in ["/", *lists, product_page.removeprefix(home), alike, "/photo/", "/nothing/"]:
        page.goto(f"{home}{path}")
        # axe doesn't look into what is closed.
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        violations = Axe().run(page).response["violations"]
        found = [(v["id"], [node["html"] for node in v["nodes"]]) for v in violations]
        assert found == [], path
        assert fits(page), path
    page.close()


def site(address: str) -> str:
    return address.split("/product/")[0]


def shelf(page: Page) -> list[str | None]:
    links = page.get_by_role("region", name="Similar products").get_by_role("link")
    return [link.get_attribute("href") for link in links.all()]


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))
