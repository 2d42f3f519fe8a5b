"""The range, and the rendered catalogue in the repository. Rendering itself needs Blender."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from cardigan_reco import images
from example_shop import folders
from example_shop.studio import catalogue, problems, street
from example_shop.studio.__main__ import SEED
from example_shop.studio.designs import Finish
from example_shop.studio.ranges import KINDS

SESSIONS = list(catalogue.sessions(KINDS, SEED))
FOLDER = folders.CATALOGUE


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_range_is_wide_and_its_names_differ() -> None:
    catalogue.check(SESSIONS)

    assert 240 <= len(SESSIONS) <= 360
    assert len(KINDS) >= 14
    assert all(len(kind.families) >= 3 for kind in KINDS)
    assert all(2 <= len(session.views) <= 4 for session in SESSIONS)
    assert {len(session.views) for session in SESSIONS} == {2, 3, 4}


def test_a_seed_repeats_and_another_differs() -> None:
    assert list(catalogue.sessions(KINDS, SEED)) == SESSIONS
    assert list(catalogue.sessions(KINDS, SEED + 1)) != SESSIONS


def test_a_products_pictures_dont_depend_on_the_others() -> None:
    some = list(catalogue.sessions(KINDS[3:5], SEED))

    assert some == [session for session in SESSIONS if session.design.kind in KINDS[3:5]]


def test_white_isnt_photographed_before_white() -> None:
    white = [session for session in SESSIONS if session.design.finish.colour == "white"]

    assert white
    assert all(session.backdrop.kind != "white" for session in white)


def test_a_finish_names_its_colour() -> None:
    with pytest.raises(ValueError, match="'pink' is not a colour of the palette"):
        Finish("matt", "pink")


def test_near_twins_are_of_one_family_and_differ_in_one_thing() -> None:
    pairs = list(problems.near_twins(SESSIONS))

    assert {pair["how"] for pair in pairs} == {"spacing", "colourway", "size"}
    assert len([pair for pair in pairs if pair["how"] == "spacing"]) >= 6
    assert {pair["verdict"] for pair in pairs} == {"different"}


def test_street_photos_show_one_thing_among_others() -> None:
    photos = list(street.plan(SESSIONS, 40, SEED))

    assert len({photo.target.reference for photo in photos}) == 40
    for photo in photos:
        assert 2 <= len(photo.others) <= 4
        assert photo.target not in photo.others


def test_the_catalogues_files_are_those_that_it_lists() -> None:
    listed = rows("catalogue.csv")

    assert {row["file"] for row in listed} == {file.name for file in FOLDER.glob("*.jpg")}
    assert len({row["name"] for row in listed}) >= len({row["product"] for row in listed}) - 9
    for row in listed:
        assert images.load((FOLDER / row["file"]).read_bytes()).size == (416, 416)


def test_the_catalogue_is_small() -> None:
    files = [file for file in FOLDER.rglob("*") if file.is_file()]

    assert sum(file.stat().st_size for file in files) < 12_000_000
    assert max(file.stat().st_size for file in FOLDER.glob("*.jpg")) <= 20_000


def test_planted_double_listings_are_in_the_catalogue() -> None:
    products = {row["product"] for row in rows("catalogue.csv")}
    doubles = [row for row in rows("problems.csv") if row["verdict"] == "duplicate"]

    assert len(doubles) >= 25
    assert {row["how"] for row in doubles} == set(problems.COPIES)
    assert all({row["product"], row["other"]} <= products for row in rows("problems.csv"))


def test_misleading_pictures_stay_out_of_the_shop() -> None:
    misleading = rows("misleading.csv")

    assert len(misleading) >= 20
    assert min(Counter(row["how"] for row in misleading).values()) >= 4
    assert all((FOLDER / row["file"]).exists() for row in misleading)


def test_street_photos_have_boxes_around_products() -> None:
    products = {row["product"] for row in rows("catalogue.csv")}
    photos = rows("street.csv")

    assert len(photos) >= 40
    for row in photos:
        left, top, right, bottom = (float(row[side]) for side in ("left", "top", "right", "bottom"))
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
        assert (right - left) * (bottom - top) < 0.9
        assert row["product"] in products
        with Image.open(Path(FOLDER / row["file"])) as image:
            assert image.size == (street.WIDTH, street.HEIGHT)
