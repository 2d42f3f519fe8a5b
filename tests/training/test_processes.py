"""How rows are dealt to processes, and come back in their order."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from cardigan_reco.training.processes import Processes


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("rows", [0, 1, 6, 7])
def test_what_is_dealt_comes_back_in_order(count: int, rows: int) -> None:
    numbers = np.arange(rows) * 10
    processes = [Processes(rank, count) for rank in range(count)]
    dealt = [process.deal(numbers) for process in processes]
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    for process in processes:
        assert np.concatenate(dealt)[process.order(rows)].tolist() == numbers.tolist()
