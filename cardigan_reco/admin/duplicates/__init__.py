"""The report of duplicate listings: cards to judge, bulk actions, merging, export, thresholds."""

from .report import DuplicateGroupAdmin
from .shared import SharedPictureAdmin

__all__ = ["DuplicateGroupAdmin", "SharedPictureAdmin"]
