"""Lanes: parts of a batch side by side."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from cardigan_reco.encoders.lanes import LEAST, Lanes
from cardigan_reco.encoders.torch import TorchEncoder


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def where(things: Sequence[int]) -> tuple[list[int], str, int]:
    return list(things), threading.current_thread().name, torch.get_num_threads()


def test_each_takes_a_part_with_a_thread_of_its_own() -> None:
    parts = Lanes().run(where, list(range(13)))
    assert [things for things, _name, _threads in parts] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11, 12],
    ]
    assert all(name.startswith("cardigan-lane") for _things, name, _threads in parts)
    assert [threads for _things, _name, threads in parts] == [1, 1, 1]


def test_few_things_stay_together_and_have_all_threads() -> None:
    few = list(range(3 * LEAST - 1))
    assert Lanes().run(where, few) == [(few, threading.current_thread().name, 3)]


def test_other_threads_keep_their_number() -> None:
    Lanes()
    assert torch.get_num_threads() == 3
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 3


def test_an_error_in_a_lane_is_the_callers() -> None:
    def work(things: Sequence[int]) -> None:
        if 0 in things:
            raise ValueError("zero")

    with pytest.raises(ValueError, match="zero"):
        Lanes().run(work, list(range(12)))


def test_vectors_are_those_of_pictures_alone() -> None:
    encoder = TorchEncoder(device="cpu")
    chosen = np.random.default_rng(1)
    pictures = [
        Image.fromarray(chosen.integers(0, 256, (40, 30, 3), np.uint8)) for _ in range(3 * LEAST)
    ]
    alone = np.concatenate([encoder.encode([picture]) for picture in pictures])
    assert np.allclose(encoder.encode(pictures), alone, atol=1e-4)


def test_a_fork_of_a_process_that_has_encoded_says_so_and_doesnt_hang() -> None:
    """`manage.py test --parallel` forks after it has imported the tests."""
    code = (
        "import multiprocessing, torch\n"
        "from PIL import Image\n"
        "from cardigan_reco.encoders.torch import TorchEncoder\n"
        "torch.set_num_threads(3)\n"
        "encoder = TorchEncoder(device='cpu')\n"
        "encoder.warm_up()\n"
        "picture = [Image.new('RGB', (64, 64))]\n"
        "fork = multiprocessing.get_context('fork')\n"
        "child = fork.Process(target=encoder.encode, args=[picture], daemon=True)\n"
        "child.start()\n"
        "child.join()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "EncoderError: The network has run in this process's parent" in ended.stderr
