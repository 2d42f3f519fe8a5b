"""Finding listings that were entered twice, and what stays of it when things change."""

from __future__ import annotations

import io
import math
import re
import sys
import threading
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from cardigan_reco import copies, duplicates, images, queue
from cardigan_reco.duplicates import candidates, descriptors, grouping, listings, pending, verdicts
from cardigan_reco.duplicates.descriptors import Trouble
from cardigan_reco.duplicates.pairs import matched
from cardigan_reco.duplicates.pictures import comparable
from cardigan_reco.duplicates.run import Run
from cardigan_reco.exceptions import MissingExtra
from cardigan_reco.models import CopyDescriptor, DuplicateCheck, DuplicateGroup, DuplicatePair
from cardigan_reco.tasks import encode_pending
from tests.conftest import encode_all, unmeasured
from tests.duplicates.shop import (
    add_picture,
    file_of,
    find,
    list_item,
    photo,
    recompressed,
    replace_picture,
    reported,
)
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import Poster, ProductImageEmbedding

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("silent_doorbell"),
]


@pytest.fixture(autouse=True)
def plain(settings: Settings) -> Settings:
    return use(settings, "PlainListings")


def use(settings: Settings, listings: str, **options: Any) -> Settings:
    chosen = {"LISTINGS": f"tests.duplicates.shop.{listings}", **options}
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": chosen}
    return settings


def test_the_same_file_twice() -> None:
    for title, seed in [("mug", 1), ("cup", 1), ("bowl", 2), ("plate", 3)]:
        list_item(title, file_of(photo(seed)))
    done = find()
    assert (done.total, done.compared, done.found, done.gone) == (4, 4, 1, 0)
    assert reported() == [("mug", "cup", "exact", "open")]
    pair = DuplicatePair.objects.get()
    first, second = Product.objects.order_by("pk")[:2]
    assert (pair.first_pk, pair.second_pk) == (str(first.pk), str(second.pk))
    picture = pair.evidence["pictures"][0]
    assert picture["first"] == str(first.images.get().pk)
    assert picture["second"] == str(second.images.get().pk)
    assert picture["first_digest"] == picture["second_digest"]
    assert pair.group is not None
    assert (pair.group.listings, pair.group.kind, pair.group.state) == (2, "exact", "open")


def test_the_same_photo_compressed_again() -> None:
    list_item("mug", file_of(photo(1)))
    list_item("cup", recompressed(1))
    list_item("bowl", file_of(photo(2)))
    find()
    assert reported() == [("mug", "cup", "same_photo", "open")]


def test_a_second_run_has_nothing_to_do() -> None:
    list_item("mug", file_of(photo(1)))
    list_item("cup", recompressed(1))
    find()
    before = rows()
    done = find()
    assert (done.total, done.compared, done.found) == (0, 0, 0)
    assert rows() == before


def rows() -> list[dict[str, Any]]:
    """Returns all that is kept of pairs and groups."""
    return [
        *DuplicatePair.objects.order_by("pk").values(),
        *DuplicateGroup.objects.order_by("pk").values(),
    ]


def test_a_full_run_compares_all_again_and_finds_the_same() -> None:
    for seed in (1, 2, 1, 3, 3):
        list_item(f"item {seed}", recompressed(seed, 90 - seed), file_of(photo(50 + seed)))
    find()
    before = rows()
    assert len(before) == 4
    done = find(full=True)
    assert (done.total, done.compared, done.found, done.gone) == (10, 10, 0, 0)
    assert rows() == before


def test_what_is_added_later_finds_the_same_as_a_run_over_all() -> None:
    files = [recompressed(seed, quality) for seed, quality in [(1, 90), (2, 90), (1, 50), (2, 40)]]
    for number, data in enumerate(files):
        list_item(f"item {number}", data)
        find()
    stepwise = reported()
    DuplicatePair.objects.all().delete()
    DuplicateCheck.objects.all().delete()
    find()
    assert reported() == stepwise
    assert [pair[:2] for pair in stepwise] == [("item 0", "item 2"), ("item 1", "item 3")]


def test_pictures_of_one_listing_are_not_compared() -> None:
    list_item("mug", file_of(photo(1)), file_of(photo(1)), recompressed(1))
    list_item("cup", file_of(photo(2)))
    find()
    assert reported() == []


def test_all_pictures_that_match_are_kept_as_evidence() -> None:
    list_item("mug", *(file_of(photo(seed)) for seed in range(1, 4)))
    list_item("cup", *(file_of(photo(seed)) for seed in range(3, 0, -1)))
    find()
    pair = DuplicatePair.objects.get()
    exact = [one for one in pair.evidence["pictures"] if one["kind"] == "exact"]
    first, second = ([str(image.pk) for image in item.images.all()] for item in items())
    assert {(one["first"], one["second"]) for one in exact} == set(
        zip(first, second[::-1], strict=True)
    )


def items() -> list[Product]:
    return list(Product.objects.order_by("pk"))


def test_no_more_than_8_matches_are_evidence_and_the_others_are_remembered() -> None:
    files = [file_of(photo(seed)) for seed in range(10)]
    list_item("mug", *files)
    list_item("cup", *files)
    find()
    evidence = DuplicatePair.objects.get().evidence
    assert [one["kind"] for one in evidence["pictures"]] == ["exact"] * 8
    kept = {(one["first"], one["second"]) for one in evidence["pictures"]}
    assert len({(one[0], one[1]) for one in evidence["others"] if one[2] == one[3]} - kept) == 2


def test_words_and_prices_are_evidence_where_the_shop_names_them(settings: Settings) -> None:
    use(settings, "TitledListings")
    list_item("striped mug", file_of(photo(1)), shelf=8)
    list_item("mug, striped", file_of(photo(1)), shelf=10)
    find()
    facts = DuplicatePair.objects.get().evidence["facts"]
    assert {(fact["code"], fact["value"]) for fact in facts} == {("title", 1.0), ("price", 0.8)}


class TestChanges:
    def test_a_picture_that_changed_takes_the_pair_with_it(self) -> None:
        mug = list_item("mug", file_of(photo(1)))
        list_item("cup", file_of(photo(1)))
        find()
        replace_picture(mug, file_of(photo(2)))
        done = find()
        # The cup is compared again, too: it might be a double of what the mug had ruled out.
        assert (done.total, done.compared, done.gone) == (1, 2, 1)
        assert reported() == []
        assert not DuplicateGroup.objects.exists()

    def test_a_picture_that_changed_into_a_double(self) -> None:
        mug = list_item("mug", file_of(photo(1)))
        list_item("cup", file_of(photo(2)))
        find()
        replace_picture(mug, file_of(photo(2)))
        assert find().found == 1
        assert reported() == [("mug", "cup", "exact", "open")]

    def test_another_match_keeps_the_pair(self) -> None:
        mug = list_item("mug", file_of(photo(1)), file_of(photo(2)))
        list_item("cup", file_of(photo(1)), file_of(photo(2)))
        find()
        pair = DuplicatePair.objects.select_related("group").get()
        mug.images.first().delete()
        done = find()
        assert (done.total, done.gone) == (0, 0)
        again = DuplicatePair.objects.get()
        assert (again.pk, again.version) == (pair.pk, pair.version + 1)
        assert [one["kind"] for one in again.evidence["pictures"]] == ["exact"]
        assert again.group.version == pair.group.version + 1  # type: ignore[union-attr]

    def test_a_deleted_listing_takes_its_pairs_and_checks_with_it(self) -> None:
        mug, cup = (list_item(title, file_of(photo(1))) for title in ("mug", "cup"))
        list_item("bowl", recompressed(1))
        find()
        assert len(reported()) == 3
        DuplicatePair.objects.filter(first_pk=mug.pk).update(state="dismissed")
        mug.delete()
        find()
        assert reported() == [("cup", "bowl", "same_photo", "open")]
        assert DuplicateGroup.objects.get().listings == 2
        assert DuplicateCheck.objects.count() == 2
        assert str(cup.pk) in DuplicateCheck.objects.values_list("item_pk", flat=True)

    def test_what_was_merged_stays_as_a_record(self) -> None:
        mug, _cup = (list_item(title, file_of(photo(1))) for title in ("mug", "cup"))
        find()
        DuplicatePair.objects.update(state="merged")
        pk = mug.pk
        mug.delete()
        find()
        assert DuplicatePair.objects.get().first_pk == str(pk)

    def test_a_picture_that_moved_to_another_listing(self) -> None:
        mug = list_item("mug", file_of(photo(1)))
        list_item("cup", recompressed(1))
        bowl = list_item("bowl", file_of(photo(9)))
        find()
        mug.images.update(product=bowl)
        done = find()
        assert (done.total, done.found, done.gone) == (1, 1, 1)
        assert reported() == [("cup", "bowl", "same_photo", "open")]

    def test_another_state_of_the_encoder_compares_again(self, settings: Settings) -> None:
        list_item("mug", file_of(photo(1)))
        list_item("cup", file_of(photo(1)))
        find()
        encoder = {"BACKEND": "tests.recording_encoders.CudaEncoder", "OPTIONS": {"dimensions": 16}}
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "ENCODERS": {"default": encoder}}
        queue.mark_new(ProductImageEmbedding, ProductImageEmbedding.objects.all())
        done = find()
        assert (done.compared, done.found, done.gone) == (2, 0, 0)

    def test_descriptors_of_pictures_that_are_gone_go_after_a_while(self) -> None:
        mug = list_item("mug", file_of(photo(1)))
        list_item("cup", file_of(photo(2)))
        find()
        kept = ProductImageEmbedding.objects.exclude(source__product=mug).get().digest
        mug.delete()
        find()
        assert CopyDescriptor.objects.count() == 2
        CopyDescriptor.objects.update(made_at=Now() - timedelta(hours=2))
        find()
        assert [row.digest for row in CopyDescriptor.objects.all()] == [kept]

    def test_descriptors_of_another_collection_stay(self, settings: Settings) -> None:
        list_item("mug", file_of(photo(1)))
        find()
        CopyDescriptor.objects.update(made_at=Now() - timedelta(hours=2))
        use(settings, "PlainListings", COLLECTION="posters")
        file = ContentFile(file_of(photo(2)), name="poster.jpg")
        Poster.objects.create(title="poster", image=file)
        find()
        assert DuplicateCheck.objects.count() == CopyDescriptor.objects.count() == 2

    def test_a_picture_whose_descriptor_is_gone_waits(self) -> None:
        list_item("mug", file_of(photo(1)))
        cup = list_item("cup", recompressed(1))
        encode_all()
        shop = listings.current()
        assert shop is not None
        everything = comparable(shop, using="default")
        assert everything is not None
        chunk = pending.after(everything, None, limit=2)
        descriptors.make(everything, chunk)
        gone = ProductImageEmbedding.objects.get(source__product=cup).digest
        CopyDescriptor.objects.filter(pk=gone).delete()
        done, _stored = Run(everything, 0, 100).compare(chunk)
        assert [one.digest for one in chunk if one not in done] == [gone]
        assert find().found == 1

    def test_two_who_store_the_same_do_it_in_one_order(self) -> None:
        for seed in range(12):
            list_item(f"mug {seed}", file_of(photo(seed)))
        encode_all()
        with CaptureQueriesContext(connection) as queries:
            find()
        table = CopyDescriptor._meta.db_table
        (insert,) = [one["sql"] for one in queries if f'INSERT INTO "{table}"' in one["sql"]]
        digests = re.findall(r"'([0-9a-f]{64})'", insert)
        assert len(digests) == 12
        assert digests == sorted(digests)

    def test_a_damaged_descriptor_is_made_anew(self, caplog: pytest.LogCaptureFixture) -> None:
        list_item("mug", file_of(photo(1)))
        cup = list_item("cup", recompressed(1))
        list_item("bowl", file_of(photo(2)))
        list_item("plate", recompressed(2))
        find()
        digest = ProductImageEmbedding.objects.get(source__product=cup).digest
        CopyDescriptor.objects.filter(pk=digest).update(data=b"damaged")
        find(full=True)
        (record,) = caplog.records
        assert (record.levelname, record.digest) == ("WARNING", digest)  # type: ignore[attr-defined]
        assert "it has 7 bytes" in record.getMessage()
        assert ("bowl", "plate", "same_photo", "open") in reported()
        assert find().found == 1
        assert [pair[:2] for pair in reported()] == [("bowl", "plate"), ("mug", "cup")]


class TestWhoIsCompared:
    @pytest.fixture(autouse=True)
    def doubles(self) -> None:
        """Two shelves with the same photo twice each, and a variant of the first."""
        mug = list_item("mug", file_of(photo(1)), shelf=1)
        list_item("cup", recompressed(1), shelf=1, parent=mug)
        list_item("bowl", recompressed(1, 70), shelf=2)
        list_item("unique", recompressed(1, 75), shelf=2, is_public=False)

    def test_all(self) -> None:
        find()
        assert len(reported()) == 6

    def test_tenants_are_kept_apart(self, settings: Settings) -> None:
        use(settings, "ShelvedListings")
        find()
        assert [pair[:2] for pair in reported()] == [("bowl", "unique"), ("mug", "cup")]

    def test_tenants_are_kept_apart_by_the_index_too(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(candidates, "FEW_ROWS", 0)
        use(settings, "ShelvedListings")
        find()
        assert [pair[:2] for pair in reported()] == [("bowl", "unique"), ("mug", "cup")]

    def test_a_variant_is_kept_from_its_parent(self, settings: Settings) -> None:
        mug = Product.objects.get(title="mug")
        Product.objects.filter(title="bowl").update(parent=mug)
        use(settings, "VariedListings")
        find()
        # Three of a family, and each of them with the one outside.
        assert [pair[:2] for pair in reported()] == [
            ("bowl", "unique"),
            ("cup", "unique"),
            ("mug", "unique"),
        ]

    def test_a_family_may_have_no_parent_among_the_items(self, settings: Settings) -> None:
        use(settings, "GroupedListings")
        find()
        assert [pair[:2] for pair in reported()] == [
            ("cup", "bowl"),
            ("cup", "unique"),
            ("mug", "bowl"),
            ("mug", "unique"),
        ]

    def test_the_shop_says_no(self, settings: Settings) -> None:
        use(settings, "PickyListings")
        find()
        assert [pair[:2] for pair in reported()] == [
            ("cup", "bowl"),
            ("mug", "bowl"),
            ("mug", "cup"),
        ]

    def test_only_some_listings_are_compared(self, settings: Settings) -> None:
        use(settings, "PublicListings")
        find()
        assert len(reported()) == 3
        assert DuplicateCheck.objects.count() == 3
        Product.objects.filter(title="bowl").update(is_public=False)
        find()
        assert [pair[:2] for pair in reported()] == [("mug", "cup")]
        Product.objects.filter(title="bowl").update(is_public=True)
        assert find().found == 2
        assert len(reported()) == 3

    def test_only_one_of_each_shelf_is_compared(self, settings: Settings) -> None:
        newest = Product.objects.order_by("shelf", "-pk").distinct("shelf")
        assert find(within=newest).compared == 2
        keys = {str(item.pk) for item in Product.objects.filter(title__in=["cup", "unique"])}
        assert {check.item_pk for check in DuplicateCheck.objects.all()} == keys
        DuplicateCheck.objects.all().delete()
        use(settings, "NewestListings")
        find()
        assert {check.item_pk for check in DuplicateCheck.objects.all()} == keys

    def test_within_compares_some_with_all(self) -> None:
        done = find(within=Product.objects.filter(title="bowl"))
        assert (done.total, done.compared, done.found) == (1, 1, 0)
        done = find(within=Product.objects.filter(title__in=["bowl", "mug"]))
        assert (done.total, done.compared, done.found) == (1, 1, 1)
        done = find(within=Product.objects.filter(title="bowl"), full=True)
        assert (done.total, done.compared, done.found, done.gone) == (1, 1, 0, 0)

    def test_within_must_be_of_items(self) -> None:
        with pytest.raises(TypeError) as caught:
            find(within=ProductImage.objects.all())
        assert str(caught.value) == (
            "within must be a queryset of catalogue.Product, got catalogue.ProductImage."
        )

    def test_nothing_is_within_nothing(self) -> None:
        assert find(within=Product.objects.none()).compared == 0


class TestVerdicts:
    @pytest.fixture(autouse=True)
    def doubles(self) -> None:
        list_item("mug", file_of(photo(1)))
        list_item("cup", file_of(photo(1)))
        find()

    def judge(self, state: str) -> DuplicatePair:
        pair = DuplicatePair.objects.get()
        pair.state, pair.judged, pair.note = state, matched(pair.evidence), "seen"
        pair.save()
        with transaction.atomic():
            grouping.refresh([pair.group_id], using="default")  # type: ignore[list-item]
        return DuplicatePair.objects.get()

    def test_dismissed_stays_dismissed_after_a_full_run(self) -> None:
        before = self.judge("dismissed")
        find(full=True)
        after = DuplicatePair.objects.get()
        assert (after.state, after.version, after.evidence) == (
            "dismissed",
            before.version,
            before.evidence,
        )

    def test_dismissed_comes_back_when_a_picture_changed(self) -> None:
        before = self.judge("dismissed")
        replace_picture(Product.objects.get(title="cup"), recompressed(1))
        assert find().found == 1
        after = DuplicatePair.objects.get()
        assert (after.state, after.kind, after.note) == ("open", "same_photo", "seen")
        assert after.version == before.version + 1
        assert DuplicateGroup.objects.get().state == "open"

    def test_dismissed_comes_back_when_a_picture_came(self) -> None:
        self.judge("dismissed")
        for title in ("mug", "cup"):
            add_picture(Product.objects.get(title=title), file_of(photo(7)), 1)
        find()
        assert DuplicatePair.objects.get().state == "open"

    def test_dismissed_stays_when_a_picture_came_that_matches_nothing(self) -> None:
        self.judge("dismissed")
        add_picture(Product.objects.get(title="mug"), file_of(photo(8)), 1)
        find()
        assert DuplicatePair.objects.get().state == "dismissed"

    @pytest.mark.parametrize("state", ["confirmed", "dismissed", "merged"])
    def test_a_verdict_outlives_its_evidence(self, state: str) -> None:
        before = self.judge(state)
        replace_picture(Product.objects.get(title="cup"), file_of(photo(5)))
        find()
        after = DuplicatePair.objects.get()
        assert (after.state, after.evidence) == (state, before.evidence)

    @pytest.mark.parametrize("state", ["confirmed", "merged"])
    def test_a_verdict_outlives_a_full_run(self, state: str) -> None:
        before = self.judge(state)
        find(full=True)
        after = DuplicatePair.objects.get()
        assert (after.state, after.version) == (state, before.version)

    def test_with_many_pictures_dismissed_stays_too(self) -> None:
        files = [file_of(photo(seed)) for seed in range(20, 31)]
        list_item("set", *files)
        list_item("kit", *files)
        find()
        pair = DuplicatePair.objects.exclude(evidence__others=None).get()
        pair.state, pair.judged = "dismissed", matched(pair.evidence)
        pair.save()
        find(full=True)
        pair.refresh_from_db()
        assert pair.state == "dismissed"

    def test_dismissed_stays_when_what_lay_between_two_pictures_is_gone(
        self, settings: Settings
    ) -> None:
        """Four pictures nearest to each are looked at: those of other listings come and go."""
        use(settings, "TitledListings", MIN_PROBABILITY=0.2)
        places = {"jug": (0,), "jug ": (20, -25), "cloth": (2, -2, 4), "rug": (-24, -26, -27, -23)}
        listed = {}
        for title, angles in places.items():
            files = [file_of(photo(100 + angle)) for angle in angles]
            listed[title] = list_item(title, *files)
        encode_all()
        for title, angles in places.items():
            for image, angle in zip(listed[title].images.all(), angles, strict=True):
                turn(image, angle)
        find()
        pair = DuplicatePair.objects.get(first_pk=listed["jug"].pk, second_pk=listed["jug "].pk)
        assert len(matched(pair.evidence)) == 1
        verdicts.dismiss(pair.group_id, version=1, reviewer="anna")  # type: ignore[arg-type]

        listed["rug"].delete()
        find(full=True)
        pair.refresh_from_db()
        assert pair.state == "dismissed"

        add_picture(listed["jug"], file_of(photo(300)), 1)
        encode_all()
        turn(listed["jug"].images.last(), 21)
        find()
        pair.refresh_from_db()
        assert pair.state == "open"


def turn(image: ProductImage | None, angle: float) -> None:
    """Gives a picture the vector at an angle, in degrees, to the first."""
    vector = [math.cos(math.radians(angle)), math.sin(math.radians(angle)), *[0.0] * 14]
    ProductImageEmbedding.objects.filter(source=image).update(vector=vector)


class TestVariants:
    """A small and a large bowl have photos that are hardly to be told apart."""

    @pytest.fixture(autouse=True)
    def titled(self, settings: Settings) -> None:
        use(settings, "BrandedListings")

    def small(self) -> Product:
        return list_item("bowl small", recompressed(1, 90), shelf=1)

    def large(self) -> Product:
        return list_item("bowl large", recompressed(1, 40), shelf=1)

    def double(self) -> Product:
        """It has the very file of the small one, so that this is likelier."""
        return list_item("wooden dish", recompressed(1, 90), shelf=2)

    @pytest.mark.parametrize("order", list(permutations(["small", "large", "double"])))
    def test_a_double_is_one_of_them_whatever_came_first(self, order: tuple[str, ...]) -> None:
        for name in order:
            getattr(self, name)()
            find()
        assert reported_titles() == [{"bowl small", "wooden dish"}]
        find(full=True)
        assert reported_titles() == [{"bowl small", "wooden dish"}]

    def test_the_other_comes_back_when_the_likelier_goes(self) -> None:
        small, _large, _double = self.small(), self.large(), self.double()
        find()
        small.delete()
        find()
        assert reported_titles() == [{"bowl large", "wooden dish"}]

    def test_what_a_person_confirmed_is_certain(self) -> None:
        self.large(), self.double()
        find()
        DuplicatePair.objects.update(state="confirmed")
        self.small()
        find()
        assert reported_titles() == [{"bowl large", "wooden dish"}]

    def test_a_person_chooses_between_two_that_are_as_likely(self) -> None:
        for size in ("small", "large"):
            list_item(f"bowl {size}", recompressed(1, 90), shelf=1)
        list_item("wooden dish", recompressed(1, 90), shelf=2)
        find()
        assert len(reported_titles()) == 2


def reported_titles() -> list[set[str]]:
    titles = {str(pk): title for pk, title in Product.objects.values_list("pk", "title")}
    return [{titles[pair.first_pk], titles[pair.second_pk]} for pair in DuplicatePair.objects.all()]


class TestThresholds:
    def test_less_probable_pairs_are_not_stored(self) -> None:
        list_item("mug", file_of(photo(1)))
        list_item("cup", recompressed(1))
        find(min_probability=1.0)
        assert reported() == []
        find(full=True)
        assert len(reported()) == 1
        assert find(full=True, min_probability=1.0).gone == 1

    @pytest.mark.parametrize("value", [-0.1, 1.1])
    def test_a_probability_is_from_0_to_1(self, value: float) -> None:
        with pytest.raises(ValueError, match="min_probability must be from 0 to 1, got"):
            find(min_probability=value)


class TestFiles:
    def test_what_cannot_be_read_is_counted_and_tried_again(self) -> None:
        mug = list_item("mug", file_of(photo(1)))
        list_item("cup", file_of(photo(2)))
        encode_all()
        path = Path(mug.images.get().original.path)
        data = path.read_bytes()
        for state in (None, b"no picture"):
            path.unlink() if state is None else path.write_bytes(state)
            done = find()
            expected = Trouble.MISSING if state is None else Trouble.CHANGED
            assert done.troubles == {expected: 1}
        path.write_bytes(data)
        done = find()
        assert (done.compared, done.troubles) == (1, {})

    def test_a_hostile_file_is_refused(self) -> None:
        """As where the limits were lowered after it was encoded."""
        mug = list_item("mug", file_of(photo(1)))
        list_item("cup", file_of(photo(1)))
        encode_all()
        data = b"<svg onload='alert(1)'/>"
        Path(mug.images.get().original.path).write_bytes(data)
        ProductImageEmbedding.objects.filter(source__product=mug).update(digest=images.digest(data))
        assert find().troubles == {Trouble.REFUSED: 1}

    def test_a_lost_file_whose_size_is_not_known_is_missing(self) -> None:
        mug = list_item("mug", file_of(photo(1)))
        list_item("cup", file_of(photo(2)))
        encode_all()
        Path(mug.images.get().original.path).unlink()
        with unmeasured():
            done = find()
        assert done.troubles == {Trouble.MISSING: 1}

    def test_storages_raise_what_they_like(self, monkeypatch: pytest.MonkeyPatch) -> None:
        list_item("mug", file_of(photo(1)))
        encode_all()

        def fail(self: object, name: str, mode: str = "rb") -> None:
            raise RuntimeError("The bucket is on fire.")

        monkeypatch.setattr("django.core.files.storage.FileSystemStorage._open", fail)
        assert find().troubles == {Trouble.UNREADABLE: 1}

    def test_a_storage_that_hangs_is_left_behind(
        self, monkeypatch: pytest.MonkeyPatch, settings: Settings
    ) -> None:
        list_item("mug", file_of(photo(1)))
        encode_all()
        released = threading.Event()
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "READ_SECONDS": 0.2}
        monkeypatch.setattr(
            "django.core.files.storage.FileSystemStorage._open",
            lambda *_name, **_mode: released.wait(60),
        )
        try:
            assert find().troubles == {Trouble.UNREADABLE: 1}
        finally:
            released.set()

    def test_a_file_that_many_carry_is_read_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read = []
        monkeypatch.setattr(
            "cardigan_reco.duplicates.descriptors.copies.describe",
            lambda image: read.append(image.size) or copies.Descriptor(1, 2, b""),
        )
        for number in range(5):
            list_item(f"item {number}", file_of(photo(1)))
        find()
        assert len(read) == 1


class TestConfiguration:
    def test_nothing_is_compared_unless_the_shop_wants_it(self, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": None}
        with pytest.raises(LookupError) as caught:
            find()
        assert "CARDIGAN_RECO['DUPLICATES'] is not set" in str(caught.value)

    def test_without_the_extra_it_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        list_item("mug", file_of(photo(1)))
        monkeypatch.setitem(sys.modules, "cv2", None)
        for name in [name for name in sys.modules if name.startswith("cardigan_reco.copies.")]:
            monkeypatch.delitem(sys.modules, name)
        with pytest.raises(MissingExtra, match=r"cardigan-reco\[duplicates\]"):
            find()

    def test_an_unknown_collection(self, settings: Settings) -> None:
        use(settings, "PlainListings", COLLECTION="others")
        with pytest.raises(LookupError, match="Collection 'others' is not defined"):
            find()

    def test_keys_may_be_of_any_type(self, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {
            **settings.CARDIGAN_RECO,
            "DUPLICATES": {"COLLECTION": "posters"},
        }
        posters = [
            Poster.objects.create(
                title=f"poster {number}",
                image=ContentFile(recompressed(seed, 90 - number), name=f"{number}.jpg"),
            )
            for number, seed in enumerate([1, 2, 1])
        ]
        find()
        pair = DuplicatePair.objects.get()
        first, second = sorted([posters[0].pk, posters[2].pk])
        assert (pair.first_pk, pair.second_pk) == (str(first), str(second))
        assert {pair.evidence["pictures"][0][side] for side in ("first", "second")} == {
            str(first),
            str(second),
        }


class TestAfterEncoding:
    def test_a_new_picture_is_compared_at_once(self) -> None:
        list_item("mug", file_of(photo(1)))
        list_item("cup", recompressed(1))
        encode_pending()
        assert reported() == [("mug", "cup", "same_photo", "open")]
        assert DuplicateCheck.objects.count() == 2

    def test_the_command_does_it_too(self) -> None:
        list_item("mug", file_of(photo(1)))
        list_item("cup", recompressed(1))
        call_command("encode_images", stdout=io.StringIO(), stderr=io.StringIO())
        assert len(reported()) == 1

    def test_not_if_the_shop_says_so(self, settings: Settings) -> None:
        use(settings, "PlainListings", CHECK_ON_ENCODE=False)
        list_item("mug", file_of(photo(1)))
        encode_pending()
        assert not DuplicateCheck.objects.exists()

    def test_a_failure_loses_no_encoding(
        self, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        use(settings, "BrokenListings")
        list_item("mug", file_of(photo(1)))
        list_item("cup", file_of(photo(1)))
        assert encode_pending() == 2
        assert ProductImageEmbedding.objects.count() == 2
        assert not DuplicateCheck.objects.exists()
        assert "2 pictures of testapp.ProductImageEmbedding were encoded, but not" in caplog.text
        use(settings, "PlainListings")
        assert find().found == 1

    def test_nor_does_one_in_the_command(self, settings: Settings) -> None:
        use(settings, "BrokenListings")
        list_item("mug", file_of(photo(1)))
        list_item("cup", file_of(photo(1)))
        output, errors = io.StringIO(), io.StringIO()
        call_command("encode_images", stdout=output, stderr=errors)
        assert "2 encoded" in output.getvalue()
        assert "not compared for duplicates: The shop's hook fails. find_dup" in errors.getvalue()
        assert ProductImageEmbedding.objects.count() == 2

    def test_another_collection_is_left_alone(self, settings: Settings) -> None:
        use(settings, "PlainListings", COLLECTION="posters")
        list_item("mug", file_of(photo(1)))
        encode_pending()
        assert not DuplicateCheck.objects.exists()

    def test_check_leaves_what_was_compared(self) -> None:
        mug = list_item("mug", file_of(photo(1)))
        list_item("cup", file_of(photo(1)))
        assert find().found == 1
        DuplicatePair.objects.all().delete()
        stored = duplicates.check([mug.images.get().pk], using="default")
        assert (stored.found, stored.gone) == (0, 0)
