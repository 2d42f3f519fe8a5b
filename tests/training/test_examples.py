"""What a CSV of pictures says of each."""

from __future__ import annotations

from pathlib import Path

from cardigan_reco.training import examples


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
