"""Listings entered twice: found, explained, judged, merged."""

from .finding import Progress, check, check_encoded, find

__all__ = ["Progress", "check", "check_encoded", "find"]
