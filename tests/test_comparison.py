"""Two encoders side by side: their shelves, the order of the items, votes, and the page."""

from __future__ import annotations

import csv
import re
from typing import Any

import pytest
from django.template import Context, Template
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from cardigan_reco import comparison, recommendations
from cardigan_reco.comparison import Answer, Tables
from cardigan_reco.encoders import encoders
from cardigan_reco.models import ComparisonVote, EncoderVersion
from tests.conftest import BLUE, GREEN, ORANGE, RED, AddProduct, add_image, encode_all
from tests.swapping.shop import NEW, NEXT, OLD, second_table  # noqa: F401
from tests.test_admin import queries, read, staff
from tests.testapp.catalogue.models import Product

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("silent_doorbell", "second_table")]

PAGE = reverse("admin:cardigan_reco_comparisonvote_changelist")
VOTE, VOTES, EXPORT = f"{PAGE}vote/", f"{PAGE}votes/", f"{PAGE}export/"
# As bright as RED, and as dark as BLUE: what one encoder finds near, the other finds far.
DARK_RED = (110, 15, 15)
BRIGHT_BLUE = (150, 170, 250)
ITEMS = "catalogue.product"


@pytest.fixture
def shop(add_product: AddProduct) -> list[Product]:
    colours = {
        "red": RED,
        "orange": ORANGE,
        "dark red": DARK_RED,
        "green": GREEN,
        "blue": BLUE,
        "bright blue": BRIGHT_BLUE,
    }
    products = [add_product(name, colour) for name, colour in colours.items()]
    encode_all()
    return products


@pytest.fixture
def tables() -> Tables:
    return comparison.chosen(OLD, NEW)


@pytest.fixture
def versions(shop: list[Product], tables: Tables) -> tuple[str, str]:
    found = comparison.versions(shop[0], tables)
    assert found is not None
    return found


def names(items: list[Any]) -> list[str]:
    return [item.title for item in items]


class TestTables:
    def test_the_serving_table_and_the_one_beside_it(self, shop: list[Product]) -> None:
        found = comparison.default()
        assert found is not None
        assert (found.old_label, found.new_label) == (OLD, NEW)

    def test_a_table_without_vectors_is_no_choice(self, tables: Tables) -> None:
        assert comparison.default() is None

    @pytest.mark.parametrize(
        ("old", "new", "error", "words"),
        [
            (OLD, "shop.Nothing", LookupError, "'shop.Nothing' is not an embedding model"),
            (OLD, OLD, ValueError, "can't be compared with itself"),
            (OLD, "testapp.PosterEmbedding", ValueError, "testapp.Poster objects"),
        ],
    )
    def test_what_cannot_be_compared(
        self, old: str, new: str, error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            comparison.chosen(old, new)


class TestShelves:
    def test_each_encoder_fills_its_own(self, shop: list[Product], tables: Tables) -> None:
        found = comparison.compare(shop[0], tables, limit=2)

        assert names(found.old.items) == ["orange", "dark red"]
        assert names(found.new.items) == ["blue", "green"]
        assert found.common == set()
        assert found.versions == (
            f"default {encoders['default'].fingerprint}",
            f"next {encoders['next'].fingerprint}",
        )

    def test_what_both_have_in_common(self, shop: list[Product], tables: Tables) -> None:
        found = comparison.compare(shop[0], tables, limit=5)

        assert found.common == {product.pk for product in shop[1:]}

    def test_a_table_that_serves_nothing_yet_is_asked_by_its_label(
        self, shop: list[Product]
    ) -> None:
        assert names(recommendations.similar_to(shop[0], collection=NEW, limit=1)) == ["blue"]
        template = Template(
            "{% load cardigan_reco %}{% similar_products product limit=1 collection=table %}"
        )
        assert "blue" in template.render(Context({"product": shop[0], "table": NEW}))
        with pytest.raises(LookupError, match=r"'shop\.V3' is not an embedding model"):
            recommendations.similar_to(shop[0], collection="shop.V3")

    def test_an_item_that_one_has_not_encoded_is_nothing_to_vote_on(
        self, shop: list[Product], tables: Tables
    ) -> None:
        tables.new.objects.filter(source__product=shop[0]).delete()
        found = comparison.compare(shop[0], tables)

        assert (found.new.items, found.new.versions, found.versions) == ([], (), None)


class TestOrder:
    def test_it_is_the_same_every_time_and_no_other_than_chance(
        self, shop: list[Product], tables: Tables
    ) -> None:
        order = list(comparison.queries(tables))

        assert set(order) == set(shop)
        assert order != shop
        assert list(comparison.queries(tables)) == order
        # What comes in between doesn't shuffle the rest.
        extra = Product.objects.create(title="extra")
        add_image(extra, GREEN)
        encode_all()
        assert [item for item in comparison.queries(tables) if item != extra] == order

    def test_only_what_may_be_shown_and_both_have(
        self, shop: list[Product], tables: Tables
    ) -> None:
        Product.objects.filter(pk=shop[1].pk).update(is_public=False)
        tables.new.objects.filter(source__product=shop[2]).delete()

        assert set(comparison.queries(tables)) == {shop[0], *shop[3:]}

    def test_one_of_each_shelf_is_the_one_that_may_be_shown(
        self, shop: list[Product], tables: Tables, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        last = Product.objects.order_by("shelf", "-pk").distinct("shelf")
        monkeypatch.setattr(tables.old, "candidates", lambda: last)

        assert list(comparison.queries(tables)) == [shop[-1]]

    def test_one_leads_to_the_next_and_the_last_to_the_first(
        self, shop: list[Product], tables: Tables
    ) -> None:
        items = comparison.queries(tables)
        order = list(items)

        assert [comparison.following(items, item) for item in order] == [*order[1:], order[0]]
        assert comparison.following(items.filter(pk=order[0].pk), order[0]) is None

    def test_what_was_voted_on_is_left_out_for_the_voter(
        self, shop: list[Product], tables: Tables, versions: tuple[str, str]
    ) -> None:
        items = comparison.queries(tables)
        first, second, *_rest = items
        comparison.cast(first, versions, Answer.OLD, voter="anna", is_blind=False)
        mine = comparison.unvoted(items, versions, "anna")

        assert first not in mine
        assert mine.first() == second
        assert comparison.following(mine, first) == second
        assert comparison.unvoted(items, versions, "bert").first() == first
        assert comparison.unvoted(items, (versions[0], "next other"), "anna").first() == first


class TestVotes:
    def test_a_second_vote_replaces_the_first(
        self, shop: list[Product], versions: tuple[str, str]
    ) -> None:
        for answer in (Answer.NEITHER, Answer.NEW):
            comparison.cast(shop[0], versions, answer, voter="anna", is_blind=True)
        comparison.cast(shop[0], versions, Answer.OLD, voter="bert", is_blind=False)

        assert ComparisonVote.objects.count() == 2
        answers = [comparison.answer_of(shop[0], versions, voter=one) for one in ("anna", "bert")]
        assert answers == [Answer.NEW, Answer.OLD]
        assert comparison.answer_of(shop[1], versions, voter="anna") is None

    def test_which_is_called_the_old_one_does_not_matter(
        self, shop: list[Product], versions: tuple[str, str]
    ) -> None:
        old, new = versions
        for answer in Answer:
            comparison.cast(shop[0], (old, new), answer, voter=answer, is_blind=False)
        turned = [comparison.answer_of(shop[0], (new, old), voter=answer) for answer in Answer]

        assert turned == [Answer.NEW, Answer.OLD, Answer.BOTH, Answer.NEITHER]
        assert comparison.tally(ITEMS, (old, new)).old_better == 1
        assert comparison.tally(ITEMS, (new, old)).new_better == 1

    def test_they_stay_when_tables_and_versions_go(
        self, shop: list[Product], versions: tuple[str, str], tables: Tables
    ) -> None:
        comparison.cast(shop[0], versions, Answer.NEW, voter="anna", is_blind=True)
        tables.new.objects.all().delete()
        EncoderVersion.objects.filter(encoder="next").delete()

        (found,) = comparison.tallies()
        assert (found.votes, found.new_better) == (1, 1)

    def test_the_tally(self, shop: list[Product], versions: tuple[str, str]) -> None:
        for voter, answers in {
            "anna": [*[Answer.NEW] * 4, Answer.OLD, Answer.BOTH],
            "bert": [*[Answer.NEW] * 4, Answer.NEW, Answer.NEITHER],
        }.items():
            for product, answer in zip(shop, answers, strict=True):
                comparison.cast(product, versions, answer, voter=voter, is_blind=True)
        found = comparison.tally(ITEMS, versions)

        assert (found.votes, found.decided, found.voters) == (12, 10, 2)
        assert (found.old_better, found.new_better, found.both, found.neither) == (1, 9, 1, 1)
        # Wilson's interval of 9 of 10.
        assert found.interval == pytest.approx((0.596, 0.982), abs=0.001)
        assert found.better == versions[1]
        assert comparison.tallies() == [found]

    def test_few_votes_decide_nothing(self, shop: list[Product], versions: tuple[str, str]) -> None:
        nothing = comparison.tally(ITEMS, versions)
        assert (nothing.share, nothing.interval, nothing.better) == (None, None, None)
        comparison.cast(shop[0], versions, Answer.NEW, voter="anna", is_blind=True)
        assert comparison.tally(ITEMS, versions).better is None

    def test_the_coin_falls_the_same_way_for_one_person_and_either_way_for_many(self) -> None:
        pair = ("default a", "next b")
        coins = [comparison.new_is_left(pk, pair, voter="anna") for pk in range(64)]

        assert coins == [comparison.new_is_left(pk, pair, voter="anna") for pk in range(64)]
        assert coins != [comparison.new_is_left(pk, pair, voter="bert") for pk in range(64)]
        assert 16 < sum(coins) < 48


def sides(client: Client, address: str) -> list[list[str]]:
    """Returns the names on the left and on the right shelf."""
    page = client.get(address).content.decode()
    shelves = page.split('class="cardigan-side"')[1:]
    found = [re.findall(r'class="cardigan-name">(?:<a[^>]*>)?([^<]+)', text) for text in shelves]
    assert len(found) == 2
    return found


def fields(client: Client, address: str) -> dict[str, str]:
    """Returns what the form of a page would send, without a button."""
    page = client.get(address).content.decode()
    form = page.partition("data-cardigan-votes")[2]
    return dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form))


def vote(client: Client, address: str, answer: str) -> str:
    """Presses a button of a page; returns where it leads to."""
    sent = {**fields(client, address), "vote": answer}
    response = client.post(VOTE, sent)
    assert response.status_code == 302
    return response["Location"]


class TestPage:
    def test_the_index_leads_to_it(self, admin_client: Client) -> None:
        assert f'href="{PAGE}"' in admin_client.get("/admin/").content.decode()

    def test_both_shelves_with_names_and_similarities(
        self, admin_client: Client, shop: list[Product]
    ) -> None:
        address = f"{PAGE}?item={shop[0].pk}"
        left, right = sides(admin_client, address)
        page = read(admin_client.get(address))

        assert left[:2] == ["orange", "dark red"]
        assert right[:2] == ["blue", "green"]
        assert "5 items stand on both" in page
        assert f"default {encoders['default'].fingerprint[:8]}" in page
        similar = recommendations.similar_to(shop[0], limit=1)[0].similarity
        assert f"{similar:.3f} on both" in page

    def test_nothing_to_compare_is_explained(self, admin_client: Client) -> None:
        assert "There is nothing to compare yet" in read(admin_client.get(PAGE))

    def test_a_table_that_is_not_there_is_named(
        self, admin_client: Client, shop: list[Product]
    ) -> None:
        page = read(admin_client.get(f"{PAGE}?old={OLD}&new=shop.V3"))
        assert "&#x27;shop.V3&#x27; is not an embedding model. Choices are:" in page
        assert "Item 0 isn’t there any more" in read(admin_client.get(f"{PAGE}?item=0"))
        assert "Item x isn’t there any more" in read(admin_client.get(f"{PAGE}?item=x"))

    def test_a_vote_leads_to_the_next_item_until_all_are_done(
        self, admin_client: Client, shop: list[Product], versions: tuple[str, str], tables: Tables
    ) -> None:
        address = PAGE
        seen = []
        for _ in shop:
            seen.append(int(fields(admin_client, address)["item"]))
            address = vote(admin_client, address, "right")

        assert seen == [item.pk for item in comparison.queries(tables)]
        assert "You have voted on all items" in read(admin_client.get(PAGE))
        found = comparison.tally(ITEMS, versions)
        assert (found.new_better, found.votes, found.voters) == (6, 6, 1)
        assert not ComparisonVote.objects.exclude(voter="admin").exists()

    def test_a_vote_on_an_item_whose_key_is_written_in_groups(
        self, admin_client: Client, add_product: AddProduct, settings: Settings
    ) -> None:
        settings.USE_THOUSAND_SEPARATOR = True
        Product.objects.create(pk=12_345, title="red")
        add_image(Product.objects.get(pk=12_345), RED)
        add_product("green", GREEN)
        encode_all()
        vote(admin_client, f"{PAGE}?item=12345", "left")
        assert ComparisonVote.objects.get().item_pk == "12345"

    def test_an_answer_is_seen_again_and_replaced(
        self, admin_client: Client, shop: list[Product], versions: tuple[str, str]
    ) -> None:
        address = f"{PAGE}?item={shop[0].pk}&show=all"
        vote(admin_client, address, "left")
        pressed = re.findall(
            r'value="(\w+)"[^>]*aria-pressed="true"', admin_client.get(address).content.decode()
        )
        assert pressed == ["left"]
        vote(admin_client, address, "neither")
        assert comparison.answer_of(shop[0], versions, voter="admin") is Answer.NEITHER
        assert ComparisonVote.objects.count() == 1

    def test_blind_votes_are_for_the_shelf_that_was_seen(
        self, admin_client: Client, shop: list[Product], versions: tuple[str, str]
    ) -> None:
        for product in shop:
            address = f"{PAGE}?item={product.pk}&blind=1&show=all"
            page = read(admin_client.get(address))
            for telling in ("Old", "New", versions[0][:16], versions[1][:13], "vote so far"):
                assert telling not in page.partition("Which shelf")[2], telling
            assert not re.search(r"0\.\d\d\d", page)
            new = names(recommendations.similar_to(product, collection=NEW))
            left, right = sides(admin_client, address)
            assert new in (left, right)
            assert (new == left) is comparison.new_is_left(product.pk, versions, voter="admin")
            vote(admin_client, address, "left" if new == left else "right")
        found = comparison.tally(ITEMS, versions)
        assert (found.new_better, found.votes) == (6, 6)
        assert ComparisonVote.objects.filter(is_blind=True).count() == 6

    def test_a_vote_on_encoders_that_changed_meanwhile_is_not_stored(
        self, admin_client: Client, shop: list[Product], settings: Settings
    ) -> None:
        address = f"{PAGE}?item={shop[0].pk}"
        sent = {**fields(admin_client, address), "vote": "left"}
        other = EncoderVersion.objects.create(encoder="next", fingerprint="f", dimensions=8)
        row = comparison.chosen(OLD, NEW).new.objects.filter(source__product=shop[0])
        row.update(encoder_version=other)
        response = admin_client.post(VOTE, sent, follow=True)

        assert "An encoder has changed since the page was shown" in read(response)
        assert not ComparisonVote.objects.exists()

    @pytest.mark.parametrize("wrong", [{"vote": "best"}, {"item": "0"}, {"new": "shop.V3"}])
    def test_what_no_page_sends_stores_nothing(
        self, admin_client: Client, shop: list[Product], wrong: dict[str, str]
    ) -> None:
        sent = {**fields(admin_client, PAGE), "vote": "left", **wrong}

        assert admin_client.post(VOTE, sent).status_code == 302
        assert admin_client.get(VOTE).status_code == 405
        assert not ComparisonVote.objects.exists()

    def test_who_may_look_and_who_may_vote(self, shop: list[Product]) -> None:
        assert staff().get(PAGE).status_code == 403
        watcher = staff("view_comparisonvote")
        page = watcher.get(PAGE).content.decode()
        assert "You may look, and not vote" in page
        assert 'name="vote"' not in page
        assert watcher.post(VOTE, {**fields(watcher, PAGE), "vote": "left"}).status_code == 403
        voter = staff("view_comparisonvote", "vote_comparisonvote")
        vote(voter, PAGE, "both")
        assert ComparisonVote.objects.get().choice == "both"
        assert staff("view_encoderversion").get(EXPORT).status_code == 403
        assert watcher.get(f"{PAGE}{ComparisonVote.objects.get().pk}/delete/").status_code == 403

    def test_a_search_narrows_the_items(self, admin_client: Client, shop: list[Product]) -> None:
        assert fields(admin_client, f"{PAGE}?q={shop[3].pk}")["item"] == str(shop[3].pk)
        assert "matches this" in read(admin_client.get(f"{PAGE}?q=mug"))

    def test_the_shop_categories_narrow_them_too(
        self, admin_client: Client, shop: list[Product], settings: Settings
    ) -> None:
        chosen = {"LISTINGS": "tests.duplicates.shop.PublicListings"}
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": chosen}
        Product.objects.filter(pk=shop[4].pk).update(shelf=7)

        assert "<option>7</option>" in admin_client.get(PAGE).content.decode()
        assert fields(admin_client, f"{PAGE}?category=7")["item"] == str(shop[4].pk)

    def test_what_the_shop_hides_is_not_shown(
        self, admin_client: Client, shop: list[Product]
    ) -> None:
        address = f"{PAGE}?item={shop[0].pk}"
        assert shop[0].title in read(admin_client.get(address))
        Product.objects.filter(pk=shop[0].pk).update(is_public=False)
        assert f"Item {shop[0].pk} isn’t there any more." in read(admin_client.get(address))

    @pytest.mark.parametrize("query", ["q=%00", "category=%00", "item=%00", "old=%00"])
    def test_what_no_form_sends_is_no_fault(
        self, admin_client: Client, shop: list[Product], query: str
    ) -> None:
        assert admin_client.get(f"{PAGE}?{query}").status_code == 200

    def test_why_there_is_nothing_to_vote_on(
        self, admin_client: Client, shop: list[Product], tables: Tables, settings: Settings
    ) -> None:
        address = f"{PAGE}?item={shop[0].pk}"
        add_image(shop[0], RED, 1)
        other = {**NEXT, "OPTIONS": {"state": "2"}}
        given = settings.CARDIGAN_RECO
        settings.CARDIGAN_RECO = {**given, "ENCODERS": {**given["ENCODERS"], "next": other}}
        encode_all()
        page = admin_client.get(address)
        assert "is being encoded anew" in read(page)
        assert 'name="vote"' not in page.content.decode()

        tables.new.objects.filter(source__product=shop[0]).delete()
        assert "has no vectors of this item yet" in read(admin_client.get(address))

    def test_names_are_escaped(self, admin_client: Client, shop: list[Product]) -> None:
        Product.objects.update(title="<script>alert(1)</script>")
        assert "<script>alert" not in admin_client.get(PAGE).content.decode()

    def test_the_number_of_queries_does_not_grow(
        self,
        admin_client: Client,
        shop: list[Product],
        add_product: AddProduct,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # What the planner expects is asked once, not every ten seconds.
        monkeypatch.setattr("cardigan_reco.estimates.EVERY_SECONDS", 1e9)
        few = queries(admin_client, f"{PAGE}?item={shop[0].pk}")
        for number in range(8):
            add_product(f"more {number}", RED)
        encode_all()
        more = queries(admin_client, f"{PAGE}?item={shop[0].pk}")
        # After the last item in the order, one more asks for the first.
        assert len(more) <= len(few) + 1


class TestVotesPage:
    def cast(self, shop: list[Product], versions: tuple[str, str]) -> None:
        for product in shop[:3]:
            comparison.cast(product, versions, Answer.NEW, voter="=anna", is_blind=True)
        comparison.cast(shop[3], versions, Answer.BOTH, voter="bert", is_blind=False)

    def test_what_the_votes_say_and_who_voted(
        self, admin_client: Client, shop: list[Product], versions: tuple[str, str]
    ) -> None:
        assert "Nobody has voted yet" in read(admin_client.get(VOTES))
        self.cast(shop, versions)
        page = read(admin_client.get(VOTES))

        old, new = (comparison.short(version) for version in versions)
        assert f"{old} {new} {ITEMS} 0 3 1 0 2 100 % (44–100 %) not decided" in page
        assert "dark red" in page
        Product.objects.filter(pk=shop[0].pk).delete()
        assert f"{ITEMS} {shop[0].pk}" in read(admin_client.get(VOTES))
        (detail,) = ComparisonVote.objects.filter(voter="bert")
        assert f"{old} and {new} are equally good" in read(
            admin_client.get(f"{PAGE}{detail.pk}/change/")
        )
        assert f"{new} rather than {old}" in page

    def test_one_query_finds_the_items_of_all(
        self, admin_client: Client, shop: list[Product], versions: tuple[str, str]
    ) -> None:
        self.cast(shop[:1] * 3 + shop[3:], versions)
        few = len(queries(admin_client, VOTES))
        self.cast(shop, versions)
        assert len(queries(admin_client, VOTES)) == few

    def test_filters_and_the_file(
        self, admin_client: Client, shop: list[Product], versions: tuple[str, str]
    ) -> None:
        self.cast(shop, versions)
        response = admin_client.get(f"{EXPORT}?voter=%3Danna")
        text = b"".join(response.streaming_content).decode("utf-8-sig")
        header, *rows = csv.reader(text.splitlines())

        assert header[4:7] == ["better", "blind", "voter"]
        assert [row[1:7] for row in rows] == [
            [str(product.pk), *versions, versions[1], "1", "'=anna"]
            for product in reversed(shop[:3])
        ]
        pair = "%7C".join(version.replace(" ", "%20") for version in sorted(versions))
        assert "4 comparisons" in read(admin_client.get(f"{VOTES}?encoders={pair}"))
        assert "0 comparisons" in read(admin_client.get(f"{VOTES}?encoders=a%7Cb"))
