"""How pictures are changed before they are learned from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cardigan_reco.training.augmentations import (  # noqa: E402
    LIGHT,
    STRONG,
    WILD,
    Augmentation,
)
from cardigan_reco.training.forward import Forward  # noqa: E402
from cardigan_reco.training.processes import Processes  # noqa: E402

STILL = Augmentation(
    zoom=1,
    stretch=1,
    degrees=0,
    shift=0,
    perspective=0,
    background=0,
    light=0,
    tint=0,
    saturation=0,
    blur=0,
    noise=0,
    erase=0,
    mirror=0,
)


def plain(*colours: tuple[int, int, int, int]) -> torch.Tensor:
    """Returns pictures of 32 x 32 in one colour each; its fourth number is 0 for background."""
    return torch.tensor(colours, dtype=torch.uint8)[:, None, None].expand(-1, 32, 32, -1).clone()


def apply(augmentation: Augmentation, pictures: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return augmentation.apply(pictures, 32, torch.Generator().manual_seed(seed))


def test_a_picture_that_nothing_changes_is_itself():
    pictures = torch.randint(0, 256, (3, 32, 32, 4), dtype=torch.uint8)
    pictures[..., 3] = 255
    shown = apply(STILL, pictures)
    torch.testing.assert_close(shown, pictures[..., :3].permute(0, 3, 1, 2) / 255)


def test_a_seed_repeats_and_another_changes_pictures_otherwise():
    pictures = plain((200, 10, 10, 255), (10, 200, 10, 255))
    for augmentation in (LIGHT, STRONG, WILD):
        once = apply(augmentation, pictures, 4)
        assert torch.equal(once, apply(augmentation, pictures, 4))
        assert not torch.equal(once, apply(augmentation, pictures, 5))


def test_wild_pictures_are_changed_more_than_strongly_changed_ones():
    pictures = plain(*[(200, 10, 10, 255), (10, 200, 10, 255), (10, 10, 200, 255)] * 20)
    pictures[:, 8:24, 8:24, :3] = 128
    before = apply(STILL, pictures)
    changes = [
        (apply(augmentation, pictures) - before).abs().mean()
        for augmentation in (LIGHT, STRONG, WILD)
    ]
    assert changes == sorted(changes)
    assert changes[2] > 1.5 * changes[1]


def test_only_a_plain_background_is_replaced():
    pictures = plain(*[(0, 0, 255, 255)] * 8)
    pictures[:, :16] = torch.tensor([255, 255, 255, 0], dtype=torch.uint8)
    shown = apply(replace(STILL, background=1.0), pictures)
    assert (shown[:, :, :15] != 1).any((1, 2, 3)).all()
    torch.testing.assert_close(
        shown[:, :, 17:], torch.tensor([0.0, 0, 1])[:, None, None].expand(8, -1, 15, 32)
    )


def test_pictures_are_changed_by_their_place_in_a_batch_and_wild_ones_most():
    class Mean(torch.nn.Module):
        """Shows how much of the picture was changed: it is plain white."""

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            changed = (pictures - (1 - 0.5) / 0.25).abs().mean((1, 2, 3))
            return torch.stack([changed, torch.full_like(changed, 0.1)], 1)

    count = 120
    white = plain(*[(255, 255, 255, 255)] * count).numpy()
    wild = np.zeros(count, bool)
    wild[::3] = True
    forward = Forward(
        white,
        wild=wild,
        device=torch.device("cpu"),
        precision="fp32",
        processes=Processes(),
    )
    rows = np.arange(count)
    vectors, _told = forward.changed(Mean(), rows, side=32, parts=2, seed=3)
    changed = vectors[:, 0] / vectors[:, 1]
    light = changed[(rows < count // 2) & ~wild].mean()
    strong = changed[(rows >= count // 2) & ~wild].mean()
    assert light < strong < changed[wild].mean()
