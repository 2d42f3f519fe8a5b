"""Pictures that many listings carry: reported once, and never as pairs."""

from __future__ import annotations

import os
from itertools import combinations

import pytest
from pytest_django import Settings

from cardigan_reco import copies
from cardigan_reco.copies import Comparison, Descriptor, compare
from cardigan_reco.models import (
    CopyDescriptor,
    DuplicateCheck,
    DuplicateGroup,
    DuplicatePair,
    SharedPicture,
)
from tests.duplicates.shop import (
    file_of,
    find,
    list_item,
    photo,
    recompressed,
    reported,
)
from tests.testapp.catalogue.models import Product
from tests.testapp.models import ProductImageEmbedding

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("silent_doorbell"),
]
IS_FULL = bool(os.environ.get("CARDIGAN_FULL"))
MAX = 4


@pytest.fixture(autouse=True)
def capped(settings: Settings) -> None:
    use(settings, "PlainListings", MAX)


def use(settings: Settings, listings: str, max_listings: int) -> None:
    chosen = {
        "LISTINGS": f"tests.duplicates.shop.{listings}",
        "MAX_LISTINGS_PER_PICTURE": max_listings,
    }
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": chosen}


def shared() -> list[int]:
    """Returns how many listings carry each shared picture, and checks that each is known by one."""
    for row in SharedPicture.objects.all():
        example = ProductImageEmbedding.objects.get(pk=row.example_source_pk)
        assert example.digest == row.digest
    return sorted(SharedPicture.objects.values_list("listings", flat=True))


@pytest.mark.parametrize("count", [MAX + 1, 5_000 if IS_FULL else 3 * MAX])
def test_a_placeholder_is_reported_once(count: int) -> None:
    for number in range(count):
        list_item(f"item {number}", file_of(photo(1)))
    list_item("mug", file_of(photo(2)))
    list_item("cup", recompressed(2))
    find()
    assert shared() == [count]
    assert reported() == [("mug", "cup", "same_photo", "open")]
    assert DuplicateCheck.objects.exclude(shared=None).count() == count


def test_as_many_as_allowed_are_pairs() -> None:
    for number in range(MAX):
        list_item(f"item {number}", file_of(photo(1)))
    find()
    assert shared() == []
    assert len(reported()) == len(list(combinations(range(MAX), 2)))
    assert DuplicateGroup.objects.get().listings == MAX


@pytest.mark.parametrize("at_once", [True, False])
def test_a_placeholder_in_files_of_its_own_for_each_listing(at_once: bool) -> None:
    for number in range(2 * MAX):
        list_item(f"item {number}", recompressed(1, 60 + number))
        if not at_once:
            find()
    list_item("mug", file_of(photo(2)))
    list_item("cup", recompressed(2))
    find()
    assert shared() == [2 * MAX]
    assert reported() == [("mug", "cup", "same_photo", "open")]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_crowd_is_seen_though_each_picture_is_compared_with_few(
    at_once: bool, settings: Settings
) -> None:
    use(settings, "PlainListings", 10)
    for number in range(10):
        list_item(f"item {number}", recompressed(1, 80 + number))
        if not at_once:
            find()
    find()
    assert shared() == []
    assert len(reported()) == 45
    for number in range(3):
        list_item(f"more {number}", recompressed(1, 70 + number))
        if not at_once:
            find()
    find()
    assert shared() == [13]
    assert reported() == []


def test_one_listing_too_many_takes_the_pairs_of_the_others_with_it() -> None:
    for number in range(MAX):
        list_item(f"item {number}", file_of(photo(1)))
    find()
    assert len(reported()) == 6
    list_item("one too many", file_of(photo(1)))
    find()
    assert shared() == [MAX + 1]
    assert reported() == []


def test_a_second_picture_still_speaks_for_its_listing() -> None:
    for number in range(MAX + 2):
        own = [file_of(photo(7))] if number < 2 else []
        list_item(f"item {number}", file_of(photo(1)), *own)
    find()
    assert shared() == [MAX + 2]
    assert reported() == [("item 0", "item 1", "exact", "open")]


def test_a_picture_that_ceased_to_be_shared_is_compared_again() -> None:
    for number in range(MAX + 1):
        list_item(f"item {number}", file_of(photo(1)))
    find()
    assert shared() == [MAX + 1]
    Product.objects.get(title="item 0").delete()
    done = find()
    assert (done.total, done.compared, done.found) == (0, MAX, 6)
    assert shared() == []
    assert len(reported()) == 6


def test_the_limit_may_be_raised(settings: Settings) -> None:
    for number in range(MAX + 1):
        list_item(f"item {number}", file_of(photo(1)))
    find()
    use(settings, "PlainListings", MAX + 1)
    assert find().found == 10
    assert shared() == []


def test_counts_are_kept() -> None:
    for number in range(MAX + 1):
        list_item(f"item {number}", file_of(photo(1)))
    find()
    for number in range(3):
        list_item(f"more {number}", recompressed(1, 50 + number))
    find()
    assert shared() == [MAX + 4]


def test_a_full_run_leaves_it(settings: Settings) -> None:
    for number in range(MAX + 3):
        list_item(f"item {number}", recompressed(1, 60 + number))
    find()
    key = SharedPicture.objects.get().pk
    find(full=True)
    assert SharedPicture.objects.get().pk == key
    assert shared() == [MAX + 3]
    assert reported() == []


def test_a_damaged_example_is_described_anew() -> None:
    for number in range(MAX + 3):
        list_item(f"item {number}", recompressed(1, 60 + number))
    find()
    CopyDescriptor.objects.filter(pk=SharedPicture.objects.get().digest).update(data=b"damaged")
    for number in range(2):
        list_item(f"more {number}", recompressed(1, 50 + number))
    find()
    find()
    assert shared() == [MAX + 5]
    assert reported() == []


def test_listings_are_counted_by_tenant(settings: Settings) -> None:
    use(settings, "ShelvedListings", MAX)
    for number in range(3 * MAX):
        list_item(f"item {number}", file_of(photo(1)), shelf=number % 6)
    find()
    assert shared() == []
    assert len(reported()) == 6


@pytest.mark.parametrize("quality", [92, 50], ids=["one file", "files of their own"])
def test_what_one_tenant_shares_speaks_for_the_listings_of_another(
    settings: Settings, quality: int
) -> None:
    use(settings, "ShelvedListings", MAX)
    for number in range(MAX + 1):
        list_item(f"item {number}", file_of(photo(1)), shelf=1)
    find()
    for title in ("mug", "cup"):
        list_item(title, recompressed(1, quality), shelf=2)
    find()
    assert shared() == [MAX + 1]
    assert reported() == [("mug", "cup", "exact", "open")]
    for number in range(MAX):
        list_item(f"more {number}", recompressed(1, quality), shelf=2)
    find()
    assert shared() == [MAX + 1, MAX + 2]
    assert reported() == []


def test_a_shared_picture_without_its_tenant_is_found_anew(settings: Settings) -> None:
    use(settings, "ShelvedListings", MAX)
    for number in range(MAX + 1):
        list_item(f"item {number}", file_of(photo(1)), shelf=1)
    find()
    SharedPicture.objects.update(tenant="")  # as before there was the column
    find()
    assert SharedPicture.objects.get().tenant == "1"
    assert shared() == [MAX + 1]
    assert reported() == []


def test_the_variants_of_a_parent_count_as_one(settings: Settings) -> None:
    use(settings, "VariedListings", MAX)
    mug = list_item("mug", file_of(photo(1)))
    for number in range(2 * MAX):
        list_item(f"mug {number}", file_of(photo(1)), parent=mug)
    list_item("cup", file_of(photo(1)))
    find()
    assert shared() == []
    assert len(reported()) == 2 * MAX + 1


def test_one_more_placeholder_costs_one_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(first: Descriptor, second: Descriptor) -> Comparison:
        calls.append(1)
        return compare(first, second)

    monkeypatch.setattr(copies, "compare", counted)
    for number in range(20):
        list_item(f"item {number}", recompressed(1, 95 - number))
    find()
    calls.clear()
    for number in range(20, 60):
        list_item(f"item {number}", recompressed(1, 95 - number))
    find()
    assert (len(calls), shared()) == (40, [60])
    assert not DuplicatePair.objects.exists()
