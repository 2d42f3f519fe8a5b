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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Error, Page, Route, expect, sync_playwright

from tests.test_demo import running_demo

# Chromium's own services are of no use here, and may not be reachable.
OPTIONS = [
    *["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    *["--disable-background-networking", "--disable-component-update", "--disable-sync"],
]
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not on the PATH, and CI needs it.")
        pytest.skip("chromium is not on the PATH.")
    expect.set_options(timeout=PATIENCE_MS)
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
    opened.set_default_timeout(PATIENCE_MS)
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
    expect(page.get_by_role("heading", level=1)).to_have_text(name or "")
    assert complaints == []


def test_from_the_start_to_a_neighbour_on_the_shelf(page: Page, product_page: str) -> None:
    page.goto(site(product_page))
    page.get_by_role("region", name="Categories").get_by_role("link").first.click()
    page.wait_for_url(re.compile("/category/"))
    if not page.get_by_role("button", name="Show products").is_visible():
        page.locator("summary", has_text="Filters").click()
    page.get_by_label("In stock only").check()
    page.get_by_label("To", exact=True).fill("9999")
    page.get_by_role("button", name="Show products").click()
    page.wait_for_url("**&stock=1&sort=*")
    page.get_by_label("Sort by").select_option(label="Price, highest first")
    page.get_by_role("button", name="Sort").click()
    page.wait_for_url(re.compile(r"/category/[\w-]+/\?min=&max=9999&stock=1&sort=-price$"))
    page.get_by_role("list", name="Active filters").get_by_role("link").first.click()
    page.wait_for_url(re.compile(r"/\?stock=1&sort=-price$"))
    assert fits(page)
    page.locator("a.card").first.click()
    page.wait_for_url(re.compile("/product/"))
    neighbour = page.get_by_role("region", name="Similar products").get_by_role("link").first
    name = neighbour.get_by_role("img").get_attribute("alt")
    neighbour.click()
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text(name or "")
    page.get_by_role("link", name=re.compile("More like this picture")).first.click()
    expect(heading).to_have_text("More like this picture")
    expect(page.locator("a.card").nth(8)).to_be_visible()


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


def test_large_letters_fit_a_phone(browser: Browser, product_page: str) -> None:
    home = site(product_page)
    with browser.new_context(viewport={"width": 360, "height": 740}) as context:
        page = context.new_page()
        for address in (home, f"{home}/products/?q=mug&stock=1", product_page, f"{home}/photo/"):
            page.goto(address)
            page.add_style_tag(content="html { font-size: 200% }")
            assert fits(page), address
            for word in page.locator("header nav a, .facts dd a, .name").all()[:6]:
                box = word.bounding_box()
                assert box
                assert box["width"] > 80, address  # Not a letter a line.


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
    page.wait_for_url("**q=**")
    page.get_by_role("link", name=name, exact=True).first.click()
    page.wait_for_url("**/change/**")
    inline = page.locator(".inline-related.has_original, tr.has_original")
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


STREET = Path(__file__).parent.parent / "example_shop" / "catalogue" / "street"
HREFS = "links => links.map(link => link.getAttribute('href'))"


@contextmanager
def photo_page(browser: Browser, product_page: str, **options: object) -> Iterator[Page]:
    """Opens the page of the photo search, in a window of its own."""
    with browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(RECORD)
        page.goto(f"{site(product_page)}/photo/")
        yield page


def choose(page: Page, photo: Path | dict[str, object] = STREET / "05.jpg") -> None:
    page.locator("input[type=file]").first.set_input_files(photo)


def found(page: Page) -> list[str]:
    """Returns where the results lead once they are there."""
    page.locator(".cardigan-photo-results[data-state=found]").wait_for()
    return page.locator("[data-items] a").evaluate_all(HREFS)


def sides(page: Page) -> list[float]:
    """Returns the frame's left, top, right and bottom, in percent of the photo."""
    return page.evaluate("""() => {
        const all = document.querySelector("[data-picture]").getBoundingClientRect();
        const part = document.querySelector("[data-frame]").getBoundingClientRect();
        return [(part.left - all.left) / all.width, (part.top - all.top) / all.height,
            (part.right - all.left) / all.width, (part.bottom - all.top) / all.height]
            .map(side => Math.round(side * 100));
    }""")


def drag(page: Page, target: str, x: float, y: float) -> None:
    """Drags the middle of an element by so many pixels with the mouse."""
    box = page.locator(target).bounding_box()
    assert box
    left, top = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(left + x / 2, top + y / 2)
    page.mouse.move(left + x, top + y)
    page.mouse.up()


# What the script sends: Playwright doesn't see into a body that holds a file.
RECORD = """
    window.sent = [];
    const send = window.fetch;
    window.fetch = (address, options) => {
        if (options && options.body) window.sent.push(Object.fromEntries(options.body));
        return send(address, options);
    };
"""


def is_photo(request: object) -> bool:
    return getattr(request, "method", "") == "POST"


def test_a_photo_is_framed_by_mouse_and_keys(page: Page, product_page: str) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.emulate_media(reduced_motion="reduce")  # A mouse misses what still scrolls.
    page.goto(f"{site(product_page)}/photo/")
    choose(page)
    whole = found(page)
    assert len(whole) == 24
    assert sides(page) == [0, 0, 100, 100]
    assert fits(page)

    page.locator("[data-frame]").scroll_into_view_if_needed()
    with page.expect_request(is_photo):
        drag(page, "[data-corner=nw]", 90, 60)
    left, top, *others = sides(page)
    assert left > 10
    assert top > 10
    assert others == [100, 100]
    expect(page.locator("[data-spoken]")).to_contain_text(f"from {left} to 100 percent")
    expect(page.locator(".cardigan-photo-results")).to_have_attribute("aria-busy", "false")
    framed = found(page)
    assert framed != whole

    page.locator("[data-corner=se]").focus()
    with page.expect_response(lambda response: is_photo(response.request)):
        for key in ["ArrowLeft"] * 10 + ["ArrowUp"] * 5:
            page.keyboard.press(key)
    assert sides(page) == [left, top, 80, 90]
    page.locator("[data-frame]").focus()
    with page.expect_response(lambda response: is_photo(response.request)):
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Shift+ArrowLeft")
    assert sides(page) == [left, top + 2, 78, 92]
    expect(page.locator("[data-spoken]")).to_contain_text(f"from {left} to 78 percent")
    expect(page.locator(".cardigan-photo-results")).to_have_attribute("aria-busy", "false")
    assert found(page) not in (whole, framed)

    page.get_by_role("button", name="Whole photo").click()
    expect(page.locator("[data-items] a").first).to_have_attribute("href", whole[0])
    assert sides(page) == [0, 0, 100, 100]
    page.get_by_role("button", name="Remove").click()
    expect(page.locator("[data-items]")).to_have_count(0)
    assert complaints == []


def test_a_finger_moves_the_frame_and_the_page(browser: Browser, product_page: str) -> None:
    phone = {"viewport": {"width": 390, "height": 700}, "has_touch": True, "is_mobile": True}
    with photo_page(browser, product_page, reduced_motion="reduce", **phone) as page:
        choose(page)
        found(page)
        corner = page.locator("[data-corner=se]")
        corner.evaluate("corner => corner.scrollIntoView({block: 'center', behavior: 'instant'})")
        box = corner.bounding_box()
        assert box
        assert box["width"] >= 44
        assert box["height"] >= 44
        x, y = box["x"] + 22, box["y"] + 22
        scrolled = page.evaluate("scrollY")
        fingers = page.context.new_cdp_session(page)
        for kind, step in [("touchStart", 0), ("touchMove", 40), ("touchMove", 80)]:
            points = [{"x": x - step, "y": y - step}]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        with page.expect_response(lambda response: is_photo(response.request)):
            fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        left, top, right, bottom = sides(page)
        assert (left, top) == (0, 0)
        assert right < 90
        assert bottom < 90
        assert page.evaluate("scrollY") == scrolled
        assert page.get_by_text("Take a photo").is_visible()


def test_a_large_photo_is_sent_small_upright_and_without_its_place(
    browser: Browser, product_page: str, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    picture = Image.effect_noise((4000, 3000), 90).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "at home"
    picture.save(photo, exif=exif, quality=97)
    assert photo.stat().st_size > 10 * 1024**2
    with photo_page(browser, product_page) as page:
        choose(page, photo)
        assert found(page)
        name, kind, text = page.evaluate(
            "(async ({image}) => [image.name, image.type, await image.text()])(sent[0])"
        )
        assert (name, kind) == ("photo.jpg", "image/jpeg")
        assert 10_000 < len(text) < 3 * 1024**2
        assert "at home" not in text
        size = page.locator("canvas").evaluate("canvas => [canvas.width, canvas.height]")
        assert size == [1200, 1600]


def test_filters_samples_more_and_the_way_back(browser: Browser, product_page: str) -> None:
    with photo_page(browser, product_page) as page:
        page.locator("[data-sample]").nth(2).click()
        first = found(page)
        assert sides(page) == [24, 18, 82, 49]
        assert page.locator("[data-frame]").evaluate("frame => frame === document.activeElement")
        page.get_by_role("button", name="More").click()
        expect(page.locator("[data-items] > li")).to_have_count(48)
        assert found(page)[:24] == first
        assert page.evaluate("document.activeElement.getAttribute('href')") == found(page)[24]

        page.locator("summary", has_text="Filters").click()
        with page.expect_response(lambda response: is_photo(response.request)):
            page.get_by_label("Category").select_option(label="Lighting")
        lamps = found(page)
        assert lamps != first
        expect(page.locator("[data-items] .name").first).to_contain_text("lamp")
        page.get_by_label("To, in euros").fill("0.01")
        page.keyboard.press("Tab")
        page.get_by_text("Nothing like it was found.").wait_for()
        assert page.get_by_text("taking a filter away").is_visible()
        page.get_by_label("To, in euros").fill("")
        page.keyboard.press("Tab")
        assert found(page) == lamps

        page.locator("[data-items] a").first.click()
        page.wait_for_url("**/product/**")
        page.go_back()
        # The photo is a JPEG of a JPEG now: what is about equally near may change places, and the
        # last ones with those that come next.
        assert len(set(found(page)) & set(lamps)) >= len(lamps) - 2
        assert sides(page) == [24, 18, 82, 49]
        page.goto(page.url)
        # A photo that is on its way is told at once.
        expect(page.locator(".cardigan-photo-results")).to_have_attribute("data-state", "start")
        assert page.locator("canvas").is_hidden()


@pytest.mark.parametrize(
    ("name", "words"),
    [("notes.jpg", "This file isn’t a photo"), ("IMG_1.HEIC", "This is a HEIC photo")],
)
def test_a_bad_file_is_told(browser: Browser, product_page: str, name: str, words: str) -> None:
    with photo_page(browser, product_page) as page:
        choose(page, {"name": name, "mimeType": "", "buffer": b"no picture"})
        page.get_by_role("status").get_by_text(words).wait_for()
        assert page.locator("canvas").is_hidden()
        choose(page)
        assert len(found(page)) == 24


def test_offline_and_a_busy_shop(browser: Browser, product_page: str) -> None:
    with photo_page(browser, product_page) as page:
        page.context.set_offline(True)
        choose(page)
        page.get_by_role("status").get_by_text("You are offline").wait_for()
        page.context.set_offline(False)
        assert len(found(page)) == 24

        def busy(route: Route) -> None:
            route.fulfill(status=503, headers={"Retry-After": "2"}, body="<h1>Busy</h1>")

        page.route("**/photo/", busy)
        choose(page, STREET / "01.jpg")
        page.get_by_role("status").get_by_text("The shop is busy just now").wait_for()
        expect(page.get_by_role("button", name="Try again in 2 s")).to_be_disabled()
        page.unroute("**/photo/")
        page.get_by_role("button", name="Try again", exact=True).click()
        assert len(found(page)) == 24

        page.route("**/photo/", lambda route: route.fulfill(status=413, body="nginx"))
        choose(page)
        page.get_by_role("status").get_by_text("too large for this shop").wait_for()


def test_the_last_frame_wins(browser: Browser, product_page: str) -> None:
    held: list[Route] = []
    with photo_page(browser, product_page) as page:
        page.route("**/photo/", lambda route: route.continue_() if held else held.append(route))
        with page.expect_request(is_photo):
            choose(page)
        page.locator("[data-frame]").wait_for()
        page.get_by_text("Looking for what is like it").wait_for()
        page.locator("[data-corner=se]").focus()
        with page.expect_event("requestfailed", is_photo):  # Nobody waits for the first one.
            page.keyboard.press("ArrowLeft")
        results = found(page)
        with suppress(Error):
            held[0].fulfill(status=200, body="<div data-cardigan-found data-state=nothing></div>")
        assert found(page) == results


@pytest.mark.parametrize(
    ("way", "target"),
    [
        ("drop", "[data-cardigan-box]"),
        ("paste", "body"),
        ("paste", "[data-cardigan-box] input"),
    ],
)
def test_a_photo_comes_in_on_any_page(
    browser: Browser, product_page: str, way: str, target: str
) -> None:
    with photo_page(browser, product_page) as page:
        for path in ("/photo/", "/"):
            page.goto(f"{site(product_page)}{path}")
            page.evaluate(
                """async ([address, way, target]) => {
                    const blob = await (await fetch(address)).blob();
                    const files = new DataTransfer();
                    files.items.add(new File([blob], "photo.jpg", {type: "image/jpeg"}));
                    const options = {bubbles: true, cancelable: true};
                    document.querySelector(target).dispatchEvent(way === "drop"
                        ? new DragEvent("drop", {...options, dataTransfer: files})
                        : new ClipboardEvent("paste", {...options, clipboardData: files}));
                }""",
                ["/photo/street/05.jpg", way, target],
            )
            page.wait_for_url("**/photo/")
            assert len(found(page)) == 24
            assert sides(page) == [0, 0, 100, 100]


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("<input type=search>", "image/png"),
        ("<textarea></textarea>", "image/png"),
        ("<select></select>", "image/png"),
        ("<p contenteditable><b></b></p>", "image/png"),
        ("<p></p>", "application/pdf"),
        ("<p></p>", ""),
    ],
)
def test_what_is_pasted_for_something_else_is_left_alone(
    browser: Browser, product_page: str, target: str, kind: str
) -> None:
    with photo_page(browser, product_page) as page:
        assert page.evaluate(PASTE, [target, "pasted", kind])


# Whether the page leaves a file alone that is pasted into an element.
PASTE = """([target, name, kind]) => {
    document.body.insertAdjacentHTML("beforeend", target);
    const files = new DataTransfer();
    files.items.add(new File(["x"], name, {type: kind}));
    const last = document.body.lastElementChild;
    return (last.firstElementChild ?? last).dispatchEvent(new ClipboardEvent("paste",
        {bubbles: true, cancelable: true, clipboardData: files}));
}"""


def test_a_pasted_picture_without_a_type_goes_by_its_name(
    browser: Browser, product_page: str
) -> None:
    with photo_page(browser, product_page) as page:
        assert not page.evaluate(PASTE, ["<p></p>", "IMG_1.HEIC", ""])
        page.get_by_role("status").get_by_text("This is a HEIC photo").wait_for()


def test_keys_of_the_browser_move_no_frame(browser: Browser, product_page: str) -> None:
    with photo_page(browser, product_page) as page:
        choose(page)
        found(page)
        page.locator("[data-corner=se]").focus()
        page.keyboard.press("ArrowLeft")
        for key in ("altKey", "ctrlKey", "metaKey"):
            assert page.evaluate(
                """key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown",
                    {key: "ArrowLeft", [key]: true, bubbles: true, cancelable: true}))""",
                key,
            )
        assert sides(page) == [0, 0, 98, 100]


def test_a_photo_that_the_tab_cannot_keep(browser: Browser, product_page: str) -> None:
    """Then the browser sends the form itself, and the script of the next page has no photo."""
    with photo_page(browser, product_page) as page:
        page.add_init_script("Storage.prototype.setItem = () => { throw new Error('full') }")
        page.goto(site(product_page))
        choose(page)
        page.wait_for_url("**/photo/")
        assert len(found(page)) == 24
        assert page.get_by_role("button", name="More").count() == 0
        page.locator("summary", has_text="Filters").click()
        page.get_by_label("Category").select_option(label="Lighting")
        page.get_by_role("status").get_by_text("Please choose the photo again").wait_for()
        assert page.locator("[data-items] a").count() == 24
        choose(page)
        expect(page.locator("[data-items] .name").first).to_contain_text("lamp")


def test_without_the_script(browser: Browser, product_page: str) -> None:
    with photo_page(browser, product_page, java_script_enabled=False) as page:
        for path in ("/photo/", "/"):
            page.goto(f"{site(product_page)}{path}")
            choose(page)
            page.get_by_role("button", name="Find what looks like it").click()
            expect(page.locator("a.card")).to_have_count(24)
            assert page.url == f"{site(product_page)}/photo/"
        assert fits(page)
        page.goto(f"{site(product_page)}/photo/")
        page.get_by_role("link", name=re.compile("^A home with")).first.click()
        expect(page.locator("a.card")).to_have_count(24)
        with page.expect_navigation():
            page.get_by_role("link", name="More").click()
        expect(page.get_by_role("status")).not_to_contain_text("24 results")
        expect(page.locator("a.card")).to_have_count(24)
        page.get_by_role("button", name="Find what looks like it").click()
        expect(page.get_by_role("status")).to_contain_text("Please choose a photo first")


def test_a_strict_content_policy_is_kept(browser: Browser, product_page: str) -> None:
    def answer(route: Route) -> None:
        response = route.fetch()
        policy = "default-src 'none'; form-action 'self'"
        for kind in ("script", "style", "img", "connect"):
            policy += f"; {kind}-src 'self'"
        headers = {**response.headers, "content-security-policy": policy}
        route.fulfill(response=response, headers=headers)

    complaints: list[str] = []
    with photo_page(browser, product_page) as page:
        page.on("console", lambda message: complaints.append(message.text))
        page.route("**/photo/", answer)
        page.goto(page.url)
        choose(page)
        found(page)
        page.locator("[data-sample]").nth(3).click()
        page.locator("[data-sample][aria-current]").wait_for()
        found(page)
        assert sides(page) == [18, 28, 61, 73]
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_the_photo_page_is_open_to_all(
    browser: Browser, product_page: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    size = {"width": width, "height": 844}
    with photo_page(browser, product_page, viewport=size, color_scheme=scheme) as page:

        def look(state: str) -> None:
            settle(page)
            violations = Axe().run(page).response["violations"]
            wrong = [(v["id"], [node["html"] for node in v["nodes"]]) for v in violations]
            assert wrong == [], state
            assert fits(page), state

        page.locator("summary", has_text="Filters").click()
        look("start")
        choose(page)
        found(page)
        look("photo")
        page.locator("[data-sample]").nth(1).click()
        page.locator("[data-sample][aria-current]").wait_for()
        found(page)
        look("sample")
        page.get_by_label("To, in euros").fill("0.01")
        page.keyboard.press("Tab")
        page.get_by_text("Nothing like it was found.").wait_for()
        look("nothing")
        choose(page, {"name": "notes.jpg", "mimeType": "", "buffer": b"no picture"})
        page.get_by_text("This file isn’t a photo").wait_for()
        look("refused")


def site(address: str) -> str:
    return address.split("/product/")[0]


def shelf(page: Page) -> list[str | None]:
    links = page.get_by_role("region", name="Similar products").get_by_role("link")
    return [link.get_attribute("href") for link in links.all()]


def settle(page: Page) -> None:
    """Waits for the last transition: its colours on the way are no colours to judge."""
    page.wait_for_load_state()
    page.wait_for_function("document.getAnimations().every(one => one.playState !== 'running')")


def fits(page: Page) -> bool:
    page.wait_for_load_state()  # An address is there before its document.
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))
