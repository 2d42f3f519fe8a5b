"""How rows are dealt to processes, and come back in their order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from cardigan_reco.training import forward as forward_module
from cardigan_reco.training.forward import Forward
from cardigan_reco.training.processes import Processes
from cardigan_reco.training.recipe import Recipe

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("rows", [0, 1, 6, 7])
def test_what_is_dealt_comes_back_in_order(count: int, rows: int) -> None:
    numbers = np.arange(rows) * 10
    processes = [Processes(rank, count) for rank in range(count)]
    dealt = [process.deal(numbers) for process in processes]
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1
    for process in processes:
        assert np.concatenate(dealt)[process.order(rows)].tolist() == numbers.tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 8])
def test_the_default_batch_can_be_dealt(count: int) -> None:
    assert Recipe().batch_size % (6 * count) == 0


@pytest.mark.parametrize("rank", [0, 1])
def test_fewer_pictures_than_processes_are_encoded_by_each(rank: int) -> None:
    forward = three_pictures(processes=Processes(rank, 2))
    vectors = forward.encode_together(torch.nn.Flatten(), np.array([2]), side=4)
    assert vectors.shape == (1, 3 * 4 * 4)


@pytest.mark.parametrize(("seconds", "is_shown"), [(0, True), (5, False)])
def test_encoding_shows_how_far_it_is_unless_it_is_quick(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    is_shown: bool,
) -> None:
    monkeypatch.setattr(forward_module, "_QUICK_SECONDS", seconds)
    three_pictures(progress=True).encode(torch.nn.Flatten(), np.arange(3), side=4)
    assert ("/3 [" in capsys.readouterr().err) is is_shown


GRADIENTS = """
import numpy as np
import torch

from cardigan_reco.training import processes


def gradient(group):
    torch.manual_seed(0)
    pictures, network = torch.randn(6, 5), torch.nn.Linear(5, 4)
    rows = np.arange(6)
    wrapped = group.wrap(network, torch.device("cpu"))
    vectors = group.gather(wrapped(pictures[torch.from_numpy(group.deal(rows))]))
    vectors = vectors[torch.from_numpy(group.order(6))]
    # Every vector is weighed against every other one, as in a contrast.
    (torch.softmax(vectors @ vectors.T, 1) * torch.arange(36.0).view(6, 6)).sum().backward()
    return network.weight.grad


with processes.joined("cpu") as group:
    assert group.count == 2
    torch.testing.assert_close(gradient(group), gradient(processes.Processes()))
"""


def test_two_processes_have_the_gradient_of_one(tmp_path: Path) -> None:
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*launcher, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=120,
    )


def three_pictures(*, processes: Processes | None = None, progress: bool = False) -> Forward:
    return Forward(
        np.full((3, 8, 8, 4), 200, np.uint8),
        wild=np.zeros(3, bool),
        device=torch.device("cpu"),
        precision="fp32",
        processes=processes or Processes(),
        progress=progress,
    )
