"""The shallow half of Deep Ranking: coarse looks at the picture, beside a deep network.

Deep Ranking (CVPR 2014, figure 3) samples a 224 px picture 4:1 and 8:1, convolves each with 96
filters of 8 x 8 at stride 4, and pools to 4 x 4: maxima of 7 x 7 at stride 4, and of 3 x 3 at
stride 2. fk-visual-search's VisNet averages 4 x 4 and 8 x 8 pixels for the sampling, as here.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...exceptions import EncoderError

INPUT_SIDE = 224
"""Pixels that height and width of the input must have."""
FILTERS = 96
OUTPUTS = FILTERS * 4 * 4
"""Length of a path's output: 1,536."""


class ShallowPath(nn.Sequential):
    """Maps (n, 3, 224, 224) to (n, 1536)."""

    def __init__(self, *, sampling: int) -> None:
        """`sampling`: pixels to a side that become one, 4 or 8."""
        # Padded so that both reach 4 x 4: 56 -> 15 -> 4 and 28 -> 8 -> 4.
        pool = {4: nn.MaxPool2d(7, stride=4, padding=2), 8: nn.MaxPool2d(3, stride=2, padding=1)}
        super().__init__(
            nn.AvgPool2d(sampling),
            nn.Conv2d(3, FILTERS, 8, stride=4, padding=4),
            nn.BatchNorm2d(FILTERS),
            pool[sampling],
            nn.Flatten(),
        )


def check_trunk(network: str, trunk: str) -> None:
    """Raises EncoderError unless the trunk is VGG16, the only one these networks are made with."""
    if trunk != "vgg16":
        raise EncoderError(
            f"{network} can't be built on {trunk!r}. Choices are: vgg16. SmallNet and AspectNet "
            "take any trunk."
        )


def check_input(network: str, pictures: Tensor) -> None:
    """Raises EncoderError unless the pictures have the side that the flat layers are made for."""
    if tuple(pictures.shape[-2:]) != (INPUT_SIDE, INPUT_SIDE):
        height, width = pictures.shape[-2:]
        raise EncoderError(
            f"{network} was given pictures of {width} x {height} pixels. It takes "
            f"{INPUT_SIDE} x {INPUT_SIDE}: set the sizes to {INPUT_SIDE}."
        )
