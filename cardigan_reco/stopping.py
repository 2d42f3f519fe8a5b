"""An orderly end: asked for by a signal, obeyed between two batches."""

from __future__ import annotations

import mmap
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_asked = mmap.mmap(-1, 1)  # Forked processes share it: Celery's prefork pool tells them nothing.


def ask() -> None:
    """Asks this process and its forks to take on nothing more."""
    _asked[0] = 1


def is_asked() -> bool:
    """Whether this process should come to an end."""
    return _asked[0] == 1


@contextmanager
def at_sigterm() -> Iterator[None]:
    """Lets SIGTERM ask for an orderly end inside the block; a second one ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        ask()
        signal.signal(signal.SIGTERM, before)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
