"""Listings entered twice: found, explained, judged, merged."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .finding import Progress, are_checked, check, check_encoded, find
else:

    def __getattr__(name):
        # Each page with a shelf imports this package, to know families; few processes compare.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import finding

        return getattr(finding, name)


__all__ = ["Progress", "are_checked", "check", "check_encoded", "find"]
