"""Recall: how many of the exactly nearest pictures and items the searches find."""

from .advice import advise
from .interval import wilson
from .result import Recall, Seconds
from .sampling import Picture, sample, stretch
from .scan import IndexScan
from .shelves import served

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
