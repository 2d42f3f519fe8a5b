"""Whole batches of pictures, changed as cameras, shops and phones change them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """How strongly pictures are changed."""

    zoom: float
    """A picture is enlarged or shrunk up to so many times."""
    stretch: float
    """Its width against its height, up to so many times."""
    degrees: float
    """Turned up to so far to either side."""
    shift: float
    """Moved up to this share of the side."""
    perspective: float
    """How much nearer one edge may be than the opposite one."""
    background: float
    """Share whose plain background is replaced by another picture or a colour."""
    light: float
    """Brightness and contrast change up to this share."""
    tint: float
    """Each channel's gain changes up to this share: the colour of the light."""
    saturation: float
    """Saturation changes up to this share."""
    blur: float
    """Share of pictures that lose their fine detail."""
    noise: float
    """Largest standard deviation of the noise added, of 1."""
    erase: float
    """Share of pictures of which a rectangle is hidden."""
    mirror: float = 0.5
    """Share of pictures that are mirrored."""

    def apply(self, pictures: Tensor, size: int, generator: Generator) -> Tensor:
        """Returns (n, 3, size, size) in float32 from 0 to 1.

        `pictures`: (n, side, side, 4) in uint8, on the generator's device; the fourth channel is 0
        where there is plain background or nothing.
        """
        draw = _Draw(len(pictures), generator)
        sources = pictures.permute(0, 3, 1, 2).float().div_(255)
        grid = self._grid(draw, size)
        # What lies outside is 0 in all channels, so colours are multiplied by alpha before.
        sources[:, :3] *= sources[:, 3:]
        shrink = sources.shape[-1] / size
        if shrink > 1.3:
            sources = functional.interpolate(
                sources, scale_factor=1 / shrink, mode="bilinear", antialias=True
            )
        moved = functional.grid_sample(sources, grid, align_corners=False)
        colours, alpha = moved[:, :3], moved[:, 3:]
        colours = self._colour(colours, alpha, draw)
        result = colours + self._backgrounds(colours, draw) * (1 - alpha)
        return self._spoil(result, draw).clamp_(0, 1)

    def _grid(self, draw: _Draw, size: int) -> Tensor:
        zoom = torch.exp(draw.symmetric(math.log(self.zoom)))
        stretch = torch.exp(draw.symmetric(math.log(self.stretch) / 2))
        angle = draw.symmetric(math.radians(self.degrees))
        mirror = 1 - 2 * draw.chosen(self.mirror)
        cosine, sine = torch.cos(angle), torch.sin(angle)
        zero = torch.zeros_like(angle)
        matrix = torch.stack(
            [
                torch.stack([cosine * mirror * stretch, -sine * stretch, zero], -1),
                torch.stack([sine * mirror / stretch, cosine / stretch, zero], -1),
                torch.stack([zero, zero, zero + 1], -1),
            ],
            1,
        )
        matrix[:, :2, :2] /= zoom[:, None, None]
        matrix[:, 0, 2] = draw.symmetric(self.shift * 2)
        matrix[:, 1, 2] = draw.symmetric(self.shift * 2)
        matrix[:, 2, 0] = draw.symmetric(self.perspective)
        matrix[:, 2, 1] = draw.symmetric(self.perspective)
        line = (torch.arange(size, device=draw.device) * 2 + 1) / size - 1
        y, x = torch.meshgrid(line, line, indexing="ij")
        points = torch.stack([x, y, torch.ones_like(x)], -1).view(-1, 3)
        projected = points @ matrix.transpose(1, 2)
        places = projected[..., :2] / projected[..., 2:].clamp_min(0.3)
        return places.view(len(matrix), size, size, 2)

    def _colour(self, colours: Tensor, alpha: Tensor, draw: _Draw) -> Tensor:
        gains = 1 + draw.symmetric(self.light, 1) + draw.symmetric(self.tint, 3)
        colours = colours * gains[:, :, None, None]
        weight = alpha.sum((2, 3), keepdim=True).clamp_min(1)
        grey = colours.mean(1, keepdim=True)
        middle = grey.sum((2, 3), keepdim=True) / weight * alpha
        contrast = 1 + draw.symmetric(self.light, 1)[:, :, None, None]
        saturation = 1 + draw.symmetric(self.saturation, 1)[:, :, None, None]
        vivid = grey + (colours - grey) * saturation
        return torch.minimum((middle + (vivid - middle) * contrast).clamp_min(0), alpha)

    def _backgrounds(self, colours: Tensor, draw: _Draw) -> Tensor:
        """Returns white for most, else a plain colour or a zoomed neighbour of the batch."""
        size = colours.shape[-1]
        plain = draw.uniform(3)[:, :, None, None].expand(-1, -1, size, size)
        corner = colours.roll(1, 0)[:, :, size // 4 : size * 3 // 4, size // 4 : size * 3 // 4]
        scene = functional.interpolate(corner, (size, size), mode="bilinear")
        scene = scene + plain * (scene.amax(1, keepdim=True) == 0)
        other = torch.where(draw.chosen(0.6)[:, None, None, None] > 0, scene, plain)
        return torch.where(draw.chosen(self.background)[:, None, None, None] > 0, other, 1.0)

    def _spoil(self, pictures: Tensor, draw: _Draw) -> Tensor:
        height, width = pictures.shape[-2:]
        if rows := draw.chosen(self.blur).nonzero()[:, 0].tolist():
            smaller = max(8, int(height * (0.35 + 0.45 * draw.number())))
            few = functional.interpolate(
                pictures[rows], (smaller, smaller), mode="bilinear", antialias=True
            )
            pictures[rows] = functional.interpolate(few, (height, width), mode="bilinear")
        deviation = draw.uniform(1)[:, :, None, None] * self.noise
        pictures = pictures + draw.normal(pictures.shape) * deviation
        for row in draw.chosen(self.erase).nonzero()[:, 0].tolist():
            tall = int(height * (0.1 + 0.3 * draw.number()))
            wide = int(width * (0.1 + 0.3 * draw.number()))
            top = int((height - tall) * draw.number())
            left = int((width - wide) * draw.number())
            colour = draw.colour()
            pictures[row, :, top : top + tall, left : left + wide] = colour
        return pictures


LIGHT = Augmentation(
    zoom=1.25,
    stretch=1.05,
    degrees=8,
    shift=0.08,
    perspective=0.04,
    background=0.05,
    light=0.08,
    tint=0.02,
    saturation=0.06,
    blur=0.1,
    noise=0.01,
    erase=0.25,
)
"""For queries: a small network learns little in a short run where all is changed strongly."""
STRONG = Augmentation(
    zoom=1.35,
    stretch=1.12,
    degrees=10,
    shift=0.12,
    perspective=0.06,
    background=0.15,
    light=0.15,
    tint=0.04,
    saturation=0.1,
    blur=0.15,
    noise=0.02,
    erase=0.2,
)
"""For their mates, as phones, rooms and other shops would show them."""
WILD = replace(STRONG, zoom=2.0, shift=0.25, degrees=25, light=0.3, erase=0.4)
"""For photographs that are few and were taken anywhere, which a network soon knows by heart."""


class _Draw:
    """Random numbers for a batch, all from one generator, on its device."""

    def __init__(self, count: int, generator: Generator) -> None:
        self.count = count
        self.device = generator.device
        self._generator = generator

    def uniform(self, *shape: int) -> Tensor:
        return self._rand(self.count, *shape)

    def symmetric(self, limit: float, *shape: int) -> Tensor:
        return (self.uniform(*shape) * 2 - 1) * limit

    def chosen(self, share: float) -> Tensor:
        """Returns 1.0 for about that share of the batch, else 0.0."""
        return (self.uniform() < share).float()

    def normal(self, shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=self._generator, device=self.device)

    def colour(self) -> Tensor:
        """Returns one (3, 1, 1)."""
        return self._rand(3, 1, 1)

    def number(self) -> float:
        return float(self._rand())

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator, device=self.device)
