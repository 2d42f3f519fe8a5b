"""What a CSV of pictures says of each."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from pytest_django import Settings

from cardigan_reco.exceptions import ImageError, ImageTooLarge
from cardigan_reco.training import examples, tables
from cardigan_reco.training.examples import Example, ExamplesError


def test_labels_keep_the_order_of_the_columns(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("shape,picture,colour,group,size,age\ndisc,a.png,red,1,,old\n")
    (found,) = tables.from_csv(file, tmp_path)
    assert list(found.labels.items()) == [("shape", "disc"), ("colour", "red"), ("age", "old")]


def test_two_pictures_belong_together_by_the_first_column(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("picture,shape,colour\na.png,disc,red\nb.png,disc,blue\nc.png,bar,red\n")
    disc, other_disc, bar = tables.from_csv(file, tmp_path)
    assert examples.belong(disc, other_disc) is True
    assert examples.belong(disc, bar) is False


def test_a_group_and_an_item_of_one_name_are_two(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("picture,group,item\na.png,12,\nb.png,,12\nc.png,12,7\nd.png,,7\n")
    group, item, both, only_item = (one.design for one in tables.from_csv(file, tmp_path))
    assert group == both == only_item != item


def test_a_group_with_more_than_the_share_is_not_held_out() -> None:
    def some(group: str, count: int) -> list[Example]:
        return [Example(bytes, f"{group}-{place}", group=group) for place in range(count)]

    large = [*some("one", 60), *some("two", 60)]
    assert examples.hold_out(large, share=0.1, seed=0) == large
    found = examples.hold_out([*large, *some("three", 10)], share=0.1, seed=0)
    assert {one.group for one in found if one.split == "val"} == {"three"}


@pytest.mark.parametrize("name", ["../private/x.jpg", "a/../../private/x.jpg", "{}/private/x.jpg"])
def test_a_picture_outside_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    for folder in ("pictures", "private"):
        (tmp_path / folder).mkdir()
    (tmp_path / "private" / "x.jpg").touch()
    given, file = name.format(tmp_path), tmp_path / "data.csv"
    told = rf"The picture '{given}' is outside of .*pictures\. .* with --pictures"
    file.write_text(f"picture\n{given}\n")
    with pytest.raises(ExamplesError, match=told):
        tables.from_csv(file, tmp_path / "pictures")
    file.write_text(f"query,positive,negative\n{given},a.png,b.png\n")
    with pytest.raises(ExamplesError, match=told):
        tables.triplets_from_csv(file, tmp_path / "pictures")


def test_links_and_absolute_paths_in_the_folder_are_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.jpg").write_bytes(b"a")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "shoes").symlink_to(tmp_path / "disk")
    (tmp_path / "linked").symlink_to(tmp_path / "disk")
    file = tmp_path / "data.csv"
    for folder, name in [
        ("pictures", "shoes/a.jpg"),
        ("pictures", f"{tmp_path}/pictures/shoes/a.jpg"),
        ("linked", "a.jpg"),
        ("linked", "../linked/a.jpg"),
        ("linked", f"{tmp_path}/disk/a.jpg"),
        ("disk", f"{tmp_path}/linked/a.jpg"),
    ]:
        file.write_text(f"picture\n{name}\n")
        (found,) = tables.from_csv(file, tmp_path / folder)
        assert (found.read(), found.size) == (b"a", 1)


def test_no_more_is_read_than_a_picture_may_have(tmp_path: Path, settings: Settings) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "MAX_IMAGE_BYTES": 1000}
    (tmp_path / "a.jpg").write_bytes(bytes(1001))
    os.mkfifo(tmp_path / "pipe.jpg")
    file = tmp_path / "data.csv"
    file.write_text("picture\na.jpg\npipe.jpg\ngone.jpg\n")
    large, pipe, gone = tables.from_csv(file, tmp_path)
    with pytest.raises(ImageTooLarge):
        large.read()
    with pytest.raises(OSError, match="is no file"):
        pipe.read()
    with pytest.raises(FileNotFoundError):
        gone.read()


def scene(*box: float) -> Example:
    """Returns a box of a photo of 1,200 x 800 pixels, red on the left and blue on the right."""
    picture = Image.new("RGB", (1200, 800), "red")
    picture.paste("blue", (600, 0, 1200, 800))
    file = BytesIO()
    picture.save(file, "JPEG")
    left, top, right, bottom = box
    return Example(file.getvalue, "scene.jpg", box=(left, top, right, bottom))


def test_a_box_is_cut_from_the_photo_with_a_quarter_more() -> None:
    # A tenth of the width is 120 pixels: with a quarter of that more 150, square.
    image = scene(0.2, 0.5, 0.3, 0.6).load(min_side=400)
    assert image.size == (150, 150)
    assert image.getpixel((75, 75)) == pytest.approx((254, 0, 0), abs=3)
    assert scene(0.7, 0.5, 0.8, 0.6).load(min_side=32).getpixel((9, 9))[2] > 250
    assert scene(0, 0, 0.1, 0.1).load(min_side=400).size == (135, 115)


@pytest.mark.parametrize("min_side", [32, 64])
def test_a_box_of_a_large_photo_is_as_sharp_as_the_whole_of_a_small_one(min_side: int) -> None:
    assert min(scene(0.2, 0.5, 0.3, 0.6).load(min_side=min_side).size) >= 2 * min_side


def test_a_box_of_next_to_nothing_is_no_picture() -> None:
    with pytest.raises(ImageError, match=r"The chosen part has \d+ x \d+ pixels"):
        scene(0.5, 0.5, 0.5005, 0.5005).load(min_side=64)
