"""Verdicts as labels: what is written, and that train_encoder reads it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from cardigan_reco.duplicates import labels, listings
from cardigan_reco.duplicates.labels import Label, Triplet
from cardigan_reco.duplicates.listings import collection_of
from cardigan_reco.models import DuplicatePair, EncoderVersion
from cardigan_reco.training import tables
from tests.duplicates.shop import file_of, list_item, photo, recompressed
from tests.testapp.catalogue.models import Product
from tests.testapp.models import ProductImageEmbedding

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("silent_doorbell"),
]


@pytest.fixture(autouse=True)
def duplicates_are_looked_for(settings: Settings) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": {}}


def item(title: str, data: bytes | None = None) -> Product:
    """Saves a listing with an encoded picture, whose digest is its title."""
    product = list_item(title, data or file_of(photo(1)))
    version, _ = EncoderVersion.objects.get_or_create(
        encoder="default", fingerprint="f", defaults={"backend": "b", "dimensions": 16}
    )
    ProductImageEmbedding.objects.create(
        source=product.images.get(),
        vector=[1.0, *[0.0] * 15],
        digest=title,
        encoder_version=version,
    )
    return product


def name(product: Product) -> str:
    return str(product.images.get().original.name)


def judge(first: Product, second: Product, state: str, **fields: object) -> DuplicatePair:
    picture = {
        "first": str(first.images.get().pk),
        "second": str(second.images.get().pk),
        "first_digest": first.title,
        "second_digest": second.title,
    }
    values: dict[str, object] = {
        "kind": "same_photo",
        "probability": 0.75,
        "judged": [f"{first.title}:{second.title}"],
        "evidence": {"pictures": [picture], "facts": []},
        **fields,
    }
    return DuplicatePair.objects.create(
        collection=collection_of(ProductImageEmbedding),
        first_pk=str(first.pk),
        second_pk=str(second.pk),
        state=state,
        **values,
    )


def judged() -> list[Label]:
    shop = listings.current()
    assert shop is not None
    return list(labels.judged(shop, using="default"))


class TestJudged:
    def test_each_verdict_is_a_label(self) -> None:
        mug, cup, bowl, vase = (item(title) for title in ("mug", "cup", "bowl", "vase"))
        judge(mug, cup, "confirmed")
        judge(mug, bowl, "dismissed")
        judge(cup, bowl, "merged")
        judge(cup, vase, "open")
        assert [(label.pictures, label.same) for label in judged()] == [
            ((name(mug), name(cup)), True),
            ((name(mug), name(bowl)), False),
            ((name(cup), name(bowl)), True),
        ]

    def test_a_picture_that_changed_since_has_no_label(self) -> None:
        mug, cup = item("mug"), item("cup")
        judge(mug, cup, "confirmed")
        ProductImageEmbedding.objects.filter(source__product=cup).update(digest="another")
        assert judged() == []

    def test_a_picture_that_is_gone_has_no_label(self) -> None:
        mug, cup = item("mug"), item("cup")
        judge(mug, cup, "confirmed")
        cup.images.get().delete()
        assert judged() == []

    def test_what_was_not_seen_by_who_judged_has_no_label(self) -> None:
        mug, cup = item("mug"), item("cup")
        judge(mug, cup, "confirmed", judged=[])
        assert judged() == []


def label(first: str, second: str, *, same: bool) -> Label:
    return Label((f"{first}.jpg", f"{second}.jpg"), (first, second), same, "exact", 0.9)


class TestTriplets:
    def test_what_was_dismissed_for_either_is_the_negative(self) -> None:
        made = labels.triplets(
            [label("a", "b", same=True), label("a", "c", same=False), label("b", "d", same=False)]
        )
        assert made == [
            Triplet("a.jpg", "b.jpg", "c.jpg"),
            Triplet("a.jpg", "b.jpg", "d.jpg"),
        ]

    def test_what_was_dismissed_for_a_third_of_the_same_thing_counts(self) -> None:
        made = labels.triplets(
            [label("a", "b", same=True), label("b", "c", same=True), label("c", "d", same=False)]
        )
        assert [(one.query, one.negative) for one in made] == [
            ("a.jpg", "d.jpg"),
            ("b.jpg", "d.jpg"),
        ]

    def test_a_contradiction_is_left_out(self) -> None:
        made = labels.triplets(
            [label("a", "b", same=True), label("b", "c", same=True), label("a", "c", same=False)]
        )
        assert made == []

    def test_what_was_dismissed_elsewhere_takes_the_place_of_nothing(self) -> None:
        made = labels.triplets([label("a", "b", same=True), label("c", "d", same=False)])
        assert made in (
            [Triplet("a.jpg", "b.jpg", "c.jpg")],
            [Triplet("a.jpg", "b.jpg", "d.jpg")],
        )

    @pytest.mark.parametrize("same", [True, False])
    def test_one_sort_alone_makes_none(self, same: bool) -> None:
        assert labels.triplets([label("a", "b", same=same)]) == []


def export(file: Path, *options: str) -> list[str]:
    output = io.StringIO()
    call_command("export_duplicate_labels", str(file), *options, stdout=output)
    return output.getvalue().splitlines()


class TestCommand:
    def test_train_encoder_reads_the_triplets(self, tmp_path: Path, media: Path) -> None:
        mug, cup, bowl = item("mug"), item("cup", recompressed(1)), item("bowl", file_of(photo(2)))
        judge(mug, cup, "confirmed")
        judge(mug, bowl, "dismissed")
        file = tmp_path / "labels.csv"
        assert export(file) == [
            f"1 triplets from 1 confirmed and 1 dismissed pairs of pictures, in {file}."
        ]
        assert tables.is_triplets(file)
        found = tables.triplets_from_csv(file, media)
        names = [found.examples[place].name for place in found.rows[0]]
        assert names == [name(mug), name(cup), name(bowl)]
        assert found.examples[found.rows[0][1]].read() == recompressed(1)

    def test_pairs_are_all_verdicts(self, tmp_path: Path) -> None:
        mug, cup, bowl = item("mug"), item("cup"), item("bowl")
        judge(mug, cup, "confirmed")
        judge(mug, bowl, "dismissed")
        file = tmp_path / "labels.csv"
        export(file, "--form=pairs")
        with file.open(newline="") as lines:
            assert list(csv.reader(lines)) == [
                ["first", "second", "same", "kind", "probability"],
                [name(mug), name(cup), "1", "same_photo", "0.7500"],
                [name(mug), name(bowl), "0", "same_photo", "0.7500"],
            ]

    def test_it_says_what_is_missing(self, tmp_path: Path) -> None:
        judge(item("mug"), item("cup"), "confirmed")
        file = tmp_path / "labels.csv"
        assert export(file) == [
            f"0 triplets from 1 confirmed and 0 dismissed pairs of pictures, in {file}.",
            "Triplets need verdicts of both sorts; --form pairs takes any.",
        ]

    def test_a_file_that_cannot_be_written(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match="can't be written"):
            export(tmp_path / "nowhere" / "labels.csv")

    def test_the_setting_is_needed(self, tmp_path: Path, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": None}
        with pytest.raises(CommandError, match="is not set"):
            export(tmp_path / "labels.csv")
