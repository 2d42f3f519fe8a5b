"""Whether two pictures are one photo, edited: from small descriptors, without the files.

A descriptor keeps the picture itself, small. Two are laid over one another in several ways: frame
on frame, content on content, by the local features that both have, by searching one in the other;
each also mirrored. The way that fits best is refined, and how far detail and colour then agree says
how likely both are one photo.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cardigan_reco.exceptions import MissingExtra

if TYPE_CHECKING:
    from PIL import Image

SIDE = 128
"""Pixels of the long side of the picture in a descriptor; larger ones tell compare() no more."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What is kept of a picture to compare it."""

    bits: int
    """Perceptual hash of the content, as a signed number of 64 bits."""
    mirrored_bits: int
    """Perceptual hash of the mirrored content."""
    data: bytes
    """All else that compare() reads, at most 4 KB."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that tells two copies of a photo apart. `value` says how much, where it is known.

    The codes and their values are those of `duplicates.reasons`.
    """

    code: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two descriptors say of their pictures."""

    probability: float
    """That both are one photo, 0 to 1."""
    changes: tuple[Change, ...] = ()
    """What was changed, if they are."""
    is_twin: bool = False
    """Whether they show one shape in one pose, and something else in it: another colour, say."""


class DamagedDescriptor(ValueError):
    """The data of a descriptor isn't what describe() made."""

    def __init__(self, reason: str, data: bytes) -> None:
        super().__init__(f"The descriptor is damaged: {reason}. It has to be made anew.")
        self.data = data


def describe(image: Image.Image) -> Descriptor:
    """Returns the descriptor of an RGB picture; raises MissingExtra."""
    try:
        from .description import describe as described
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return described(image)


def compare(first: Descriptor, second: Descriptor) -> Comparison:
    """Returns how likely two pictures are one photo, whichever comes first.

    Raises MissingExtra and DamagedDescriptor.
    """
    try:
        from .comparison import compare as compared
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    return compared(first, second)


def distance(first: int, second: int) -> int:
    """Returns in how many of their 64 bits two perceptual hashes differ."""
    return ((first ^ second) & (2**64 - 1)).bit_count()


def _missing(error: ModuleNotFoundError) -> Exception:
    return MissingExtra("Comparing pictures", "duplicates") if error.name == "cv2" else error
