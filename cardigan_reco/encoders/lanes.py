"""Lanes: threads that each take a part of a batch through a network on the CPU.

Parts of a batch side by side, with a thread each, are some tenth quicker than one operation after
the other with all threads: nobody waits for others at the end of each, and less is in the caches at
a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier
from typing import TypeVar

from ..exceptions import EncoderError

Thing = TypeVar("Thing")
Result = TypeVar("Result")

LEAST = 4
"""Things that are worth a lane."""


def _compute_alone() -> None:
    import torch

    # Asked first, since torch gives a thread its number, the last that was set anywhere, only then.
    torch.get_num_threads()
    torch.set_num_threads(1)


class Lanes:
    """As many threads as torch has, each of which computes alone."""

    def __init__(self) -> None:
        import torch

        self._pid = os.getpid()
        self._count = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._count, "cardigan-lane", initializer=_compute_alone)
        started = Barrier(self._count)
        for waiting in [self._pool.submit(started.wait) for _ in range(self._count)]:
            waiting.result()
        # Back again, for threads that come later.
        torch.set_num_threads(self._count)

    def run(
        self, work: Callable[[Sequence[Thing]], Result], things: Sequence[Thing]
    ) -> list[Result]:
        """Returns what `work` makes of a part of `things` for each lane, in order; of few things,
        of all at once, in this thread.

        Raises EncoderError in a fork, which has none of the threads and would wait for ever.
        """
        if os.getpid() != self._pid:
            raise EncoderError(
                "The network has run in this process's parent, and torch's threads don't survive a "
                "fork. Let nothing encode before it: no settings, no AppConfig.ready() and no "
                "module of tests; gunicorn has post_worker_init for that. Or set the encoder's "
                "option threads to 1."
            )
        if len(things) < LEAST * self._count:
            return [work(things)]
        cuts = [len(things) * number // self._count for number in range(self._count + 1)]
        return list(self._pool.map(work, (things[start:end] for start, end in pairwise(cuts))))
