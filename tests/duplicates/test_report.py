"""The report of duplicates in the admin: what it shows to whom, and what its buttons change."""

from __future__ import annotations

import csv
import io
import re
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from cardigan_reco.admin import DuplicateGroupAdmin, spreadsheet
from cardigan_reco.admin.duplicates import differences, export
from cardigan_reco.admin.duplicates.cards import percent
from cardigan_reco.duplicates.listings import Listings
from cardigan_reco.models import DuplicateGroup, DuplicatePair, SharedPicture
from tests import translations
from tests.conftest import GREEN, ORANGE, RED, AddProduct, encode_all
from tests.duplicates.rows import COLLECTION, group_of, pair
from tests.test_admin import SCRIPT, queries, read, staff
from tests.testapp.catalogue.models import Product

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("silent_doorbell", "looked_for")]

REPORT = reverse("admin:cardigan_reco_duplicategroup_changelist")
JUDGE = reverse("admin:cardigan_reco_duplicategroup_judge")
BULK = reverse("admin:cardigan_reco_duplicategroup_bulk")
EXPORT = reverse("admin:cardigan_reco_duplicategroup_export")
THRESHOLDS = reverse("admin:cardigan_reco_duplicategroup_thresholds")
SHARED = reverse("admin:cardigan_reco_sharedpicture_changelist")


class ShownListings(Listings):
    title_field = "title"
    category_field = "shelf"
    shown_fields = ("title", "shelf", "is_public", "parent__title")


class MergingListings(ShownListings):
    def merge_listings(self, survivor: Any, duplicates: Any) -> None:
        Product.objects.filter(pk__in=[one.pk for one in duplicates]).update(is_public=False)


def look_for(settings: Settings, listings: type[Listings]) -> None:
    chosen = {"LISTINGS": f"{listings.__module__}.{listings.__qualname__}"}
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": chosen}


@pytest.fixture
def looked_for(settings: Settings) -> None:
    look_for(settings, ShownListings)


@pytest.fixture
def mugs(add_product: AddProduct) -> tuple[Product, Product]:
    return add_product("blue mug of stone", RED, shelf=3), add_product("Blue cup of stone", RED)


@pytest.fixture
def group(mugs: tuple[Product, Product]) -> DuplicateGroup:
    return group_of(pair(*mugs))


def open_groups(count: int, add_product: AddProduct) -> list[DuplicateGroup]:
    return [
        group_of(pair(add_product(f"a{n}", RED), add_product(f"b{n}", RED))) for n in range(count)
    ]


def page_of(group: DuplicateGroup, view: str = "change") -> str:
    return reverse(f"admin:cardigan_reco_duplicategroup_{view}", args=[group.pk])


def judge(client: Client, verdict: str, **data: str) -> HttpResponse:
    return client.post(JUDGE, {"verdict": verdict, **data})


def shown(client: Client, query: str = "") -> list[int]:
    """Returns the groups that the report shows, in order."""
    response = client.get(f"{REPORT}?{query}")
    assert response.status_code == 200
    return [int(pk) for pk in re.findall(r'data-cardigan-group="(\d+)"', response.content.decode())]


def show_only(own: DuplicateGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrows the report as a shop does whose sellers have staff."""

    def get_queryset(admin: DuplicateGroupAdmin, request: HttpRequest) -> QuerySet[Any]:
        groups = super(DuplicateGroupAdmin, admin).get_queryset(request)
        return groups.filter(pairs__group=own.pk).distinct()

    monkeypatch.setattr(DuplicateGroupAdmin, "get_queryset", get_queryset, raising=False)


def state(group: DuplicateGroup) -> str:
    return DuplicateGroup.objects.get(pk=group.pk).state


class TestPage:
    def test_listings_side_by_side(
        self, admin_client: Client, group: DuplicateGroup, mugs: tuple[Product, Product]
    ) -> None:
        page = admin_client.get(REPORT).content.decode()
        for mug in mugs:
            assert f'src="{mug.images.get().original.url}"' in page
            assert f'href="{reverse("admin:catalogue_product_change", args=[mug.pk])}"' in page
            assert f'href="/products/{mug.pk}/"' in page
        text = read(admin_client.get(REPORT))
        assert "2 listings : same photo, edited 90 % sure open".replace(" :", ":") in text
        # The words and values that the other doesn't have are marked.
        assert "blue <mark>mug</mark> of stone" in page
        assert "Blue <mark>cup</mark> of stone" in page
        assert re.search(r'cardigan-differs"><dt>Shelf</dt><dd><mark>3</mark>', page)
        assert re.search(r"<div><dt>Is public</dt><dd>Yes</dd>", page)

    def test_pictures_that_match_come_first(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        one, two = add_product("a", GREEN, ORANGE), add_product("b", RED)
        match = one.images.last()
        assert match is not None
        made = pair(one, two)
        made.evidence["pictures"][0]["first"] = str(match.pk)
        made.save()
        group_of(made)
        page = admin_client.get(REPORT).content.decode()
        other = one.images.first()
        assert other is not None
        assert page.index(match.original.url) < page.index(other.original.url)

    def test_only_a_few_pictures_of_each(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        one = add_product("a", *[RED] * 9)
        group_of(pair(one, add_product("b", RED)))
        page = admin_client.get(REPORT).content.decode()
        assert sum(f'href="{image.original.url}"' in page for image in one.images.all()) == 6

    def test_a_large_group_has_its_own_page(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        items = [add_product(f"mug {number}") for number in range(14)]
        group = group_of(*(pair(a, b) for a, b in combinations(items, 2)))
        few, all_ = (admin_client.get(url).content.decode() for url in (REPORT, page_of(group)))
        assert few.count('<li class="cardigan-listing') == 12
        assert "2 more listings and 71 more pairs" in few
        assert all_.count('<li class="cardigan-listing') == 14
        answer = judge(admin_client, f"confirm:{group.pk}:1", fragment="1", whole="1")
        assert answer.content.decode().count('<li class="cardigan-listing') == 14
        assert "more listings" not in all_
        assert all_.count(">Confirm ") == 91

    def test_what_is_gone_is_said(self, admin_client: Client, add_product: AddProduct) -> None:
        bare, changed, deleted = add_product("bare"), add_product("new", RED), add_product("x", RED)
        encode_all()
        pairs = [pair(bare, changed), pair(changed, deleted)]
        for made in pairs:
            group_of(made)
        Product.objects.filter(pk=deleted.pk).delete()
        text = read(admin_client.get(REPORT))
        assert "This picture is no longer there." in text
        assert "This picture has changed since it was compared." in text
        assert f"Listing {deleted.pk}, which is no longer there" in text
        assert "This listing was deleted." in text

    def test_keys_of_another_kind_are_gone(self, admin_client: Client) -> None:
        pair("17", "18")
        group_of(DuplicatePair.objects.get())
        DuplicatePair.objects.update(first_pk="a17", second_pk="b18")
        assert "Listing a17, which is no longer there" in read(admin_client.get(REPORT))

    def test_names_are_escaped(self, admin_client: Client, add_product: AddProduct) -> None:
        made = pair(add_product(SCRIPT, RED), add_product("mug", RED), note=SCRIPT)
        made.evidence["facts"] = [{"code": SCRIPT, "value": None}]
        made.save()
        group = group_of(made)
        for url in (REPORT, page_of(group)):
            page = admin_client.get(url).content.decode()
            assert "<script>alert" not in page
            assert "&lt;script&gt;" in page

    def test_the_page_of_one_group(self, admin_client: Client, group: DuplicateGroup) -> None:
        assert f"Duplicate listing {group.pk}" in read(admin_client.get(page_of(group)))
        judge(admin_client, f"dismiss:{group.pk}:1", **{f"note-{group.pk}": "Two sizes"})
        text = read(admin_client.get(page_of(group)))
        assert "dismissed" in text
        assert "Last judged by admin" in text
        assert "Two sizes" in text
        assert "Dismissed pairs of listings." in read(admin_client.get(page_of(group, "history")))
        gone = admin_client.get(reverse("admin:cardigan_reco_duplicategroup_change", args=[99]))
        assert gone.status_code == 302

    def test_the_number_of_queries_is_constant(
        self, admin_client: Client, add_product: AddProduct, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(DuplicateGroupAdmin, "list_per_page", 60)
        open_groups(5, add_product)
        few = queries(admin_client, REPORT)
        open_groups(45, add_product)
        many = queries(admin_client, REPORT)
        assert len(shown(admin_client)) == 50
        assert len(many) == len(few) <= 12, "\n".join(many)

    def test_nothing_waits(self, admin_client: Client) -> None:
        text = read(admin_client.get(REPORT))
        assert "No duplicates are waiting." in text
        assert "python manage.py find_duplicates" in text
        assert "No group matches these filters." in read(admin_client.get(f"{REPORT}?kind=exact"))

    @pytest.mark.parametrize(
        ("setting", "told"),
        [
            (None, "CARDIGAN_RECO['DUPLICATES'] is not set"),
            ({"COLLECTION": "nothing"}, "Collection 'nothing' is not defined"),
            ({"LISTINGS": "no.where.Listings"}, "No module named 'no'"),
        ],
    )
    def test_settings_that_are_wrong(
        self,
        admin_client: Client,
        settings: Settings,
        group: DuplicateGroup,
        setting: dict[str, str] | None,
        told: str,
    ) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": setting}
        assert told in read(admin_client.get(REPORT)).replace("&#x27;", "'")
        assert told in read(admin_client.get(THRESHOLDS)).replace("&#x27;", "'")
        assert admin_client.get("/admin/").status_code == 200
        assert admin_client.get(SHARED).status_code == 200
        assert admin_client.get(EXPORT).status_code == 302
        assert admin_client.get(page_of(group)).status_code == 302
        answer = judge(admin_client, f"confirm:{group.pk}:1")
        assert answer.status_code == 400
        assert told in answer.content.decode()


class TestFilters:
    @pytest.fixture
    def groups(self, add_product: AddProduct) -> dict[str, int]:
        def one(name: str, shelf: int, **fields: Any) -> int:
            return group_of(
                pair(add_product(name, shelf=shelf), add_product(name, shelf=shelf), **fields)
            ).pk

        return {
            "exact": one("a", 1, kind="exact", probability=0.99),
            "photo": one("b", 2, probability=0.95),
            "item": one("c", 1, kind="same_item", probability=0.6),
            "confirmed": one("d", 2, probability=0.8, state="confirmed"),
            "dismissed": one("e", 2, probability=0.8, state="dismissed"),
        }

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("", "exact photo item"),
            ("state=open", "exact photo item"),
            ("state=nonsense", "exact photo item"),
            ("state=confirmed", "confirmed"),
            ("state=dismissed", "dismissed"),
            ("state=merged", ""),
            ("state=all", "exact photo dismissed confirmed item"),
            ("kind=same_item", "item"),
            ("category=1", "exact item"),
            ("category=nowhere", ""),
            ("probability=99", "exact"),
            ("probability=90", "photo"),
            ("probability=75", ""),
            ("probability=75&state=all", "dismissed confirmed"),
            ("probability=0", "item"),
            ("category=2&state=all&kind=same_photo", "photo dismissed confirmed"),
            ("o=1", "item photo exact"),
            ("o=-1", "exact photo item"),
            ("o=3", "exact item photo"),
            ("o=-5", "item photo exact"),
        ],
    )
    def test_filters_and_orders(
        self, admin_client: Client, groups: dict[str, int], query: str, expected: str
    ) -> None:
        names = {pk: name for name, pk in groups.items()}
        found = [names[pk] for pk in shown(admin_client, query)]
        if "state=all" in query:  # Two of them are equally probable.
            assert sorted(found) == sorted(expected.split())
        else:
            assert found == expected.split()

    @pytest.mark.parametrize(
        "query",
        [
            "p=0",
            "p=-1",
            "p=99",
            "p=x",
            "o=99",
            "o=x.-",
            "state=%00",
            "kind=%00",
            "category=%00",
            "nothing=1",
            "state__exact=open",
        ],
    )
    def test_bad_parameters_give_a_page(self, admin_client: Client, query: str) -> None:
        assert admin_client.get(f"{REPORT}?{query}", follow=True).status_code == 200

    def test_pages(self, admin_client: Client, add_product: AddProduct) -> None:
        groups = [group.pk for group in open_groups(23, add_product)]
        assert [len(shown(admin_client, f"p={page}")) for page in (1, 2)] == [20, 3]
        assert shown(admin_client, "p=2") == groups[20:]
        assert 'data-next-page="?p=2"' in admin_client.get(REPORT).content.decode()
        assert 'data-next-page=""' in admin_client.get(f"{REPORT}?p=2").content.decode()

    def test_other_collections_have_reports_of_their_own(
        self, admin_client: Client, group: DuplicateGroup
    ) -> None:
        DuplicateGroup.objects.update(collection="testapp.posterembedding")
        assert shown(admin_client, "state=all") == []
        assert admin_client.get(page_of(group)).status_code == 302


class TestVerdicts:
    @pytest.mark.parametrize(
        ("verb", "becomes"), [("confirm", "confirmed"), ("dismiss", "dismissed")]
    )
    def test_a_verdict_and_its_undo(
        self, admin_client: Client, group: DuplicateGroup, verb: str, becomes: str
    ) -> None:
        answer = judge(
            admin_client,
            f"{verb}:{group.pk}:1",
            next=f"{REPORT}?category=3",
            **{f"note-{group.pk}": " Seen. "},
        )
        assert answer.status_code == 302
        assert answer.headers["Location"] == f"{REPORT}?category=3"
        assert state(group) == becomes
        made = DuplicatePair.objects.get()
        assert (made.reviewer, made.note, made.state) == ("admin", "Seen.", becomes)
        entry = LogEntry.objects.get()
        assert (entry.object_id, entry.user.get_username()) == (str(group.pk), "admin")
        page = admin_client.get(REPORT).content.decode()
        assert f"1 pair {becomes}." in page
        found = re.search(r'form="changelist-form"[^>]*name="verdict" value="(undo:[^"]+)"', page)
        assert found

        judge(admin_client, found[1])

        assert state(group) == "open"
        assert LogEntry.objects.count() == 2
        assert "Undone: 1 pair is open again." in read(admin_client.get(REPORT))

    def test_reopening(self, admin_client: Client, group: DuplicateGroup) -> None:
        judge(admin_client, f"dismiss:{group.pk}:1")
        page = admin_client.get(f"{REPORT}?state=dismissed").content.decode()
        assert f'value="reopen:{group.pk}:2"' in page
        assert f'value="confirm:{group.pk}' not in page
        judge(admin_client, f"reopen:{group.pk}:2")
        assert state(group) == "open"

    def test_a_survivor(
        self, admin_client: Client, group: DuplicateGroup, mugs: tuple[Product, Product]
    ) -> None:
        judge(admin_client, f"survivor:{group.pk}:1:{mugs[1].pk}")
        assert DuplicateGroup.objects.get().survivor_pk == str(mugs[1].pk)
        page = admin_client.get(REPORT).content.decode()
        assert f'value="survivor:{group.pk}:2:" data-cardigan-key="2" aria-pressed="true"' in page
        judge(admin_client, f"survivor:{group.pk}:2:")
        assert DuplicateGroup.objects.get().survivor_pk == ""
        assert judge(admin_client, f"survivor:{group.pk}:3:12345").status_code == 400

    def test_one_pair_of_three_listings(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        a, b, c = (add_product(name, RED) for name in "abc")
        pairs = [pair(a, b), pair(a, c), pair(b, c)]
        group = group_of(*pairs)
        page = admin_client.get(REPORT).content.decode()
        assert f'value="dismiss:{group.pk}:1:{pairs[2].pk}">Dismiss 2 = 3<' in page
        answer = judge(admin_client, f"dismiss:{group.pk}:1:{pairs[2].pk}", fragment="1")
        assert answer.status_code == 200
        fragment = answer.content.decode()
        cards = {int(pk) for pk in re.findall(r'data-cardigan-group="(\d+)"', fragment)}
        assert cards == set(DuplicateGroup.objects.values_list("pk", flat=True))
        assert len(cards) == 3
        assert f'data-replaced="{group.pk} "' in fragment

    def test_keys_are_written_for_programs(
        self, admin_client: Client, add_product: AddProduct, settings: Settings
    ) -> None:
        settings.USE_THOUSAND_SEPARATOR = True
        a, b, c = (add_product(name, RED) for name in "abc")
        group_of(pair(a, b), pair(a, c), made := pair(b, c))
        DuplicatePair.objects.filter(pk=made.pk).update(id=12345)
        DuplicatePair.objects.update(group=12345)
        DuplicateGroup.objects.update(id=12345, version=2000)
        assert shown(admin_client) == [12345]
        page = admin_client.get(REPORT).content.decode()
        assert 'value="confirm:12345:2000"' in page
        verdict = re.search(r'value="(confirm:\S+:12345)"', page)
        assert verdict
        answer = judge(admin_client, verdict[1], fragment="1")
        assert 'data-replaced="12345 "' in answer.content.decode()
        assert DuplicatePair.objects.get(pk=12345).state == "confirmed"

    def test_the_log_is_in_the_sites_language(
        self, admin_client: Client, group: DuplicateGroup, settings: Settings, tmp_path: Path
    ) -> None:
        texts = [
            "Confirmed pairs of listings.",
            "Reopened pairs of listings.",
            "Dismissed pairs of listings.",
            "Reopened pairs of listings.",
            "Chose listing %s to stay.",
            "Took back which listing is to stay.",
        ]
        translations.speak(settings, tmp_path, {text: f"Auf Deutsch: {text}" for text in texts})
        survivor = DuplicatePair.objects.get().first_pk
        verdicts = ["confirm", "reopen", "dismiss", "reopen", "survivor", "survivor"]
        for version, verdict in enumerate(verdicts, start=1):
            listing = {5: f":{survivor}", 6: ":"}.get(version, "")
            judge(admin_client, f"{verdict}:{group.pk}:{version}{listing}")
        told = LogEntry.objects.order_by("pk").values_list("change_message", flat=True)
        assert list(told) == [f"Auf Deutsch: {text}".replace("%s", survivor) for text in texts]

    def test_a_conflict_is_told(self, admin_client: Client, group: DuplicateGroup) -> None:
        judge(staff("view_duplicategroup", "change_duplicategroup"), f"confirm:{group.pk}:1")
        answer = judge(admin_client, f"dismiss:{group.pk}:1")
        assert answer.status_code == 302
        text = read(admin_client.get(REPORT))
        assert "It is confirmed now." in text
        assert "last judged by view_duplicategroup-change_duplicategroup" in text
        fragment = judge(admin_client, f"dismiss:{group.pk}:1", fragment="1")
        assert fragment.status_code == 409
        assert "It is confirmed now." in fragment.content.decode()
        assert 'data-state="confirmed"' in fragment.content.decode()
        assert state(group) == "confirmed"
        assert LogEntry.objects.count() == 1
        assert judge(admin_client, "confirm:999:1", fragment="1").status_code == 409

    def test_a_note_that_is_not_stored_is_given_back(
        self, admin_client: Client, group: DuplicateGroup
    ) -> None:
        """There may be no field for it any more on the page that it leads back to."""
        survivor = DuplicatePair.objects.get().first_pk
        for version, verdict in enumerate([f"survivor:{group.pk}:1:{survivor}", "", ""], start=1):
            note = {f"note-{group.pk}": f"mug <{version}>"}
            judge(admin_client, verdict or f"dismiss:{group.pk}:2", **note)
            text = read(admin_client.get(REPORT))
            assert ("Your note: mug" in text) == (version != 2)
        assert "Your note: mug &lt;3&gt;" in text
        assert DuplicatePair.objects.get().note == "mug <2>"

    def test_a_note_may_hold_anything(self, admin_client: Client, group: DuplicateGroup) -> None:
        note = {f"note-{group.pk}": " \0One\nmug\0, “☕” "}
        assert judge(admin_client, f"confirm:{group.pk}:1", **note).status_code == 302
        assert DuplicatePair.objects.get().note == "One\nmug, “☕”"

    @pytest.mark.parametrize(
        "verdict",
        [
            *["", "confirm", "confirm:1", "confirm:x:1", "confirm:1:x", "confirm:1:1:x", "undo:"],
            *["undo:yesterday", "explode:1:1", "confirm:1:-1", f"confirm:{'9' * 40}:1", "\0:1:1"],
        ],
    )
    def test_what_is_no_verdict(self, admin_client: Client, verdict: str) -> None:
        assert judge(admin_client, verdict).status_code == 400

    @pytest.mark.parametrize("url", [JUDGE, BULK])
    def test_only_by_post_with_a_token(self, group: DuplicateGroup, url: str) -> None:
        client = staff("view_duplicategroup", "change_duplicategroup")
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = client.cookies
        data = {"verdict": f"confirm:{group.pk}:1", "groups": f"{group.pk}:1"}
        assert strict.post(url, data).status_code == 403
        assert client.get(url, data).status_code == 405
        assert state(group) == "open"

    def test_never_to_another_site(self, admin_client: Client, group: DuplicateGroup) -> None:
        for elsewhere in ("https://evil.example/", "//evil.example/", "javascript:alert(1)"):
            answer = judge(admin_client, f"confirm:{group.pk}:1", next=elsewhere)
            assert answer.headers["Location"] == REPORT


class TestPermissions:
    def test_nobody(self, group: DuplicateGroup) -> None:
        client = staff()
        for url in (REPORT, EXPORT, THRESHOLDS, SHARED, page_of(group), page_of(group, "merge")):
            assert client.get(url).status_code == 403
        assert judge(client, f"confirm:{group.pk}:1").status_code == 403
        assert "Duplicate listings" not in read(client.get("/admin/"))

    def test_who_may_only_look(self, group: DuplicateGroup) -> None:
        client = staff("view_duplicategroup")
        page = client.get(REPORT).content.decode()
        assert f'data-cardigan-group="{group.pk}"' in page
        assert 'name="verdict"' not in page
        assert "_selected_action" not in page
        assert client.get(page_of(group)).status_code == 200
        assert client.get(EXPORT).status_code == 200
        assert judge(client, f"confirm:{group.pk}:1").status_code == 403
        assert client.post(BULK, {"verdict": "confirm", "groups": "1:1"}).status_code == 403
        assert state(group) == "open"

    def test_to_merge_is_a_right_of_its_own(
        self, group: DuplicateGroup, settings: Settings
    ) -> None:
        look_for(settings, MergingListings)
        judges = staff("view_duplicategroup", "change_duplicategroup")
        assert page_of(group, "merge") not in judges.get(REPORT).content.decode()
        assert judges.get(page_of(group, "merge")).status_code == 403
        assert judges.post(page_of(group, "merge"), {"version": "1"}).status_code == 403
        merges = staff("view_duplicategroup", "merge_duplicategroup")
        assert page_of(group, "merge") in merges.get(REPORT).content.decode()
        assert merges.get(page_of(group, "merge")).status_code == 200

    def test_only_groups_that_the_shops_queryset_holds(
        self, admin_client: Client, add_product: AddProduct, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A seller's staff judge their own, whatever keys a form says."""
        own, other = open_groups(2, add_product)
        judge(admin_client, f"dismiss:{other.pk}:1")
        undo = f"undo:{DuplicatePair.objects.get(group=other).reviewed_at.isoformat()}"
        survivor = DuplicatePair.objects.get(group=other).first_pk
        show_only(own, monkeypatch)
        for verdict in (f"reopen:{other.pk}:2", f"survivor:{other.pk}:2:{survivor}", undo):
            answer = judge(admin_client, verdict, fragment="1")
            assert answer.status_code == 409
            assert "data-cardigan-group" not in answer.content.decode()
        bulk = {"verdict": "reopen", "groups": f"{other.pk}:2"}
        gone = f"Group {other.pk} isn’t there any more"
        assert gone in read(admin_client.post(BULK, bulk, follow=True))
        assert state(other) == "dismissed"
        assert DuplicateGroup.objects.get(pk=other.pk).survivor_pk == ""

        bulk = {"verdict": "confirm", "groups": f"{own.pk}:1,{other.pk}:2"}
        text = admin_client.post(BULK, bulk, follow=True).content.decode()
        assert "1 pair confirmed." in text
        undo = re.search(r'value="(undo:[^"]+)"', text)[1]
        assert judge(admin_client, undo, fragment="1").status_code == 200
        assert [state(own), state(other)] == ["open", "dismissed"]

    def test_what_others_see_is_not_counted(
        self, admin_client: Client, add_product: AddProduct, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own, *others = open_groups(4, add_product)
        for one in others[:2]:
            judge(admin_client, f"confirm:{one.pk}:1")
        show_only(own, monkeypatch)
        assert "No pair was confirmed or dismissed yet" in read(admin_client.get(THRESHOLDS))
        judge(admin_client, f"dismiss:{own.pk}:1")
        assert "0.90 1 0 1 0.000" in read(admin_client.get(THRESHOLDS))
        assert "open)" not in read(admin_client.get("/admin/"))
        judge(admin_client, f"reopen:{own.pk}:2")
        assert "Duplicate listings (1 open)" in read(admin_client.get("/admin/"))

    def test_nothing_is_added_changed_or_deleted_by_forms(
        self, admin_client: Client, group: DuplicateGroup
    ) -> None:
        assert admin_client.get(page_of(group, "delete")).status_code == 403
        add = reverse("admin:cardigan_reco_duplicategroup_add")
        assert admin_client.get(add).status_code == 403
        admin_client.post(page_of(group), {"state": "merged"})
        assert state(group) == "open"


class TestBulk:
    def ask(self, client: Client, action: str, *groups: DuplicateGroup, **data: str) -> str:
        chosen = [str(group.pk) for group in groups]
        answer = client.post(
            REPORT, {"action": action, "_selected_action": chosen, "index": "0", **data}
        )
        assert answer.status_code == 200
        return answer.content.decode()

    def form(self, page: str) -> dict[str, str]:
        """Returns the fields of the confirmation."""
        return dict(re.findall(r'name="(groups|next|verdict)" value="([^"]*)"', page))

    def test_it_shows_what_will_change_and_changes_that(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        one, two, other = open_groups(3, add_product)
        page = self.ask(admin_client, "dismiss_selected", one, two)
        shown = re.sub(r"<[^>]*>", " ", page)  # A token may hold any name.
        assert "2 pairs of listings in 2 groups become dismissed:" in shown
        assert "a0" in shown
        assert "b1" in shown
        assert "a2" not in shown
        assert state(one) == "open"

        answer = admin_client.post(BULK, {**self.form(page), "note": "Sizes"}, follow=True)

        assert [state(group) for group in (one, two, other)] == ["dismissed", "dismissed", "open"]
        assert set(DuplicatePair.objects.values_list("note", flat=True)) == {"Sizes", ""}
        assert LogEntry.objects.count() == 2
        text = answer.content.decode()
        assert "2 pairs dismissed." in text
        undo = re.search(r'value="(undo:[^"]+)"', text)
        assert undo
        judge(admin_client, undo[1])
        assert {state(group) for group in (one, two, other)} == {"open"}

    def test_all_that_match(self, admin_client: Client, add_product: AddProduct) -> None:
        groups = open_groups(23, add_product)
        page = self.ask(admin_client, "confirm_selected", groups[0], select_across="on")
        assert "23 pairs of listings in 23 groups become confirmed:" in page
        admin_client.post(BULK, self.form(page))
        assert {state(group) for group in groups} == {"confirmed"}

    def test_what_changed_meanwhile_is_left_alone_and_told(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        one, two = open_groups(2, add_product)
        page = self.ask(admin_client, "confirm_selected", one, two)
        judge(admin_client, f"dismiss:{one.pk}:1")
        form = {**self.form(page), "note": "Two photos"}
        answer = admin_client.post(BULK, form, follow=True)
        assert [state(one), state(two)] == ["dismissed", "confirmed"]
        assert f"Group {one.pk} has changed since you saw it" in read(answer)
        assert "Your note: Two photos" in read(answer)
        assert "1 pair confirmed." in read(answer)

    def test_what_can_not_change_is_named(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        one, two = open_groups(2, add_product)
        judge(admin_client, f"confirm:{one.pk}:1")
        chosen = {"action": "reopen_selected", "_selected_action": [one.pk, two.pk], "index": "0"}
        page = admin_client.post(f"{REPORT}?state=all", chosen).content.decode()
        assert "1 pairs of listings in 1 group become open" in page
        assert "These stay as they are:" in page
        assert self.form(page)["groups"] == f"{one.pk}:2"

    def test_too_many_at_once(
        self, admin_client: Client, add_product: AddProduct, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cardigan_reco.admin.duplicates.judging.MAX_AT_ONCE", 2)
        chosen = [group.pk for group in open_groups(3, add_product)]
        data = {"action": "confirm_selected", "_selected_action": chosen, "index": "0"}
        answer = admin_client.post(REPORT, data, follow=True)
        assert "More than 2 groups are chosen." in read(answer)
        assert not DuplicateGroup.objects.exclude(state="open").exists()

    @pytest.mark.parametrize(
        "data",
        [
            {"verdict": "explode", "groups": "1:1"},
            {"verdict": "confirm", "groups": ""},
            {"verdict": "confirm", "groups": "1:x"},
            {"verdict": "confirm", "groups": ",".join(f"{n}:1" for n in range(1001))},
        ],
    )
    def test_what_is_no_choice(self, admin_client: Client, data: dict[str, str]) -> None:
        assert admin_client.post(BULK, data).status_code == 400


class TestMerging:
    @pytest.fixture(autouse=True)
    def merging_shop(self, settings: Settings, looked_for: None) -> None:
        look_for(settings, MergingListings)

    def test_only_where_the_shop_says_how(
        self, admin_client: Client, group: DuplicateGroup, settings: Settings
    ) -> None:
        url = page_of(group, "merge")
        assert url in admin_client.get(REPORT).content.decode()
        look_for(settings, ShownListings)
        assert url not in admin_client.get(REPORT).content.decode()
        assert admin_client.get(url).status_code == 302

    def test_it_asks_first(
        self, admin_client: Client, group: DuplicateGroup, mugs: tuple[Product, Product]
    ) -> None:
        url = page_of(group, "merge")
        assert "Which listing is to stay?" in read(admin_client.get(url))
        text = read(admin_client.get(f"{url}?survivor={mugs[1].pk}"))
        assert re.search(r"Blue cup of stone .* Stays blue mug of stone .* Is merged into it", text)
        assert Product.objects.filter(is_public=True).count() == 2

        data = {"survivor": str(mugs[1].pk), "version": "1", "note": "One mug", "next": REPORT}
        answer = admin_client.post(url, data, follow=True)

        assert "The listings are merged." in read(answer)
        assert Product.objects.get(is_public=True) == mugs[1]
        assert state(group) == "merged"
        assert LogEntry.objects.get().change_message == (
            f"Merged listings {mugs[0].pk} into {mugs[1].pk}."
        )
        assert "there is nothing to merge" in read(admin_client.get(url))

    def test_the_version_is_written_for_programs(
        self,
        admin_client: Client,
        group: DuplicateGroup,
        mugs: tuple[Product, Product],
        settings: Settings,
    ) -> None:
        settings.USE_THOUSAND_SEPARATOR = True
        DuplicateGroup.objects.update(version=2000)
        answer = admin_client.get(f"{page_of(group, 'merge')}?survivor={mugs[1].pk}")
        assert 'name="version" value="2000"' in answer.content.decode()

    def test_a_conflict_is_told_and_nothing_is_done(
        self, admin_client: Client, group: DuplicateGroup, mugs: tuple[Product, Product]
    ) -> None:
        judge(admin_client, f"dismiss:{group.pk}:1")
        data = {"survivor": str(mugs[1].pk), "version": "1", "note": "One mug"}
        answer = admin_client.post(page_of(group, "merge"), data, follow=True)
        assert "has changed" in read(answer)
        assert "Your note: One mug" in read(answer)
        assert Product.objects.filter(is_public=True).count() == 2
        assert LogEntry.objects.count() == 1

    def test_only_by_post_with_a_token(
        self, group: DuplicateGroup, mugs: tuple[Product, Product]
    ) -> None:
        client = staff("view_duplicategroup", "merge_duplicategroup")
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = client.cookies
        url, data = page_of(group, "merge"), {"survivor": str(mugs[0].pk), "version": "1"}
        assert strict.post(url, data).status_code == 403
        assert client.put(url).status_code == 405
        client.get(url, data)
        assert state(group) == "open"
        for wrong in ({"survivor": "x", "version": "1"}, {"survivor": "", "version": "x"}):
            assert client.post(url, wrong).status_code == 302
        assert state(group) == "open"


class TestExport:
    def rows(self, client: Client, query: str = "") -> list[dict[str, str]]:
        response = client.get(f"{EXPORT}?{query}")
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert "attachment" in response.headers["Content-Disposition"]
        assert response.streaming
        text = b"".join(response.streaming_content).decode("utf-8-sig")
        return list(csv.DictReader(io.StringIO(text)))

    def test_a_row_for_each_pair(
        self, admin_client: Client, group: DuplicateGroup, mugs: tuple[Product, Product]
    ) -> None:
        (row,) = self.rows(admin_client)
        assert row["group"] == str(group.pk)
        assert (row["state"], row["kind"], row["probability"]) == (
            "open",
            "same photo, edited",
            "0.9",
        )
        assert (row["first: key"], row["first: name"]) == (str(mugs[0].pk), "blue mug of stone")
        assert row["second: page"] == f"http://testserver/products/{mugs[1].pk}/"
        assert (row["first: Shelf"], row["second: Shelf"]) == ("3", "0")

    def test_the_filters_hold(self, admin_client: Client, add_product: AddProduct) -> None:
        groups = open_groups(25, add_product)
        judge(admin_client, f"dismiss:{groups[0].pk}:1")
        assert len(self.rows(admin_client)) == 24
        assert [row["group"] for row in self.rows(admin_client, "state=dismissed")] == [
            str(groups[0].pk)
        ]
        assert self.rows(admin_client, "kind=exact") == []

    @pytest.mark.parametrize("start", ["=", "+", "-", "@"])
    def test_formulas_are_defused(
        self, admin_client: Client, add_product: AddProduct, start: str
    ) -> None:
        formula = f'{start}HYPERLINK("https://evil.example")'
        made = pair(add_product(formula), add_product("mug"), note=formula)
        Product.objects.filter(title="mug").delete()
        group_of(made)
        (row,) = self.rows(admin_client)
        assert row["first: name"] == f"'{formula}"
        assert row["note"] == f"'{formula}"
        assert row["second: Shelf"] == ""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Mug;=A1;x", "Mug;'=A1;x"),
            ('Mug;"=A1', "Mug;\"'=A1"),
            ("Mug;＝A1;;@A2", "Mug;'＝A1;;'@A2"),
            ("Mug\n-A1", "Mug\n'-A1"),
            ("\t=A1", "'\t'=A1"),
            ("\r=A1", "'\r'=A1"),
            ("Mug; blue - and\n\n1 + 1 = 2", "Mug; blue - and\n\n1 + 1 = 2"),
        ],
    )
    def test_formulas_are_defused_where_other_locales_split(self, text: str, expected: str) -> None:
        (line,) = spreadsheet.stream([[text]])
        (row,) = csv.reader(io.StringIO(line.removeprefix("\ufeff"), newline=""))
        assert row == [expected]

    def test_it_reads_in_steps(
        self, admin_client: Client, add_product: AddProduct, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(export, "AT_ONCE", 4)
        open_groups(9, add_product)
        with CaptureQueriesContext(connection) as captured:
            assert len(self.rows(admin_client)) == 9
        items = [q for q in captured.captured_queries if 'FROM "catalogue_product" ' in q["sql"]]
        assert len(items) >= 3


class TestIndex:
    def test_the_number_of_open_groups(self, admin_client: Client, add_product: AddProduct) -> None:
        assert "open)" not in read(admin_client.get("/admin/"))
        first, *_ = open_groups(3, add_product)
        judge(admin_client, f"dismiss:{first.pk}:1")
        for url in ("/admin/", "/admin/cardigan_reco/"):
            assert "Duplicate listings (2 open)" in read(admin_client.get(url))
        assert "open)" not in read(staff("view_encodingrequest").get("/admin/"))

    def test_it_is_one_bounded_query(
        self, admin_client: Client, add_product: AddProduct, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cardigan_reco.templatetags.cardigan_reco_admin.MOST", 3)
        open_groups(5, add_product)
        counts = [sql for sql in queries(admin_client, "/admin/") if "duplicategroup" in sql]
        assert len(counts) == 1
        assert "LIMIT 3" in counts[0]
        assert "Duplicate listings (2+ open)" in read(admin_client.get("/admin/"))

    def test_the_index_outlives_a_missing_table(
        self, admin_client: Client, group: DuplicateGroup
    ) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {DuplicateGroup._meta.db_table} RENAME TO elsewhere")
        assert "Duplicate listings" in read(admin_client.get("/admin/"))

    def test_a_sites_own_index_stays(self) -> None:
        site, own = AdminSite("plain"), AdminSite("own")
        own.index_template = "mine.html"
        for one in (site, own):
            one.register(DuplicateGroup, DuplicateGroupAdmin)
        assert site.index_template == "admin/cardigan_reco/index.html"
        assert own.index_template == "mine.html"


class TestSharedPictures:
    def test_they_are_listed_with_an_example(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        def share(listings: int, **fields: Any) -> None:
            image = add_product(f"mug{listings}", RED).images.get()
            values = {"collection": COLLECTION, "example_source_pk": str(image.pk), **fields}
            SharedPicture.objects.create(digest=f"{listings:064}", listings=listings, **values)

        share(40)
        few = queries(admin_client, SHARED)
        for number in range(41, 50):
            share(number)
        share(50, example_source_pk="9999")
        share(51, example_source_pk="x")
        share(52, collection="gone.embedding")
        text = read(admin_client.get(SHARED))
        assert text.index("49") < text.index("mug49") < text.index("mug40")
        assert "mug50" not in text
        assert len(queries(admin_client, SHARED)) == len(few)

    def test_the_tenant_is_named_where_there_are_any(self, admin_client: Client) -> None:
        values = {"collection": COLLECTION, "listings": 40, "example_source_pk": "1"}
        SharedPicture.objects.create(digest="a" * 64, **values)
        assert "Tenant" not in read(admin_client.get(SHARED))
        one = SharedPicture.objects.create(digest="a" * 64, tenant="seller 12", **values)
        assert re.search("Tenant .* seller 12", read(admin_client.get(SHARED)))
        page = reverse("admin:cardigan_reco_sharedpicture_change", args=[one.pk])
        assert "seller 12" in read(admin_client.get(page))


class TestThresholds:
    def test_chart_and_table(self, admin_client: Client) -> None:
        for number, judged in enumerate(["confirmed"] * 8 + ["dismissed"] * 2 + ["open"]):
            probability = 0.55 + number / 25
            group_of(pair(f"{number}1", f"{number}2", probability=probability, state=judged))
        page = admin_client.get(THRESHOLDS).content.decode()
        assert '<svg viewBox="0 0 640 320" role="img"' in page
        assert len(re.findall("<circle", page)) == len(re.findall(r"<td>0\.\d{3}–", page)) > 5
        text = read(admin_client.get(THRESHOLDS))
        assert "0.50 in force 11 8 2 0.800 0.490–0.943" in text

    def test_before_the_first_verdict(self, admin_client: Client, group: DuplicateGroup) -> None:
        page = admin_client.get(THRESHOLDS).content.decode()
        assert "nothing is known" in page
        assert "<svg viewBox" not in page

    def test_numbers_of_other_languages_draw_the_same(
        self, admin_client: Client, settings: Settings
    ) -> None:
        group_of(pair("1", "2", state="confirmed"))
        settings.LANGUAGE_CODE = "de"
        page = admin_client.get(THRESHOLDS).content.decode()
        assert re.search(r'points="[\d.]+,[\d.]+( [\d.]+,[\d.]+)*"', page)
        assert not re.search(r'(cx|x1|y1|y)="[\d.]*,', page)


class TestDifferences:
    def marked(self, *texts: str) -> list[str]:
        return [
            "".join(f"[{part.text}]" if part.differs else part.text for part in parts)
            for parts in differences.words(texts)
        ]

    @pytest.mark.parametrize(
        ("texts", "expected"),
        [
            (("Mug, blue", "blue mug"), ["Mug, blue", "blue mug"]),
            (("mug blue", "mug"), ["mug [blue]", "mug"]),
            (("mug  mug", "mug"), ["mug  [mug]", "mug"]),
            (("a b", "a c", "a b c d a"), ["a [b]", "a [c]", "a [b c d a]"]),
            (("x y a z", "a"), ["[x y] a [z]", "a"]),
            ((" a b ", "a"), [" a [b]", "a"]),
            # Nearly all of a long text would be marked.
            (("1 2 3 4 5 6 7 8 9 0", "1 2 3 a"), ["1 2 3 4 5 6 7 8 9 0", "1 2 3 [a]"]),
            (("", "a"), ["", "[a]"]),
            (("- a", "a"), ["[-] a", "a"]),
        ],
    )
    def test_words(self, texts: tuple[str, ...], expected: list[str]) -> None:
        assert self.marked(*texts) == expected

    @pytest.mark.parametrize("text", [f"a{'!' * 80_000}a", f"a{' ' * 80_000}"])
    def test_a_text_that_a_seller_wrote_to_be_slow(self, text: str) -> None:
        started = time.perf_counter()
        assert "".join(self.marked(text, text.strip())) == text.strip() * 2
        assert time.perf_counter() - started < 10

    def test_certainty_is_only_shown_where_it_is(self) -> None:
        shares = [0, 0.001, 0.5, 0.996, 1]
        assert [percent(share) for share in shares] == [0, 1, 50, 99, 100]
