"""The demo's shelf in a real browser, on a desktop and on a phone."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
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
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    name = pictures.first.get_attribute("alt")
    shelf.get_by_role("link", name=name, exact=True).click()
    page.wait_for_url(lambda url: url != product_page)
    assert page.get_by_role("heading", level=1).inner_text() == name
    assert complaints == []


def test_a_catalogue_page_fits_the_screen(page: Page, product_page: str) -> None:
    page.goto(product_page.split("/product/")[0])
    assert page.get_by_role("heading", level=1).inner_text() == "All products"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
