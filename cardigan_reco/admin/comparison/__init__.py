"""The comparison of two encoders in the admin: their shelves side by side, and the votes."""

from .votes import ComparisonVoteAdmin

__all__ = ["ComparisonVoteAdmin"]
