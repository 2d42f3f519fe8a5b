"""Recall: how many of the exactly nearest pictures and items the searches find."""

from .advice import advise
from .interval import wilson
from .measuring import IndexScan, Recall, Seconds, served
from .sampling import Picture, sample, stretch

__all__ = [
    "IndexScan",
    "Picture",
    "Recall",
    "Seconds",
    "advise",
    "sample",
    "served",
    "stretch",
    "wilson",
]
