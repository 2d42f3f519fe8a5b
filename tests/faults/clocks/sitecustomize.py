"""Sets the clock of each Python process that finds this folder on its path wrong, as that of a
machine is whose time service died. The clock that only measures spans is right.
"""

import datetime
import os
import time

SKEW = float(os.environ["CARDIGAN_TESTS_SKEW_SECONDS"])
_real_time, _real_time_ns, _real = time.time, time.time_ns, datetime.datetime


class _Kind(type):
    def __instancecheck__(cls, value):
        return isinstance(value, _real)


class _Skewed(_real, metaclass=_Kind):
    @classmethod
    def now(cls, tz=None):
        return _real.now(tz) + datetime.timedelta(seconds=SKEW)

    @classmethod
    def utcnow(cls):
        return cls.now(datetime.UTC).replace(tzinfo=None)


_Skewed.__name__ = _Skewed.__qualname__ = "datetime"
_Skewed.__module__ = "datetime"
datetime.datetime = _Skewed
time.time = lambda: _real_time() + SKEW
time.time_ns = lambda: _real_time_ns() + round(SKEW * 1e9)
