"""Merging: the shop's hook runs in one transaction, once, on what the person saw."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from django.db import IntegrityError, connections, transaction
from django.db.models import Model, QuerySet
from pytest_django import Settings

from cardigan_reco.duplicates import merging, verdicts
from cardigan_reco.duplicates.listings import Listings
from cardigan_reco.exceptions import Conflict
from cardigan_reco.models import DuplicateGroup, DuplicatePair, DuplicateState
from tests.duplicates.rows import group_of, pair
from tests.processes import Process, wait_until
from tests.testapp.catalogue.models import Product, ProductImage

pytestmark = pytest.mark.django_db

State = DuplicateState


class MergingListings(Listings):
    """The pictures move, and the others are no longer public."""

    def merge_listings(self, survivor: Model, duplicates: Sequence[Model]) -> None:
        ProductImage.objects.filter(product__in=duplicates).update(product=survivor)
        for duplicate in duplicates:
            assert isinstance(duplicate, Product)
            duplicate.is_public = False
            duplicate.save()


class PublicListings(MergingListings):
    def queryset(self) -> QuerySet[Product]:
        return Product.objects.filter(is_public=True).order_by("title")


class DeletingListings(MergingListings):
    """Forgets what refers to the others, which PostgreSQL sees at the commit."""

    def merge_listings(self, survivor: Model, duplicates: Sequence[Model]) -> None:
        Product.objects.filter(pk__in=[one.pk for one in duplicates])._raw_delete("default")  # type: ignore[attr-defined]


class FailingListings(MergingListings):
    def merge_listings(self, survivor: Model, duplicates: Sequence[Model]) -> None:
        super().merge_listings(survivor, duplicates)
        raise RuntimeError("The shop can't.")


class HangingListings(MergingListings):
    """Is killed when half of the work is done."""

    def merge_listings(self, survivor: Model, duplicates: Sequence[Model]) -> None:
        super().merge_listings(survivor, duplicates)
        print("half", flush=True)
        time.sleep(600)


def use(settings: Settings, listings: type[Listings]) -> None:
    path = f"{__name__}.{listings.__qualname__}"
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": {"LISTINGS": path}}


@pytest.fixture(autouse=True)
def merges(settings: Settings) -> None:
    use(settings, MergingListings)


def doubles(count: int = 2) -> tuple[DuplicateGroup, list[Product], list[DuplicatePair]]:
    """Returns listings of one thing, each with a picture, and their group."""
    products = [Product.objects.create(title=f"mug {number}") for number in range(count)]
    for product in products:
        ProductImage.objects.create(product=product, original=f"{product.pk}.jpg")
    pairs = [
        pair(first, second)
        for place, first in enumerate(products)
        for second in products[place + 1 :]
    ]
    return group_of(*pairs), products, pairs


def public() -> list[str]:
    return list(
        Product.objects.filter(is_public=True).order_by("pk").values_list("title", flat=True)
    )


def test_the_others_are_merged_into_the_survivor() -> None:
    group, products, pairs = doubles(3)
    kept = str(products[1].pk)
    survivor = merging.merge(
        group.pk, survivor_pk=kept, version=group.version, reviewer="anna", note="One mug."
    )

    assert survivor == products[1]
    assert public() == ["mug 1"]
    assert products[1].images.count() == 3
    now = DuplicateGroup.objects.get(pk=group.pk)
    assert (now.state, now.survivor_pk, now.listings) == (State.MERGED, kept, 3)
    assert now.version > group.version
    for one in pairs:
        one.refresh_from_db()
        assert (one.state, one.reviewer, one.note) == (State.MERGED, "anna", "One mug.")
        assert one.reviewed_at is not None


def test_the_signal_is_sent_after_the_commit(
    django_capture_on_commit_callbacks: object,
) -> None:
    group, products, _pairs = doubles()
    heard = []

    def hear(sender: type[Model], **said: object) -> None:
        heard.append((sender, said["survivor"], said["duplicate_pks"]))

    merging.merged.connect(hear)
    try:
        with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
            merging.merge(
                group.pk, survivor_pk=str(products[0].pk), version=group.version, reviewer="anna"
            )
            assert heard == []
    finally:
        merging.merged.disconnect(hear)
    assert heard == [(Product, products[0], [str(products[1].pk)])]


def test_what_was_open_with_a_third_listing_is_dropped() -> None:
    group, products, _pairs = doubles()
    third = Product.objects.create(title="third")
    other = pair(products[1], third, probability=0.6)
    apart = group_of(other)
    assert apart != group
    version = DuplicateGroup.objects.get(pk=group.pk).version
    merging.merge(group.pk, survivor_pk=str(products[0].pk), version=version, reviewer="anna")

    assert not DuplicatePair.objects.filter(pk=other.pk).exists()
    assert not DuplicateGroup.objects.filter(pk=apart.pk).exists()


def test_what_was_merged_before_is_left_alone() -> None:
    group, products, pairs = doubles(3)
    one, two, three = products
    merging.merge(group.pk, survivor_pk=str(one.pk), version=group.version, reviewer="anna")
    two.delete()  # As a shop may do.
    fourth = Product.objects.create(title="mug 3")
    with_four = [pair(product, fourth) for product in (one, three)]
    assert group_of(*with_four) == group
    version = DuplicateGroup.objects.get(pk=group.pk).version
    merging.merge(group.pk, survivor_pk=str(fourth.pk), version=version, reviewer="bert")

    assert public() == ["mug 3"]
    reviewers = {one.pk: one.reviewer for one in DuplicatePair.objects.all()}
    assert [reviewers[one.pk] for one in (*pairs, *with_four)] == ["anna"] * 3 + ["bert"] * 2
    assert {one.state for one in DuplicatePair.objects.all()} == {State.MERGED}


def test_what_was_merged_away_can_not_stay(settings: Settings) -> None:
    """Two people found doubles of one listing, in groups of their own."""
    use(settings, PublicListings)
    group, (mug, cup), _pairs = doubles()
    third = Product.objects.create(title="mug 2")
    apart = group_of(pair(cup, third, state=State.CONFIRMED))
    version = DuplicateGroup.objects.get(pk=group.pk).version
    merging.merge(group.pk, survivor_pk=str(mug.pk), version=version, reviewer="anna")

    version = DuplicateGroup.objects.get(pk=apart.pk).version
    with pytest.raises(Conflict, match=f"Listing {cup.pk} can’t stay: it isn’t among those"):
        merging.merge(apart.pk, survivor_pk=str(cup.pk), version=version, reviewer="bert")
    assert public() == ["mug 0", "mug 2"]
    merging.merge(apart.pk, survivor_pk=str(third.pk), version=version, reviewer="bert")


def test_what_the_commit_would_refuse_is_told_at_once(settings: Settings) -> None:
    use(settings, DeletingListings)
    group, products, _pairs = doubles()
    with pytest.raises(IntegrityError), transaction.atomic():
        merging.merge(
            group.pk, survivor_pk=str(products[0].pk), version=group.version, reviewer="anna"
        )
    assert public() == ["mug 0", "mug 1"]


def test_a_hook_that_fails_leaves_nothing_behind(settings: Settings) -> None:
    use(settings, FailingListings)
    group, products, pairs = doubles()
    with pytest.raises(RuntimeError, match="The shop can't"), transaction.atomic():
        merging.merge(
            group.pk, survivor_pk=str(products[0].pk), version=group.version, reviewer="anna"
        )

    assert public() == ["mug 0", "mug 1"]
    assert [product.images.count() for product in products] == [1, 1]
    pairs[0].refresh_from_db()
    assert pairs[0].state == State.OPEN


def test_without_a_hook_nothing_is_merged(settings: Settings) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": {}}
    group, products, _pairs = doubles()
    with pytest.raises(NotImplementedError, match=r"Listings has no merge_listings\(\)"):
        merging.merge(
            group.pk, survivor_pk=str(products[0].pk), version=group.version, reviewer="anna"
        )


def test_what_has_changed_since_is_not_merged() -> None:
    group, products, _pairs = doubles()
    verdicts.confirm(group.pk, version=group.version, reviewer="bert")
    with pytest.raises(Conflict, match=r"has changed since you saw it.*judged by bert"):
        merging.merge(
            group.pk, survivor_pk=str(products[0].pk), version=group.version, reviewer="anna"
        )


def test_what_was_dismissed_is_not_merged() -> None:
    group, products, _pairs = doubles()
    (pk,) = verdicts.dismiss(group.pk, version=group.version, reviewer="bert").groups
    version = DuplicateGroup.objects.get(pk=pk).version
    with pytest.raises(Conflict, match="can’t be merged: it is dismissed"):
        merging.merge(pk, survivor_pk=str(products[0].pk), version=version, reviewer="anna")


def test_a_listing_that_is_gone_is_named() -> None:
    group, products, _pairs = doubles()
    gone = products[1].pk
    products[1].delete()
    with pytest.raises(Conflict, match=f"Listing {gone} isn’t there any more"):
        merging.merge(
            group.pk, survivor_pk=str(products[0].pk), version=group.version, reviewer="anna"
        )


def test_the_survivor_is_one_of_the_group() -> None:
    group, products, _pairs = doubles()
    choices = f"Choices are: {products[0].pk}, {products[1].pk}"
    with pytest.raises(ValueError, match=f"'77' is not in group {group.pk}. {choices}"):
        merging.merge(group.pk, survivor_pk="77", version=group.version, reviewer="anna")


@pytest.mark.django_db(transaction=True)
def test_of_two_people_one_wins() -> None:
    group, products, _pairs = doubles()
    results: dict[str, object] = {}
    ready = threading.Barrier(2)

    def merge(reviewer: str, survivor: Product) -> None:
        ready.wait(30)
        try:
            results[reviewer] = merging.merge(
                group.pk, survivor_pk=str(survivor.pk), version=group.version, reviewer=reviewer
            )
        except Conflict as conflict:
            results[reviewer] = conflict
        finally:
            connections.close_all()

    people = [
        threading.Thread(target=merge, args=arguments)
        for arguments in zip(("anna", "bert"), products, strict=True)
    ]
    for person in people:
        person.start()
    for person in people:
        person.join(30)

    (winner,) = [name for name, result in results.items() if isinstance(result, Product)]
    (told,) = [str(result) for result in results.values() if isinstance(result, Conflict)]
    assert f"It was last judged by {winner}" in told
    survivor = results[winner]
    assert public() == [str(survivor)]
    assert DuplicatePair.objects.get().reviewer == winner


MERGE = """
import sys
import django
django.setup()
from cardigan_reco.duplicates import merging
group, survivor, version = sys.argv[1:]
merging.merge(int(group), survivor_pk=survivor, version=int(version), reviewer="anna")
print("done", flush=True)
"""


@pytest.mark.django_db(transaction=True)
def test_a_kill_within_a_merge_leaves_nothing(settings: Settings, tmp_path: Path) -> None:
    group, products, pairs = doubles()
    arguments = [str(group.pk), str(products[0].pk), str(group.version)]
    path = f"{__name__}.{HangingListings.__qualname__}"
    hanging = Process(
        *["-c", MERGE, *arguments],
        log=tmp_path / "killed.log",
        CARDIGAN_RECO={**settings.CARDIGAN_RECO, "DUPLICATES": {"LISTINGS": path}},
    )
    wait_until(lambda: "half" in hanging.output(), "the hook is at work", hanging)
    hanging.kill()

    assert public() == ["mug 0", "mug 1"]
    assert [product.images.count() for product in products] == [1, 1]
    # PostgreSQL notices, and what it held is free: the next one is done.
    merging.merge(group.pk, survivor_pk=str(products[0].pk), version=group.version, reviewer="bert")
    assert public() == ["mug 0"]
    pairs[0].refresh_from_db()
    assert (pairs[0].state, pairs[0].reviewer) == (State.MERGED, "bert")
