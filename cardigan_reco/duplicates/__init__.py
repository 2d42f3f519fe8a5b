"""Listings entered twice: found, explained, judged, merged."""
