"""The wake-up for Celery workers: at most one a second, off the caller's thread.

A broker that is down costs seconds a call, one that swallows packets minutes; neither may slow the
save of a product. Whatever gets lost here is found by the workers' own polling.
"""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os
import threading
from functools import cache

from django.db import connections

logger = logging.getLogger(__name__)


class Doorbell:
    """Sends wake-ups from a thread of its own, joining those that come close together."""

    interval_seconds = 1.0
    longest_pause_seconds = 30.0
    """Between tries while the broker refuses."""
    farewell_seconds = 2.0
    """How long a process that ends waits for its last wake-up to leave."""
    fork_seconds = 1.0
    """How long a fork waits for a wake-up that is being sent."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Starts anew; a fork inherits neither the thread nor a usable lock."""
        self._changed = threading.Condition()
        self._sending = threading.RLock()  # Run eagerly, what is sent may fork itself.
        self._is_held = False
        self._wanted: set[str] = set()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._broken = False

    def ring(self, using: str) -> None:
        """Wakes a worker for the database `using`, soon; returns at once."""
        if not celery_is_installed():
            return
        with self._changed:
            self._wanted.add(using)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._serve, name="cardigan-doorbell", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Sends what is still to be sent, waiting a moment at the most."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(self.farewell_seconds)

    def hold(self) -> None:
        """Lets nothing be sent before a fork: a child that came amid it would have half of Celery's
        modules, and locks that nobody lets go of, so that none of its own wake-ups would leave.
        """
        if self._sending.acquire(timeout=self.fork_seconds):
            self._is_held = True

    def go_on(self) -> None:
        """Lets be sent again what hold() has kept."""
        if self._is_held:
            self._is_held = False
            self._sending.release()

    def _serve(self) -> None:
        pause = self.interval_seconds
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closing.is_set())
                if not self._wanted or (self._broken and self._closing.is_set()):
                    return
                wanted, self._wanted = self._wanted, set()
            if self._send(wanted):
                pause = self.interval_seconds
            else:
                with self._changed:
                    self._wanted |= wanted
                pause = min(pause * 2, self.longest_pause_seconds)
            self._closing.wait(pause)

    def _send(self, wanted: set[str]) -> bool:
        try:
            with self._sending:
                from .tasks import send_wake_up

                for using in wanted:
                    send_wake_up(using)
        except Exception as error:  # Any would end the thread, and each later ring start another.
            if not self._broken:
                _report(error)
            self._broken = True
            return False
        finally:
            # A task that Celery runs eagerly opens connections of this thread.
            connections.close_all()
        if self._broken:
            logger.info("Workers can be woken again.", extra={"databases": sorted(wanted)})
        self._broken = False
        return True


def _report(error: Exception) -> None:
    from kombu.exceptions import KombuError

    logger.warning(
        "No worker can be woken until the broker is back: %s: %s",
        type(error).__name__,
        error,
        exc_info=None if isinstance(error, (KombuError, OSError)) else error,
        extra={"error": type(error).__name__},
    )


@cache
def celery_is_installed() -> bool:
    return importlib.util.find_spec("celery") is not None


doorbell = Doorbell()
ring = doorbell.ring
atexit.register(doorbell.close)
os.register_at_fork(
    before=doorbell.hold, after_in_parent=doorbell.go_on, after_in_child=doorbell.reset
)
