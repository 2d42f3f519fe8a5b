"""A crew: threads for calls that may never return, such as those of a storage or a decoder.

A thread can't be ended from outside. One that hangs is left behind, and another takes its place.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import connections

from .exceptions import CardiganError

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")

MAX_LEFT_BEHIND = 32
"""Threads of this process that may hang before no more are started."""
LOOKS_EVERY_SECONDS = 0.5
"""How soon `stop` is noticed."""


class EverythingHangs(CardiganError):
    """So many calls haven't returned that this process starts no more of them."""


@dataclass(frozen=True)
class Hung:
    """A call that took longer than its stage may."""

    stage: str
    seconds: float


class Job(Generic[Key]):
    """What one thread does: `begin()` says which stage it has reached, and how long that may be."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.stage = ""
        self.seconds = float("inf")
        self.ends_at = float("inf")

    def begin(self, stage: str, seconds: float) -> None:
        """Starts the clock of a stage, and stops that of the one before."""
        self.stage, self.seconds, self.ends_at = stage, seconds, time.monotonic() + seconds


_left_behind: dict[threading.Thread, Job[Any]] = {}


def hanging(stage: str) -> int:
    """Returns how many threads of this process hang in a stage."""
    now = time.monotonic()
    return sum(
        thread.is_alive() and job.stage == stage and job.ends_at <= now
        for thread, job in list(_left_behind.items())
    )


def work_through(
    keys: Iterable[Key],
    work: Callable[[Job[Key]], Result],
    *,
    threads: int,
    seconds: float,
    stop: Callable[[], bool] = lambda: False,
) -> dict[Key, Result | Hung]:
    """Returns what `work` returned for each key, or Hung.

    What isn't done after `seconds`, or once `stop()` is true, has no entry. Raises what `work`
    raised first, and EverythingHangs when MAX_LEFT_BEHIND calls are out already.
    """
    return start(keys, work, threads=threads, seconds=seconds).results(stop)


def start(
    keys: Iterable[Key], work: Callable[[Job[Key]], Result], *, threads: int, seconds: float
) -> Shift[Key, Result]:
    """Lets threads begin and returns at once; `results()` are what `work_through()` returns."""
    shift = Shift([Job(key) for key in keys], work, time.monotonic() + seconds)
    shift.start(threads)
    return shift


class Shift(Generic[Key, Result]):
    """Threads at work on some keys, until somebody asks for the results or ends it."""

    def __init__(
        self, jobs: Sequence[Job[Key]], work: Callable[[Job[Key]], Result], ends_at: float
    ) -> None:
        self._work = work
        self._ends_at = ends_at
        self._waiting = deque(jobs)
        self._running: dict[Job[Key], threading.Thread] = {}
        self._done: dict[Key, Result | Hung] = {}
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def start(self, threads: int) -> None:
        with self._changed:
            try:
                for _ in range(min(threads, len(self._waiting))):
                    self._start_thread()
            except EverythingHangs as error:  # Of this shift alone: raised to whoever waits for it.
                self._error = error
            except BaseException:
                self._end()
                raise

    def results(self, stop: Callable[[], bool] = lambda: False) -> dict[Key, Result | Hung]:
        """Waits for the threads, as `work_through()` does, and ends the shift."""
        with self._changed:
            try:
                while self._running and self._error is None:
                    now = time.monotonic()
                    if now >= self._ends_at or stop():
                        break
                    for job in [job for job in self._running if job.ends_at <= now]:
                        self._leave_behind(job)
                        self._done[job.key] = Hung(job.stage, job.seconds)
                        self._start_thread()
                    due = min([self._ends_at, *(job.ends_at for job in self._running)])
                    self._changed.wait(max(0.0, min(due - now, LOOKS_EVERY_SECONDS)))
            finally:
                self._end()
            if self._error is not None:
                raise self._error
            return self._done

    def end(self) -> None:
        """Begins nothing more, and leaves behind what is running."""
        with self._changed:
            self._end()

    def _end(self) -> None:
        self._waiting.clear()
        for job in list(self._running):
            self._leave_behind(job)

    def _start_thread(self) -> None:
        """Gives the next job to a new thread, which goes on with those that follow."""
        if not self._waiting:
            return
        for thread in [thread for thread in _left_behind if not thread.is_alive()]:
            _left_behind.pop(thread, None)
        if len(_left_behind) >= MAX_LEFT_BEHIND:
            raise EverythingHangs(
                f"{len(_left_behind)} calls to the storage or the decoder have not returned. Look "
                "after the storage, then restart this process."
            )
        job = self._waiting.popleft()
        # A daemon: the process can end although it hangs.
        thread = threading.Thread(
            target=self._serve, args=[job], name="cardigan-decode", daemon=True
        )
        self._running[job] = thread
        thread.start()

    def _leave_behind(self, job: Job[Key]) -> None:
        _left_behind[self._running.pop(job)] = job

    def _serve(self, job: Job[Key]) -> None:
        try:
            while True:
                try:
                    result, error = self._work(job), None
                except BaseException as raised:
                    error = raised
                with self._changed:
                    thread = self._running.pop(job, None)
                    if thread is None:  # Left behind: nobody waits for this any more.
                        return
                    if error is None:
                        self._done[job.key] = result
                    else:
                        self._error = self._error or error
                        self._waiting.clear()
                    self._changed.notify()
                    if not self._waiting:
                        return
                    job = self._waiting.popleft()
                    self._running[job] = thread
        finally:
            connections.close_all()  # A storage may keep its files in the database.
