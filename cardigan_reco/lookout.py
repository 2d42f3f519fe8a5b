"""Looking at what may never answer: in a thread, which nobody waits for longer than he likes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Generic, TypeVar

from django.db import connections

ABANDON_SECONDS = 60.0
"""After so long a look that hangs is left to itself, and another begins: a host that vanished may
hold it for hours after the database is back.
"""

Found = TypeVar("Found")


def silence(using: str, seconds: float) -> str:
    """Says of a database that it gave no answer in that time, and what to see after."""
    return (
        f"Database {using!r} gives no answer in {seconds:g} s. See that its host is there, and "
        "that nothing on the way swallows what is sent."
    )


class Lookout(Generic[Found]):
    """Looks from a thread of its own, once for all who ask at the same time.

    PostgreSQL cancels statements that take too long; a host that vanished, or that swallows
    packets, would hold each who asks for as long as its client waits.
    """

    def __init__(self, look: Callable[[], Found], name: str, holds_seconds: float = 0.0) -> None:
        """`holds_seconds`: for so long, from its start on, a look is told again."""
        self._look = look
        self._name = name
        self._holds_seconds = holds_seconds
        self._lock = threading.Lock()
        self._found: Future[Found] | None = None
        self._started_at = 0.0

    def ask(self, timeout_seconds: float) -> Found:
        """Returns what is found, or raises what looking raises.

        Raises TimeoutError when it isn't found in that time.
        """
        return self.begin().result(timeout_seconds)

    def begin(self) -> Future[Found]:
        """Returns what will be found; it needn't be waited for before another look begins."""
        with self._lock:
            if self._found is None or self._is_over(self._found):
                self._found, self._started_at = Future(), time.monotonic()
                threading.Thread(
                    target=self._serve, args=[self._found], name=self._name, daemon=True
                ).start()
            return self._found

    def _is_over(self, found: Future[Found]) -> bool:
        age_seconds = time.monotonic() - self._started_at
        return age_seconds > (self._holds_seconds if found.done() else ABANDON_SECONDS)

    def _serve(self, found: Future[Found]) -> None:
        try:
            try:
                result = self._look()
            finally:
                connections.close_all()
        except BaseException as error:
            found.set_exception(error)
        else:
            found.set_result(result)


def side_by_side(
    lookouts: Mapping[str, Lookout[Found]], seconds: float
) -> Iterator[tuple[str, Callable[[], Found]]]:
    """Lets all look at once; yields the name of each, and what to call for what it finds.

    The call raises what looking raises, or TimeoutError once the seconds, which they share, are up.
    """
    deadline = time.monotonic() + seconds
    begun = {name: lookout.begin() for name, lookout in lookouts.items()}
    for name, found in begun.items():
        yield name, partial(_until, deadline, found)


def _until(deadline: float, found: Future[Found]) -> Found:
    return found.result(max(deadline - time.monotonic(), 0))
