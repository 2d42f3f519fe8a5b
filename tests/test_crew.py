"""Threads whose calls may never return: the others' results come, and nothing waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from cardigan_reco import crew
from cardigan_reco.crew import EverythingHangs, Hung, Job

LONG = 3600.0


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What calls hang on until the test ends."""
    gate = threading.Event()
    yield gate
    gate.set()
    for thread in list(crew._left_behind):
        thread.join(10)
    crew._left_behind.clear()


def test_all_is_done_by_a_few_threads() -> None:
    names: set[str] = set()
    running, most = 0, 0
    lock = threading.Lock()

    def square(job: Job[int]) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            names.add(threading.current_thread().name)
        time.sleep(0.001)
        with lock:
            running -= 1
        return job.key**2

    done = crew.work_through(range(50), square, threads=3, seconds=LONG)
    assert done == {number: number**2 for number in range(50)}
    assert 1 <= most <= 3
    assert names == {"cardigan-decode"}


def test_nothing_to_do_starts_no_thread() -> None:
    before = threading.active_count()
    assert crew.work_through([], lambda job: job.key, threads=4, seconds=LONG) == {}
    assert threading.active_count() == before


def test_what_hangs_is_left_behind_and_replaced(gate: threading.Event) -> None:
    def work(job: Job[int]) -> str:
        job.begin("reading", 0.2)
        if job.key < 4:  # As many as there are threads.
            gate.wait()
        return "read"

    done = crew.work_through(range(20), work, threads=4, seconds=LONG)
    assert [done[number] for number in range(4)] == [Hung("reading", 0.2)] * 4
    assert [done[number] for number in range(4, 20)] == ["read"] * 16
    assert crew.hanging("reading") == 4
    assert crew.hanging("decoding") == 0
    gate.set()
    for thread in list(crew._left_behind):
        thread.join(10)
    assert crew.hanging("reading") == 0


def test_each_stage_has_a_clock_of_its_own() -> None:
    def work(job: Job[int]) -> str:
        for stage in ("reading", "decoding"):
            job.begin(stage, 2)
            time.sleep(1.2)
        return "done"

    assert crew.work_through([1], work, threads=1, seconds=LONG) == {1: "done"}


def test_what_has_no_turn_in_time_has_no_entry(gate: threading.Event) -> None:
    def work(job: Job[int]) -> str:
        if job.key:
            gate.wait()
        return "done"

    assert crew.work_through(range(5), work, threads=2, seconds=0.3) == {0: "done"}
    # Nobody said that these took too long.
    assert crew.hanging("") == 0


def test_a_stop_is_heard_while_all_hang(gate: threading.Event) -> None:
    asked = threading.Event()
    threading.Timer(0.2, asked.set).start()
    done = crew.work_through(
        range(5), lambda job: gate.wait(), threads=2, seconds=LONG, stop=asked.is_set
    )
    assert done == {}


def test_an_error_is_raised_and_ends_the_work() -> None:
    tried: list[int] = []

    def work(job: Job[int]) -> None:
        tried.append(job.key)
        raise KeyError(job.key)

    with pytest.raises(KeyError, match="0"):
        crew.work_through(range(100), work, threads=1, seconds=LONG)
    assert tried == [0]


def test_a_process_does_not_fill_with_threads(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "MAX_LEFT_BEHIND", 6)

    def work(job: Job[int]) -> None:
        job.begin("reading", 0.01)
        gate.wait()

    before = threading.active_count()
    for _ in range(5):
        with suppress(EverythingHangs):
            crew.work_through(range(20), work, threads=4, seconds=LONG)
    with pytest.raises(EverythingHangs, match="have not returned"):
        crew.work_through(range(20), work, threads=4, seconds=LONG)
    # Those that were running when no more could be started are left behind too.
    assert threading.active_count() - before <= 6 + 4


def test_a_shift_is_at_work_before_it_is_waited_for(gate: threading.Event) -> None:
    begun = threading.Event()

    def work(job: Job[int]) -> str:
        begun.set()
        gate.wait()
        return "done"

    shift = crew.start(range(3), work, threads=2, seconds=LONG)
    assert begun.wait(10)
    gate.set()
    assert shift.results() == dict.fromkeys(range(3), "done")


def test_a_shift_that_is_ended_begins_nothing_more(gate: threading.Event) -> None:
    tried: list[int] = []

    def work(job: Job[int]) -> None:
        tried.append(job.key)
        gate.wait()

    shift = crew.start(range(5), work, threads=1, seconds=LONG)
    shift.end()
    left = list(crew._left_behind)
    gate.set()
    for thread in left:
        thread.join(10)
    assert tried == [0]
    assert shift.results() == {}


def test_a_shift_that_finds_no_thread_says_so_to_whoever_waits_for_it(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "MAX_LEFT_BEHIND", 1)
    crew.work_through([1], lambda job: gate.wait(), threads=1, seconds=0)
    shift = crew.start([2], lambda job: gate.wait(), threads=1, seconds=LONG)
    with pytest.raises(EverythingHangs, match="have not returned"):
        shift.results()
