"""The HNSW indexes of the embedding tables: how they are, and how they are built and renewed."""

from cardigan_reco.database import IndexState

from .building import Built, build, rebuild
from .choice import chosen
from .health import Health, Index, LockingBuild, declared, health
from .session import Listener, Progress

__all__ = [
    "Built",
    "Health",
    "Index",
    "IndexState",
    "Listener",
    "LockingBuild",
    "Progress",
    "build",
    "chosen",
    "declared",
    "health",
    "rebuild",
]
