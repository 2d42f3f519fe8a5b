"""Listings entered twice: found, explained, judged, merged."""

from .finding import Progress, are_checked, check, check_encoded, find

__all__ = ["Progress", "are_checked", "check", "check_encoded", "find"]
