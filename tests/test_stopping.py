"""An orderly end: heard by forks, and asked for by SIGTERM only inside the block."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

FORKED = """
import os, time
from cardigan_reco import stopping
child = os.fork()
if child == 0:
    while not stopping.is_asked():
        time.sleep(0.01)
    os._exit(3)
stopping.ask()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
"""
SIGNALLED = """
import os, signal
from cardigan_reco import stopping
with stopping.at_sigterm():
    assert not stopping.is_asked()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stopping.is_asked()
    print("asked", flush=True)
    if {again}:
        os.kill(os.getpid(), signal.SIGTERM)
print("ended", flush=True)
os.kill(os.getpid(), signal.SIGTERM)
print("not reached")
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no fork.")
def test_forked_processes_hear_it() -> None:
    done = run(FORKED)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("again", "printed"), [(False, "asked ended"), (True, "asked")])
def test_the_second_signal_ends_the_process(again: bool, printed: str) -> None:
    done = run(SIGNALLED.format(again=again))
    assert done.stdout.split() == printed.split(), done.stderr
    assert done.returncode == -signal.SIGTERM
