"""The report of duplicates in a real browser: reviewed with the keyboard alone, without a script,
and open to all, as far as axe-core can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from playwright.sync_api import Browser, Page, Route, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from cardigan_reco.duplicates import verdicts
from cardigan_reco.duplicates.listings import Listings
from cardigan_reco.models import DuplicateGroup, DuplicatePair, SharedPicture
from tests.duplicates.rows import COLLECTION, group_of, pair
from tests.duplicates.shop import file_of, list_item, photo, recompressed
from tests.test_admin import staff
from tests.test_browser import PATIENCE_MS, browser, fits, settle  # noqa: F401
from tests.testapp.catalogue.models import ProductImage

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("silent_doorbell", "looked_for"),
]

REPORT = "/admin/cardigan_reco/duplicategroup/"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


class ShopListings(Listings):
    title_field = "title"
    category_field = "shelf"
    shown_fields = ("shelf", "is_public")

    def merge_listings(self, survivor: Any, duplicates: Any) -> None:
        for one in duplicates:
            one.is_public = False
            one.save()


@pytest.fixture(scope="module", autouse=True)
def asked_beside_an_event_loop() -> Iterator[None]:
    """Playwright has an event loop in this thread, in which Django would rather not be asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@pytest.fixture
def looked_for(settings: Settings) -> None:
    chosen = {"LISTINGS": f"{__name__}.ShopListings"}
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": chosen}


def add_groups(count: int) -> list[DuplicateGroup]:
    """Stores pairs of listings, the surest first; one photo of each is an edit of the other."""
    groups = []
    for number in range(count):
        first = list_item(f"Blue mug no. {number}", file_of(photo(number)), shelf=number % 3)
        second = list_item(f"Mug in blue no. {number}", recompressed(number), shelf=1)
        groups.append(group_of(pair(first, second, probability=0.99 - number / 100)))
    return groups


@contextmanager
def opened(
    browser: Browser,  # noqa: F811
    live_server: LiveServer,
    client: Client,
    path: str = REPORT,
    **options: Any,
) -> Iterator[Page]:
    """Opens a page of the admin as the client's user."""
    with browser.new_context(**options) as context:
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        context.route("**/favicon.ico", lambda route: route.fulfill(body=""))
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{live_server.url}{path}")
        yield page


def states(groups: list[DuplicateGroup]) -> list[str]:
    found = dict(DuplicateGroup.objects.values_list("pk", "state"))
    return [found[group.pk] for group in groups]


def focused(page: Page) -> str | None:
    """Returns the group that has the focus."""
    found: str | None = page.evaluate(
        "document.activeElement.closest('[data-cardigan-group]')?.dataset.cardiganGroup"
    )
    return found


def card(page: Page, group: DuplicateGroup) -> Any:
    return page.locator(f"#group-{group.pk}")


def told(page: Page, text: str) -> None:
    expect(page.get_by_role("status").get_by_text(text)).to_be_visible()


def press_on_a_layout(page: Page, key: str, code: str, *, with_shift: bool = False) -> None:
    """Presses a key that writes `key`, where an American keyboard has `code`."""
    page.evaluate(
        """event => document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", {...event, bubbles: true, cancelable: true}))""",
        {"key": key, "code": code, "shiftKey": with_shift},
    )


class TestKeyboard:
    def test_a_review_from_the_first_to_the_last(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
    ) -> None:
        one, two, three = groups = add_groups(3)
        complaints: list[str] = []
        with opened(browser, live_server, admin_client) as page:
            page.on("console", lambda message: complaints.append(message.text))
            press = page.keyboard.press
            press("j")
            assert focused(page) == str(one.pk)
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert page.evaluate(outline) == "solid"
            press("j")
            press("ArrowRight")
            press("k")
            press("ArrowLeft")
            assert focused(page) == str(one.pk)

            press("2")
            expect(card(page, one).get_by_text("Stays", exact=True)).to_be_visible()
            second = DuplicatePair.objects.get(group=one).second_pk
            assert DuplicateGroup.objects.get(pk=one.pk).survivor_pk == second
            assert focused(page) == str(one.pk)
            press("2")
            expect(card(page, one).get_by_text("Stays", exact=True)).to_have_count(0)
            for picture in card(page, one).get_by_role("img").all():
                picture.evaluate("image => image.decode()")
            assert card(page, one).get_by_role("img").count() == 2

            press("n")
            page.keyboard.type("j is a letter here")
            press("Escape")
            press("c")
            told(page, "1 pair confirmed.")
            expect(card(page, one).get_by_text("confirmed", exact=True)).to_be_visible()
            assert focused(page) == str(two.pk)
            assert DuplicatePair.objects.get(group=one).note == "j is a letter here"

            press("d")
            told(page, "1 pair dismissed.")
            assert focused(page) == str(three.pk)
            assert states(groups) == ["confirmed", "dismissed", "open"]

            press("u")
            told(page, "Undone: 1 pair is open again.")
            assert focused(page) == str(two.pk)
            press("u")
            expect(card(page, one).get_by_text("open", exact=True)).to_be_visible()
            assert states(groups) == ["open", "open", "open"]
            press("u")
            told(page, "There is nothing to undo.")

            for group in groups:
                card(page, group).focus()
                press("c")
                expect(card(page, group).get_by_text("confirmed", exact=True)).to_be_visible()
            press("r")
            expect(card(page, three).get_by_text("open", exact=True)).to_be_visible()
            assert states(groups) == ["confirmed", "confirmed", "open"]
            # What was judged has left the list that comes next.
            with page.expect_navigation():
                press("j")
            expect(page.locator("[data-cardigan-group]")).to_have_count(1)
            press("j")
            press("m")
            page.wait_for_url(f"**{REPORT}{three.pk}/merge/**")
        assert complaints == []

    def test_a_key_that_is_held_moves_on_but_judges_once(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
    ) -> None:
        one, two, three = groups = add_groups(3)
        with opened(browser, live_server, admin_client) as page:
            for _ in range(3):
                page.keyboard.down("j")
            assert focused(page) == str(three.pk)
            page.keyboard.up("j")
            card(page, one).focus()
            page.keyboard.down("c")
            told(page, "1 pair confirmed.")
            assert focused(page) == str(two.pk)
            page.keyboard.down("c")
            page.keyboard.up("c")
            page.keyboard.press("2")  # It does nothing while a verdict is on its way.
            expect(card(page, two).get_by_text("Stays", exact=True)).to_be_visible()
        assert states(groups) == ["confirmed", "open", "open"]

    def test_an_undo_is_never_lost(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
    ) -> None:
        one, two, three = groups = add_groups(3)
        held: list[Route] = []
        with opened(browser, live_server, admin_client) as page:
            for group in (one, two):
                card(page, group).focus()
                page.keyboard.press("c")
                expect(card(page, group).get_by_text("confirmed", exact=True)).to_be_visible()
            page.route("**/judge/", lambda route: held.append(route))
            with page.expect_request("**/judge/"):
                page.keyboard.press("c")
            page.keyboard.press("u")  # While a verdict is on its way.
            held[0].continue_()
            expect(card(page, three).get_by_text("confirmed", exact=True)).to_be_visible()
            page.unroute("**/judge/")
            page.keyboard.press("r")  # So that nothing of it is left to undo.
            told(page, "1 pair reopened.")

            page.route("**/judge/", lambda route: route.abort())
            page.keyboard.press("u")
            told(page, "The shop didn’t answer.")
            page.unroute("**/judge/")
            page.keyboard.press("u")
            told(page, "There is nothing left to undo")
            page.keyboard.press("u")
            expect(card(page, two).get_by_text("open", exact=True)).to_be_visible()
            assert states(groups) == ["confirmed", "open", "open"]
            page.keyboard.press("u")
            expect(card(page, one).get_by_text("open", exact=True)).to_be_visible()
        assert states(groups) == ["open"] * 3

    def test_a_note_stays_until_it_is_stored(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
    ) -> None:
        a, b, c = (list_item(f"Cup {name}", recompressed(9)) for name in "abc")
        first = pair(a, b)
        group = group_of(first, pair(a, c), pair(b, c))
        with opened(browser, live_server, admin_client) as page:
            note = card(page, group).get_by_role("textbox", name="Note")
            note.fill("Same glaze")
            page.keyboard.press("Escape")
            page.keyboard.press("2")
            told(page, "The chosen listing is to stay.")
            expect(note).to_have_value("Same glaze")
            group.refresh_from_db()
            verdicts.choose_survivor(group.pk, first.first_pk, version=group.version)
            page.keyboard.press("c")
            told(page, "has changed since you saw it")
            expect(note).to_have_value("Same glaze")
            card(page, group).get_by_role("button", name="Confirm 1 = 2").click()
            told(page, "1 pair confirmed.")
            expect(note).to_have_value("")
        first.refresh_from_db()
        assert first.note == "Same glaze"

    def test_the_help_and_how_to_turn_the_keys_off(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
    ) -> None:
        groups = add_groups(1)
        with opened(browser, live_server, admin_client) as page:
            page.keyboard.press("?")
            help_ = page.get_by_role("dialog", name="Keyboard")
            expect(help_).to_be_visible()
            page.keyboard.press("c")
            help_.get_by_label("Turn these keys off").check()
            page.keyboard.press("Escape")
            expect(help_).to_be_hidden()
            page.keyboard.press("j")
            assert focused(page) is None
            page.reload()
            page.keyboard.press("j")
            assert focused(page) is None
            # By Tab and Enter all is there as well.
            for _ in range(100):  # More in a newer admin.
                page.keyboard.press("Tab")
                if page.evaluate("document.activeElement.innerText").startswith("Dismiss"):
                    break
            page.keyboard.press("Enter")
            told(page, "1 pair dismissed.")
        assert states(groups) == ["dismissed"]

    def test_pages_follow_each_other(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("cardigan_reco.admin.DuplicateGroupAdmin.list_per_page", 2)
        one, _two, three = add_groups(3)
        with opened(browser, live_server, admin_client) as page:
            for _ in range(3):
                page.keyboard.press("j")
            page.wait_for_url("**p=2")
            expect(card(page, three)).to_be_visible()
            page.go_back()
            expect(card(page, one)).to_be_visible()
            page.keyboard.press("j")
            page.keyboard.press("c")
            told(page, "1 pair confirmed.")
            page.keyboard.press("j")
            # Not to the second page, since one of it has moved up to the first.
            expect(card(page, three)).to_be_visible()
            assert not page.url.endswith("p=2")

    def test_selecting_for_a_bulk_action(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
    ) -> None:
        groups = add_groups(3)
        with opened(browser, live_server, admin_client) as page:
            page.keyboard.press("j")
            page.keyboard.press("s")
            page.keyboard.press("j")
            page.keyboard.press("s")
            expect(page.get_by_text("2 chosen")).to_be_visible()
            page.get_by_label("With the selected").select_option("dismiss_selected")
            page.get_by_role("button", name="Go").press("Enter")
            expect(page.get_by_text("2 pairs of listings in 2 groups")).to_be_visible()
            page.get_by_role("button", name="Yes, dismiss them").press("Enter")
            expect(page.get_by_role("button", name="Undo")).to_be_visible()
            page.wait_for_load_state()  # Before the script runs, the button sends a plain form.
            page.get_by_role("button", name="Undo").press("Enter")
            told(page, "Undone: 2 pairs are open again.")
        assert states(groups) == ["open"] * 3

    def test_all_that_match_are_no_longer_meant_once_one_is_left_out(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
    ) -> None:
        one, *_others = add_groups(3)
        with opened(browser, live_server, admin_client) as page:
            everywhere = page.locator("[name=select_across]")
            everywhere.check()
            expect(page.get_by_text("3 chosen")).to_be_visible()
            card(page, one).get_by_role("checkbox").uncheck()
            expect(everywhere).not_to_be_checked()
            everywhere.check()
            page.get_by_label("All on this page").uncheck()
            expect(everywhere).not_to_be_checked()

    def test_digits_are_where_a_french_keyboard_has_them(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
    ) -> None:
        (group,) = add_groups(1)
        with opened(browser, live_server, admin_client) as page:
            page.keyboard.press("j")
            press_on_a_layout(page, "!", "Digit1", with_shift=True)  # In England, or in Germany.
            press_on_a_layout(page, "&", "Digit1")
            told(page, "The chosen listing is to stay.")
            first_pk = DuplicatePair.objects.get(group=group).first_pk
            assert DuplicateGroup.objects.get(pk=group.pk).survivor_pk == first_pk
            press_on_a_layout(page, "1", "Digit1", with_shift=True)
            told(page, "No listing is chosen to stay any more.")


class TestComparison:
    def test_blink_and_overlay_by_keys(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
    ) -> None:
        add_groups(1)
        DuplicatePair.objects.update(
            evidence=mirrored(DuplicatePair.objects.get().evidence),
        )
        with opened(browser, live_server, admin_client) as page:
            page.keyboard.press("j")
            page.keyboard.press("b")
            dialog = page.get_by_role("dialog", name="Compare the pictures")
            under, over = (dialog.locator(f"[data-cardigan-{name}]") for name in ("under", "over"))
            assert under.get_attribute("src") != over.get_attribute("src")
            for picture in (under, over):
                picture.evaluate("image => image.decode()")
            # It blinks by itself until a person flips it.
            expect(over).to_have_css("visibility", "visible")
            expect(over).to_have_css("visibility", "hidden")
            expect(over).to_have_css("transform", "matrix(-1, 0, 0, 1, 0, 0)")
            page.keyboard.press("f")
            expect(over).to_have_css("transform", "none")

            page.keyboard.press("o")
            expect(over).to_have_css("opacity", "0.5")
            for _ in range(10):
                page.keyboard.press("ArrowRight")
            expect(over).to_have_css("opacity", "0.6")
            page.keyboard.press("x")
            expect(over).to_have_css("mix-blend-mode", "difference")
            page.keyboard.press("Escape")
            expect(dialog).to_be_hidden()
            assert focused(page) is not None

    def test_nothing_moves_by_itself_where_that_is_unwanted(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
    ) -> None:
        add_groups(1)
        with opened(browser, live_server, admin_client, reduced_motion="reduce") as page:
            page.clock.install()
            page.get_by_role("button", name="Compare the pictures").press("Enter")
            dialog = page.get_by_role("dialog", name="Compare the pictures")
            over, caption = (
                dialog.locator(f"[data-cardigan-{name}]") for name in ("over", "caption")
            )
            expect(caption).to_have_text("1: Blue mug no. 0")
            page.clock.run_for(1500)
            expect(caption).to_have_text("1: Blue mug no. 0")
            page.keyboard.press("Space")
            expect(caption).to_have_text("2: Mug in blue no. 0")
            expect(over).to_have_css("visibility", "visible")
            page.clock.run_for(1500)
            expect(caption).to_have_text("2: Mug in blue no. 0")


def mirrored(evidence: dict[str, Any]) -> dict[str, Any]:
    evidence["pictures"][0]["reasons"] = [{"code": "mirrored", "value": None}]
    return evidence


class TestTrouble:
    def test_somebody_else_was_faster(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
    ) -> None:
        (group,) = add_groups(1)
        with opened(browser, live_server, admin_client) as page:
            verdicts.dismiss(group.pk, version=1, reviewer="bert")
            page.keyboard.press("j")
            card(page, group).get_by_label("Note").fill("One mug, $& two photos")
            page.keyboard.press("Escape")
            page.keyboard.press("c")
            told(page, "last judged by bert")
            # There is no field for it any more.
            told(page, "Your note: One mug, $& two photos")
            expect(card(page, group).get_by_text("dismissed", exact=True)).to_be_visible()
        assert states([group]) == ["dismissed"]

    def test_a_session_that_ended(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
    ) -> None:
        (group,) = add_groups(1)
        with opened(browser, live_server, admin_client) as page:
            page.context.clear_cookies(name="sessionid")
            page.keyboard.press("j")
            page.keyboard.press("c")
            told(page, "You aren’t logged in any more")
            page.route("**/judge/", lambda route: route.abort())
            page.keyboard.press("c")
            told(page, "The shop didn’t answer.")
        assert states([group]) == ["open"]

    def test_a_picture_whose_file_is_gone(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
        admin_client: Client,
    ) -> None:
        (group,) = add_groups(1)
        image = ProductImage.objects.first()
        assert image is not None
        image.original.storage.delete(image.original.name)
        with opened(browser, live_server, admin_client) as page:
            expect(card(page, group).get_by_text("This picture can’t be loaded.")).to_have_count(1)
            expect(card(page, group).get_by_role("img")).to_have_count(1)

    def test_who_may_only_look_has_nothing_to_press(
        self,
        browser: Browser,  # noqa: F811
        live_server: LiveServer,
    ) -> None:
        (group,) = add_groups(1)
        with opened(browser, live_server, staff("view_duplicategroup")) as page:
            page.keyboard.press("j")
            assert focused(page) == str(group.pk)
            for key in ("c", "d", "1", "r", "m", "s", "n"):
                page.keyboard.press(key)
            page.keyboard.press("b")
            expect(page.get_by_role("dialog", name="Compare the pictures")).to_be_visible()
        assert states([group]) == ["open"]


def test_without_the_script(
    browser: Browser,  # noqa: F811
    live_server: LiveServer,
    admin_client: Client,
) -> None:
    one, two = groups = add_groups(2)
    with opened(browser, live_server, admin_client, java_script_enabled=False) as page:
        for text in ("Compare the pictures", "All on this page", "Keyboard"):
            expect(page.get_by_text(text).first).to_be_hidden()
        card(page, one).get_by_role("textbox", name="Note").fill("Seen")
        card(page, one).get_by_role("button", name="Confirm").click()
        expect(page.get_by_text("1 pair confirmed.")).to_be_visible()
        assert states(groups) == ["confirmed", "open"]
        assert DuplicatePair.objects.get(group=one).note == "Seen"
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_text("Undone: 1 pair is open again.")).to_be_visible()
        assert states(groups) == ["open", "open"]
        button = card(page, two).get_by_role("button", name="Let this one stay").last
        button.click()
        expect(card(page, two).get_by_text("Stays", exact=True)).to_be_visible()
        card(page, two).get_by_role("link", name="Merge").click()
        page.get_by_role("button", name="Yes, merge them").click()
        expect(page.get_by_text("The listings are merged.")).to_be_visible()
        assert states(groups) == ["open", "merged"]


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

    add_groups(1)
    complaints: list[str] = []
    with opened(browser, live_server, admin_client) as page:
        page.route(re.compile(REPORT), answer)
        page.on("console", lambda message: complaints.append(message.text))
        page.reload()
        page.keyboard.press("j")
        page.keyboard.press("o")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Escape")
        page.keyboard.press("c")
        told(page, "1 pair confirmed.")
        page.goto(f"{live_server.url}{REPORT}thresholds/")
    assert complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_report_is_open_to_all(
    browser: Browser,  # noqa: F811
    live_server: LiveServer,
    admin_client: Client,
    size: str,
    scheme: Literal["light", "dark"],
) -> None:
    one, two, three = add_groups(3)
    verdicts.confirm(one.pk, version=1, reviewer="anna", note="Seen")
    verdicts.choose_survivor(two.pk, DuplicatePair.objects.get(group=two).first_pk, version=1)
    a, b, c = (list_item(f"Cup {name}", recompressed(9)) for name in "abc")
    many = group_of(pair(a, b), pair(a, c), pair(b, c))
    lone = list_item("No picture")
    group_of(pair(lone, c))
    SharedPicture.objects.create(
        collection=COLLECTION,
        digest="0" * 64,
        tenant="seller 12",
        listings=40,
        example_source_pk=a.images.get().pk,
    )
    width, height = SIZES[size]
    screen = {"width": width, "height": height}
    with opened(browser, live_server, admin_client, viewport=screen, color_scheme=scheme) as page:

        def look(state: str) -> None:
            settle(page)
            violations = Axe().run(page).response["violations"]
            wrong = [(v["id"], [node["html"] for node in v["nodes"]]) for v in violations]
            assert wrong == [], state
            assert fits(page), state

        def go(path: str) -> None:
            page.goto(f"{live_server.url}{path}")
            look(path)

        go(f"{REPORT}?state=all")
        page.keyboard.press("j")
        look("focus")
        for key in ("b", "o", "x"):
            page.keyboard.press(key)
            look(key)
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        look("help")
        page.keyboard.press("Escape")
        card(page, three).get_by_role("button", name="Dismiss").click()
        told(page, "1 pair dismissed.")
        look("dismissed")
        page.locator("[name=_selected_action]").first.check()
        page.get_by_label("With the selected").select_option("reopen_selected")
        page.get_by_role("button", name="Go").click()
        expect(page.get_by_role("button", name="Yes, reopen")).to_be_visible()
        look("bulk")
        go(f"{REPORT}?kind=exact")
        go(f"{REPORT}{many.pk}/change/")
        go(f"{REPORT}{many.pk}/merge/")
        go(f"{REPORT}{two.pk}/merge/")
        go(f"{REPORT}thresholds/")
        go("/admin/cardigan_reco/sharedpicture/")
        go("/admin/")
