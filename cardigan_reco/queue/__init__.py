"""The queue: mark sources, claim them for a while, settle them.

The rows of EncodingRequest are the truth; a wake-up that is lost costs time, never a picture.
Every time in it is the database's clock.
"""

from .leases import (
    Claim,
    abandon,
    bury,
    claim,
    fail,
    lock,
    lock_overtaken,
    postpone,
    release,
    settle,
    source_pks,
    yield_to_shop,
)
from .marks import mark, mark_new, marking
from .rows import (
    TABLE,
    Failure,
    State,
    counts,
    drop,
    forget,
    given_up,
    is_in,
    requests,
    requests_of,
    retry,
)

__all__ = [
    "TABLE",
    "Claim",
    "Failure",
    "State",
    "abandon",
    "bury",
    "claim",
    "counts",
    "drop",
    "fail",
    "forget",
    "given_up",
    "is_in",
    "lock",
    "lock_overtaken",
    "mark",
    "mark_new",
    "marking",
    "postpone",
    "release",
    "requests",
    "requests_of",
    "retry",
    "settle",
    "source_pks",
    "yield_to_shop",
]
