"""Metrics for Prometheus: what searches take, and how the encoding goes.

Nothing is measured, and prometheus-client not imported, unless CARDIGAN_RECO["METRICS"] is true.
"""

from typing import TYPE_CHECKING

from .instruments import photo, search, shelf

if TYPE_CHECKING:
    from .collector import Collector
    from .views import MetricsView
else:

    def __getattr__(name):
        # Each page with a shelf imports this package, to be measured; few processes tell.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import views

        return getattr(views, name)


__all__ = ["Collector", "MetricsView", "photo", "search", "shelf"]
