"""Groups: who is in one, how a chain splits, and that what didn't change stays as it is."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from pytest_django import DjangoAssertNumQueries, Settings

from cardigan_reco.duplicates import grouping
from cardigan_reco.duplicates.grouping import Link, partition
from cardigan_reco.duplicates.listings import collection_of
from cardigan_reco.models import DuplicateGroup, DuplicatePair
from tests.testapp.catalogue.models import Product
from tests.testapp.models import ProductImageEmbedding

COLLECTION = collection_of(ProductImageEmbedding)


def links(*pairs: str, state: str = "open", probability: float = 0.9) -> list[Link]:
    """Returns a link for each "ab": listings a and b."""
    return [
        Link(number, pair[0], pair[1], state, "same_photo", probability, None)
        for number, pair in enumerate(pairs)
    ]


def parted(found: list[Link]) -> list[str]:
    """Returns the groups as their pairs, such as "ab ac bc"."""
    return sorted(
        " ".join(sorted(link.first + link.second for link in part)) for part in partition(found)
    )


@pytest.mark.parametrize(
    ("pairs", "groups"),
    [
        ("ab", ["ab"]),
        ("ab cd", ["ab", "cd"]),
        ("ab ac bc", ["ab ac bc"]),
        ("ab bc", ["ab", "bc"]),
        ("ab bc cd", ["ab", "bc", "cd"]),
        ("ab ac bc cd", ["ab ac bc", "cd"]),
        # d is linked to two of three: most.
        ("ab ac bc ad bd", ["ab ac ad bc bd"]),
        # Two cliques with one bridge.
        ("ab ac bc de df ef cd", ["ab ac bc", "cd", "de df ef"]),
    ],
)
def test_a_group_needs_direct_evidence(pairs: str, groups: list[str]) -> None:
    found = links(*pairs.split())
    assert parted(found) == groups
    random.Random(1).shuffle(found)
    assert parted(found) == groups


def test_the_surest_pairs_come_first() -> None:
    found = [*links("ab", probability=0.6), *links("bc", probability=0.99)]
    assert [part[0].second for part in partition(found)] == ["c", "b"]


def test_what_a_person_confirmed_comes_before_what_is_sure() -> None:
    found = [*links("bc", probability=0.99), *links("ab", state="confirmed", probability=0.6)]
    assert [part[0].first for part in partition(found)] == ["a", "b"]


def test_every_pair_is_in_one_group_whatever_the_links() -> None:
    chance = random.Random(3)
    for _ in range(50):
        names = "abcdefghijkl"
        pairs = [a + b for a, b in combinations(names, 2) if chance.random() < 0.25]
        found = links(*pairs)
        parts = partition(found)
        assert sorted(link.id for part in parts for link in part) == [link.id for link in found]
        for part in parts:
            members = {pk for link in part for pk in (link.first, link.second)}
            assert 2 * len(part) > len(members) * (len(members) - 1) / 2


def test_a_hub_with_many_spokes_takes_no_time() -> None:
    hub = [Link(n, "hub", f"{n}", "open", "exact", 0.9, None) for n in range(2000)]
    assert sorted(len(part) for part in partition(hub)) == [1] * 2000


pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def duplicates_are_looked_for(settings: Settings) -> None:
    chosen = {"LISTINGS": "tests.duplicates.shop.PublicListings"}
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": chosen}


def pair(first: int, second: int, probability: float = 0.9, **fields: object) -> DuplicatePair:
    return DuplicatePair.objects.create(
        collection=COLLECTION,
        first_pk=str(first),
        second_pk=str(second),
        kind="same_photo",
        probability=probability,
        **fields,
    )


def regroup(*item_pks: int, **options: object) -> None:
    texts = {str(pk) for pk in item_pks}
    grouping.regroup(COLLECTION, texts, using="default", **options)  # type: ignore[arg-type]


def groups() -> list[tuple[int, str, set[str]]]:
    """Returns id, state and members of each group."""
    return [
        (
            group.pk,
            group.state,
            {pk for one in group.pairs.all() for pk in (one.first_pk, one.second_pk)},
        )
        for group in DuplicateGroup.objects.order_by("pk")
    ]


def test_a_group_describes_its_best_pair() -> None:
    Product.objects.bulk_create(Product(pk=pk, title="mug", shelf=pk + 40) for pk in (9, 10, 11))
    pair(9, 10, 0.7)
    best = pair(9, 11, 0.95)
    best.kind = "exact"
    best.save()
    pair(10, 11, 0.8)
    regroup(10)
    group = DuplicateGroup.objects.get()
    assert (group.kind, group.probability, group.listings) == ("exact", 0.95, 3)
    # 9 is the first by its key, not by its text.
    assert (group.category, group.state, group.version) == ("49", "open", 1)


def test_nothing_changes_where_nothing_did() -> None:
    for first, second in [(1, 2), (2, 3), (1, 3), (3, 4)]:
        pair(first, second)
    regroup(1)
    before = list(DuplicateGroup.objects.order_by("pk").values())
    assert len(before) == 2
    regroup(1, 2, 3, 4)
    assert list(DuplicateGroup.objects.order_by("pk").values()) == before


def test_a_group_keeps_its_row_and_survivor_when_it_grows() -> None:
    pair(1, 2)
    regroup(1)
    DuplicateGroup.objects.update(survivor_pk="2")
    kept = DuplicateGroup.objects.get()
    pair(2, 3)
    pair(1, 3)
    regroup(3)
    group = DuplicateGroup.objects.get()
    assert (group.pk, group.listings, group.survivor_pk) == (kept.pk, 3, "2")
    assert group.version == kept.version + 1


def test_a_survivor_that_left_is_forgotten() -> None:
    pairs = [pair(1, 2), pair(2, 3), pair(1, 3)]
    regroup(1)
    DuplicateGroup.objects.update(survivor_pk="3")
    group = DuplicateGroup.objects.get()
    for one in pairs[1:]:
        one.delete()
    regroup(1, 2, 3, groups={group.pk})
    assert DuplicateGroup.objects.get().survivor_pk == ""


def test_only_what_is_connected_is_looked_at() -> None:
    pair(1, 2)
    pair(7, 8)
    regroup(1)
    assert [members for _, _, members in groups()] == [{"1", "2"}]
    assert DuplicatePair.objects.get(first_pk="7").group is None


def test_a_group_without_pairs_goes() -> None:
    only = pair(1, 2)
    regroup(1)
    group = DuplicateGroup.objects.get()
    only.delete()
    regroup(1, 2, groups={group.pk})
    assert not DuplicateGroup.objects.exists()


def test_dismissed_pairs_have_a_group_of_their_own() -> None:
    pairs = [pair(1, 2), pair(2, 3), pair(1, 3)]
    regroup(1)
    whole = DuplicateGroup.objects.get().pk
    pairs[2].state = "dismissed"
    pairs[2].save()
    grouping.refresh([whole], using="default")
    # Without 1 and 3, 2 is in two groups.
    assert sorted((state, members) for _, state, members in groups()) == [
        ("dismissed", {"1", "3"}),
        ("open", {"1", "2"}),
        ("open", {"2", "3"}),
    ]
    pairs[2].state = "open"
    pairs[2].save()
    grouping.refresh(DuplicateGroup.objects.values_list("pk", flat=True), using="default")
    assert [members for _, _, members in groups()] == [{"1", "2", "3"}]


def test_a_wholly_dismissed_group_keeps_its_row() -> None:
    pair(1, 2)
    regroup(1)
    group = DuplicateGroup.objects.get()
    DuplicatePair.objects.update(state="dismissed")
    grouping.refresh([group.pk], using="default")
    again = DuplicateGroup.objects.get()
    assert (again.pk, again.state) == (group.pk, "dismissed")
    assert again.version == group.version + 1


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (["open", "confirmed", "merged"], "open"),
        (["confirmed", "merged", "merged"], "confirmed"),
        (["merged"] * 3, "merged"),
    ],
)
def test_a_group_is_open_while_a_pair_is(states: list[str], state: str) -> None:
    for (first, second), of in zip(combinations((1, 2, 3), 2), states, strict=True):
        pair(first, second, state=of)
    regroup(1)
    assert DuplicateGroup.objects.get().state == state


def test_refresh_counts_a_change_even_if_the_group_looks_the_same() -> None:
    pairs = [pair(1, 2), pair(2, 3), pair(1, 3)]
    regroup(1)
    pairs[0].state = "confirmed"
    pairs[0].save()
    group = DuplicateGroup.objects.get()
    grouping.refresh([group.pk], using="default")
    again = DuplicateGroup.objects.get()
    assert (again.state, again.version) == ("open", group.version + 1)


@pytest.mark.parametrize("count", [3, 60])
def test_the_statements_are_as_many_for_few_as_for_many(
    count: int, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(count):
        pair(3 * number, 3 * number + 1)
        pair(3 * number + 1, 3 * number + 2)
    with django_assert_max_num_queries(9):
        regroup(*range(3 * count))
    assert DuplicateGroup.objects.count() == 2 * count
