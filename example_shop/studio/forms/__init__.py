"""How products are built. Each stands on z = 0, with its front towards -y."""

from __future__ import annotations

from collections.abc import Callable

from ..designs import Design
from . import furniture, lamps, tableware, textiles, vessels

BUILDERS: dict[str, Callable[[Design], None]] = {
    **tableware.BUILDERS,
    **vessels.BUILDERS,
    **textiles.BUILDERS,
    **lamps.BUILDERS,
    **furniture.BUILDERS,
}
"""The builder of each kind, by the kind's name."""
