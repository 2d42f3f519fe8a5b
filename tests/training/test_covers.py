"""Photographs that are covered in part by others, and learned as either."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cardigan_reco.training import covers  # noqa: E402

MAY = np.arange(120) % 3 == 0


def drawn(processes: int = 1, batches: int = 200) -> list[covers.Cover]:
    return [
        cover
        for seed in range(batches)
        for cover in covers.draw(MAY, seed=seed, processes=processes)
    ]


def test_some_of_those_that_may_be_covered_are_by_others_of_them():
    found = drawn()
    assert 0.3 < len(found) / (200 * MAY.sum()) < 0.5
    assert all(MAY[cover.place] and MAY[cover.other] for cover in found)
    assert all(cover.place != cover.other for cover in found)
    assert all(max(cover.top, cover.left) + cover.side <= 1 for cover in found)
    assert covers.draw(MAY, seed=3, processes=1) == covers.draw(MAY, seed=3, processes=1)


def test_a_picture_is_learned_as_the_other_as_often_as_is_its_share_of_the_area():
    for low, high in ((0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1)):
        prevails = [cover.prevails for cover in drawn() if low <= cover.side**2 < high]
        assert len(prevails) > 400
        assert low - 0.05 < np.mean(prevails) < high + 0.05


def test_both_are_pictures_of_one_process():
    found = drawn(processes=2)
    assert len(found) > 2000
    assert all(cover.place % 2 == cover.other % 2 for cover in found)


@pytest.mark.parametrize("count", [0, 1])
def test_what_has_no_other_is_not_covered(count):
    for seed in range(20):
        assert covers.draw(np.arange(9) < count, seed=seed, processes=1) == []


def test_a_square_shows_the_other_picture_and_its_row_may_prevail():
    pictures = torch.arange(4.0)[:, None, None, None].expand(-1, 3, 10, 10)
    rows = np.array([50, 60, 70, 80])
    pair = [
        covers.Cover(0, 2, 0.1, 0.4, 0.3, prevails=True),
        covers.Cover(2, 0, 0.0, 0.0, 1.0, prevails=False),
    ]
    shown = covers.apply(pictures, pair, rank=0, processes=1)
    expected = pictures.clone()
    expected[0, :, 1:4, 4:7] = 2
    expected[2] = 0
    assert torch.equal(shown, expected)
    assert covers.learned_as(rows, pair).tolist() == [70, 60, 70, 80]
    assert rows.tolist() == [50, 60, 70, 80]


def test_processes_cover_their_own_as_one_would_cover_all():
    pictures = torch.rand(120, 3, 8, 8)
    found = covers.draw(MAY, seed=5, processes=2)
    shares = [covers.apply(pictures[rank::2], found, rank=rank, processes=2) for rank in range(2)]
    together = torch.stack(shares, 1).flatten(0, 1)
    assert torch.equal(together, covers.apply(pictures, found, rank=0, processes=1))
    assert not torch.equal(together, pictures)
