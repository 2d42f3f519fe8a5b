"""What Cardigan Home sells: kinds, their families, and the variants of each."""

from __future__ import annotations

from . import tableware, textiles, vessels

KINDS = (*tableware.KINDS, *vessels.KINDS, *textiles.KINDS)
