"""What Cardigan Home sells: kinds, their families, and the variants of each."""

from __future__ import annotations

from . import furniture, lamps, tableware, textiles, vessels

KINDS = (*tableware.KINDS, *vessels.KINDS, *textiles.KINDS, *lamps.KINDS, *furniture.KINDS)
