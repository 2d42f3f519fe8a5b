"""What a CSV of pictures says of each."""

from __future__ import annotations

from pathlib import Path

from cardigan_reco.training import examples
from cardigan_reco.training.examples import Example


def test_labels_keep_the_order_of_the_columns(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("shape,picture,colour,group,size,age\ndisc,a.png,red,1,,old\n")
    (found,) = examples.from_csv(file, tmp_path)
    assert list(found.labels.items()) == [("shape", "disc"), ("colour", "red"), ("age", "old")]


def test_two_pictures_belong_together_by_the_first_column(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("picture,shape,colour\na.png,disc,red\nb.png,disc,blue\nc.png,bar,red\n")
    disc, other_disc, bar = examples.from_csv(file, tmp_path)
    assert examples.belong(disc, other_disc) is True
    assert examples.belong(disc, bar) is False


def test_a_group_and_an_item_of_one_name_are_two(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("picture,group,item\na.png,12,\nb.png,,12\nc.png,12,7\nd.png,,7\n")
    group, item, both, only_item = (one.design for one in examples.from_csv(file, tmp_path))
    assert group == both == only_item != item


def test_a_group_with_more_than_the_share_is_not_held_out() -> None:
    def some(group: str, count: int) -> list[Example]:
        return [Example(bytes, f"{group}-{place}", group=group) for place in range(count)]

    large = [*some("one", 60), *some("two", 60)]
    assert examples.hold_out(large, share=0.1, seed=0) == large
    found = examples.hold_out([*large, *some("three", 10)], share=0.1, seed=0)
    assert {one.group for one in found if one.split == "val"} == {"three"}
