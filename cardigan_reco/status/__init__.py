"""The status of a database: how each collection goes, who works, and what needs a person."""

from .collections import CollectionStatus, EncoderState
from .problems import Level, Limits, Problem
from .report import Status, of

__all__ = ["CollectionStatus", "EncoderState", "Level", "Limits", "Problem", "Status", "of"]
