"""Search by photo, in this process: what is found, within what, and what is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from PIL import Image
from pytest_django import Settings

from cardigan_reco import estimates, images, search
from cardigan_reco.exceptions import (
    ImageError,
    ImageTooLarge,
    TooManyPixels,
    UnsupportedFormat,
)
from cardigan_reco.images import Crop
from cardigan_reco.models import EncoderVersion
from tests.conftest import BLUE, GREEN, ORANGE, RED, AddProduct, Colour, encode_all, jpeg
from tests.testapp.catalogue.models import Product
from tests.testapp.models import ProductImageEmbedding

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(add_product: AddProduct) -> dict[str, Product]:
    products = {
        "mug": add_product("mug", RED),
        "cup": add_product("cup", ORANGE, BLUE),
        "bowl": add_product("bowl", GREEN),
    }
    encode_all()
    return products


def halves(left: Colour, right: Colour) -> bytes:
    """Returns a PNG whose left and right halves have a colour each."""
    picture = Image.new("RGB", (200, 100), left)
    picture.paste(right, (100, 0, 200, 100))
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def test_finds_what_looks_like_the_photo(shop: dict[str, Product]) -> None:
    found = search.by_image(jpeg(RED))
    assert found == [shop["mug"], shop["cup"], shop["bowl"]]
    similarities = [item.similarity for item in found]
    assert similarities == sorted(similarities, reverse=True)
    assert similarities[0] == pytest.approx(1, abs=0.002)


def test_says_which_picture_matched(shop: dict[str, Product]) -> None:
    cup = search.by_image(jpeg(BLUE), limit=1)[0]
    assert cup == shop["cup"]
    assert cup.matched_source == shop["cup"].images.get(display_order=1)


def test_takes_a_file(shop: dict[str, Product]) -> None:
    assert search.by_image(io.BytesIO(jpeg(GREEN)), limit=1) == [shop["bowl"]]


@pytest.mark.parametrize(("crop", "first"), [((0, 0, 0.5, 1), "mug"), ((0.5, 0, 1, 1), "bowl")])
def test_a_crop_says_what_counts(shop: dict[str, Product], crop: Crop, first: str) -> None:
    photo = halves(RED, GREEN)
    assert search.by_image(photo, crop=crop)[0] == shop[first]


def test_a_crop_is_of_the_upright_picture(shop: dict[str, Product]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # The top is on the left of the file's pixels.
    picture = Image.new("RGB", (200, 100), RED)
    picture.paste(GREEN, (100, 0, 200, 100))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=95, exif=exif)
    top = search.by_image(data.getvalue(), crop=(0, 0, 1, 0.5), limit=1)
    assert top == [shop["mug"]]


def test_keeps_within(shop: dict[str, Product]) -> None:
    others = Product.objects.exclude(pk=shop["mug"].pk)
    assert search.by_image(jpeg(RED), within=others) == [shop["cup"], shop["bowl"]]
    assert search.by_image(jpeg(RED), within=Product.objects.none()) == []


def test_pages_follow_each_other(shop: dict[str, Product]) -> None:
    pages = [search.by_image(jpeg(RED), limit=1, offset=offset) for offset in range(4)]
    assert pages == [[shop["mug"]], [shop["cup"]], [shop["bowl"]], []]


def test_leaves_out_what_is_too_far(shop: dict[str, Product]) -> None:
    assert search.by_image(jpeg(RED), min_similarity=0.99) == [shop["mug"]]


def test_only_the_same_encoder_version_is_compared(
    shop: dict[str, Product], settings: Settings
) -> None:
    EncoderVersion.objects.update(fingerprint="0" * 64)
    assert search.by_image(jpeg(RED)) == []


def test_the_number_of_queries_does_not_grow(shop: dict[str, Product]) -> None:
    counts = []
    for limit in (1, 3):
        estimates.forget()
        with CaptureQueriesContext(connection) as queries:
            search.by_image(jpeg(RED), limit=limit)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 10


def test_no_vector_is_read(shop: dict[str, Product]) -> None:
    fetched: set[int] = set()

    def watch(execute: Callable[..., Any], *arguments: Any) -> Any:
        result = execute(*arguments)
        columns = arguments[-1]["cursor"].description or []
        fetched.update(column.type_code for column in columns)
        return result

    with connection.cursor() as cursor:
        cursor.execute("SELECT 'halfvec'::regtype::oid::int")
        (halfvec,) = cursor.fetchone()
    with connection.execute_wrapper(watch):
        assert len(search.by_image(jpeg(RED))) == 3
        assert fetched
        assert halfvec not in fetched
        ProductImageEmbedding.objects.first()
        assert halfvec in fetched  # The watch would have seen it.


@pytest.mark.parametrize(
    ("picture", "error"),
    [
        (b"", ImageError),
        (b"<html>", UnsupportedFormat),
        (jpeg(RED)[:300], ImageError),
        (b"\xff\xd8\xff" + bytes(10 * 1024 * 1024), ImageTooLarge),
    ],
)
def test_what_is_no_picture_is_refused(picture: bytes, error: type[ImageError]) -> None:
    with pytest.raises(error):
        search.by_image(picture)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit must be a whole number from 1 to 100, got 0"),
        ({"limit": 101}, "got 101"),
        ({"offset": -1}, "offset must be a whole number from 0 to 92 with a limit of 8, got -1"),
        ({"offset": 93}, "got 93"),
        ({"min_similarity": float("nan")}, "min_similarity must be from 0 to 1, got nan"),
        ({"crop": (0.5, 0, 0.5, 1)}, r"crop is \(0.5, 0, 0.5, 1\). It must be left, top, right"),
        ({"crop": (0, 0, 1.1, 1)}, "crop is"),
        ({"crop": (float("nan"), 0, 1, 1)}, "crop is"),
        ({"within": Product.objects.all()[:3]}, "within must not be sliced"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search.by_image(jpeg(RED), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("picture", ["photo.jpg", Path("photo.jpg"), Image.new("RGB", (9, 9))])
def test_a_picture_is_an_open_file_or_its_bytes(picture: object) -> None:
    what = f"an open file, or its bytes, got a {type(picture).__name__}."
    with pytest.raises(TypeError, match=what):
        search.by_image(picture)  # type: ignore[arg-type]


def test_a_crop_of_a_few_pixels_is_refused(shop: dict[str, Product]) -> None:
    with pytest.raises(ImageError, match="The chosen part has 6 x 64 pixels"):
        search.by_image(jpeg(RED), crop=(0, 0, 0.1, 1))


def test_a_crop_much_longer_than_wide_is_refused() -> None:
    with pytest.raises(TooManyPixels, match="The chosen part has 320 x 8 pixels"):
        search.by_image(jpeg(RED, side=320), crop=(0, 0, 1, 0.025))


def test_an_unknown_collection_is_named() -> None:
    with pytest.raises(LookupError, match="Collection 'alike' is not defined"):
        search.by_image(jpeg(RED), collection="alike")


def test_a_small_crop_of_a_large_photo_keeps_its_detail() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1600, 1600, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).save(data, "PNG")
    part = images.load(data.getvalue(), min_side=64, crop=(0.25, 0.25, 0.5, 0.5))
    assert part.size == (133, 133)  # Twice 64, not a quarter of that.
