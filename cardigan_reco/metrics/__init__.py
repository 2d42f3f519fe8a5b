"""Metrics for Prometheus: what searches take, and how the encoding goes.

Nothing is measured, and prometheus-client not imported, unless CARDIGAN_RECO["METRICS"] is true.
"""

from .collector import Collector
from .instruments import photo, search
from .views import MetricsView

__all__ = ["Collector", "MetricsView", "photo", "search"]
