"""What the example shop does when two of its listings are merged."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import transaction
from django.test import Client, override_settings
from PIL import Image

from cardigan_reco import duplicates
from cardigan_reco.duplicates import grouping, merging
from cardigan_reco.models import DuplicateGroup, DuplicatePair
from example_shop import folders, loading
from example_shop.duplicates import ProductListings
from example_shop.loading import Outcome
from example_shop.models import (
    Category,
    Order,
    OrderLine,
    Product,
    ProductImage,
    ProductImageEmbedding,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def media(tmp_path: Path):
    with override_settings(MEDIA_ROOT=tmp_path / "media"):
        yield


def listing(name: str, *files: bytes, **fields: object) -> Product:
    product = Product.objects.create(name=name, slug=name.replace(" ", "-"), **fields)
    for position, data in enumerate(files):
        ProductImage.objects.create(
            product=product, original=ContentFile(data, name="a.jpg"), position=position
        )
    return product


def contents(image: ProductImage) -> bytes:
    with image.original.open("rb") as file:
        return file.read()


def merge(survivor: Product, *others: Product) -> Product:
    """Merges through a group of confirmed pairs, as the report does."""
    keys = [str(product.pk) for product in (survivor, *others)]
    collection = "shop.productimage.original"
    DuplicatePair.objects.bulk_create(
        DuplicatePair(
            collection=collection,
            first_pk=min(one, two, key=int),
            second_pk=max(one, two, key=int),
            kind="exact",
            probability=0.99,
            evidence={"pictures": [], "facts": []},
        )
        for place, one in enumerate(keys)
        for two in keys[place + 1 :]
    )
    with transaction.atomic():
        grouping.regroup(collection, keys, using="default")
    group = DuplicateGroup.objects.order_by("-pk").first()
    assert group is not None
    merging.merge(group.pk, survivor_pk=str(survivor.pk), version=group.version, reviewer="anna")
    survivor.refresh_from_db()
    return survivor


def test_the_survivor_keeps_the_best(client: Client) -> None:
    mugs = Category.objects.create(name="Mugs", slug="mugs")
    first = listing("mug", price=Decimal("12.90"), stock=2, published=False, description="A mug.")
    second = listing(
        "the same mug",
        brand="Loft",
        category=mugs,
        price=Decimal(9),
        stock=5,
        description="A mug of stoneware, 0.3 l.",
    )
    merged = merge(first, second)

    assert (merged.name, merged.price) == ("mug", Decimal("12.90"))
    assert (merged.brand, merged.category) == ("Loft", mugs)
    assert merged.description == "A mug of stoneware, 0.3 l."
    assert (merged.stock, merged.published) == (5, True)
    second.refresh_from_db()
    assert (second.published, second.stock, second.replaced_by) == (False, 0, first)


def test_orders_and_pictures_move(client: Client) -> None:
    first, second = listing("mug", b"one"), listing("cup", b"two", b"three")
    order = Order.objects.create(number="1001", customer="Ada")
    line = OrderLine.objects.create(order=order, product=second, price=9)
    merge(first, second)

    line.refresh_from_db()
    assert line.product == first
    assert [contents(image) for image in first.images.all()] == [b"one", b"two", b"three"]
    assert list(first.images.values_list("position", flat=True)) == [0, 1, 2]
    assert not second.images.exists()


def test_the_page_of_what_was_merged_leads_to_the_survivor(client: Client) -> None:
    first, second, third = listing("mug"), listing("cup"), listing("bowl")
    merge(first, second)
    answer = client.get("/product/cup/")
    assert (answer.status_code, answer["Location"]) == (301, "/product/mug/")

    merge(third, first)
    for name in ("cup", "mug"):  # One step, however often it was merged.
        assert client.get(f"/product/{name}/")["Location"] == "/product/bowl/"
    assert client.get("/product/bowl/").status_code == 200

    third.published = False
    third.save()
    assert client.get("/product/cup/").status_code == 404


def test_what_was_merged_is_not_merged_again(client: Client) -> None:
    first, second, third = listing("mug"), listing("cup"), listing("bowl")
    merge(first, second)
    for survivor, other in ((second, third), (third, second)):
        with pytest.raises(ValidationError, match="cup was merged into mug already"):
            merge(survivor, other)
        DuplicatePair.objects.filter(state="open").delete()
    # Nor compared.
    assert set(ProductListings(ProductImageEmbedding).queryset()) == {first, third}


def test_a_file_that_both_have_is_kept_once(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pictures = sorted(folders.CATALOGUE.glob("*.jpg"))[:3]
    one, two, three = (path.read_bytes() for path in pictures)
    with Image.open(pictures[0]) as image:
        assert image.width > 100
    first, second = listing("mug", one), listing("cup", one, two)
    third = listing("bowl", three)
    call_command("encode_images", verbosity=0)
    pairs = [(pair.first_pk, pair.second_pk) for pair in DuplicatePair.objects.all()]
    assert pairs == [(str(first.pk), str(second.pk))]

    (group,) = DuplicateGroup.objects.all()
    merging.merge(group.pk, survivor_pk=str(first.pk), version=group.version, reviewer="anna")
    assert first.images.count() == 2
    assert second.images.count() == 1
    # What stays behind is of a listing that was merged, and not reported anew.
    *_, progress = duplicates.find(full=True)
    assert progress.found == 0
    assert third.images.count() == 1


def load(folder: Path, *rows: str) -> Outcome:
    """Brings in a catalogue in place of the former one, as the demo does."""
    file = folder / "catalogue.csv"
    file.write_text("\n".join(["file,product,stock", *rows]))
    return loading.load(folder, file, replace=True, quiet=True)


@pytest.fixture
def merged(tmp_path: Path) -> tuple[Product, Product]:
    """A mug and a cup of a catalogue; the cup was merged into the mug."""
    for name, colour in {"mug": "red", "cup": "green"}.items():
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"{name}.jpg")
    load(tmp_path, "mug.jpg,mug,2", "cup.jpg,cup,5")
    mug, cup = Product.objects.order_by("-name")
    return merge(mug, cup), cup


def test_a_reload_leaves_what_was_merged(merged: tuple[Product, Product], tmp_path: Path) -> None:
    before = [list(Product.objects.values()), list(ProductImage.objects.values())]
    outcome = load(tmp_path, "mug.jpg,mug,2", "cup.jpg,cup,5")

    assert {state: count for state, count in outcome.products.items() if count} == {"unchanged": 2}
    assert outcome.pictures == {"new": 0, "changed": 0, "unchanged": 2, "removed": 0}
    assert [list(Product.objects.values()), list(ProductImage.objects.values())] == before
    files = [(tmp_path / f"{name}.jpg").read_bytes() for name in ("mug", "cup")]
    assert [contents(image) for image in merged[0].images.all()] == files


def test_what_was_merged_into_a_listing_that_goes_is_back(
    merged: tuple[Product, Product], tmp_path: Path
) -> None:
    load(tmp_path, "cup.jpg,cup,5")

    cup = Product.objects.get()
    assert (cup, cup.published, cup.stock, cup.replaced_by) == (merged[1], True, 5, None)
    assert contents(cup.images.get()) == (tmp_path / "cup.jpg").read_bytes()
