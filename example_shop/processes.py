"""Child processes that end with the process that started them, however that ends.

`python -m example_shop.processes COMMAND...` runs the command until its own standard input is
closed, which the system does when the parent dies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

PATIENCE_SECONDS = 8


class Child:
    """A command that runs in the background and writes to a log."""

    def __init__(self, name: str, command: list[str], log: Path, cwd: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", __name__, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                # Away from the terminal's Ctrl-C, so that the parent decides the order.
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def written(self) -> str:
        """Returns what the command has written so far."""
        return self.log.read_text(errors="replace")

    def stop(self) -> None:
        """Asks the command to end, and ends it and its children by force if it doesn't."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()


def run_attached(command: list[str]) -> int:
    """Runs `command` until it ends or standard input is closed; returns its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603

    def stop_at_the_end() -> None:
        # Not through sys.stdin, whose lock a thread must not hold when Python ends.
        while os.read(0, 1024):
            pass
        child.terminate()
        try:
            child.wait(PATIENCE_SECONDS - 2)
        except subprocess.TimeoutExpired:
            child.kill()

    threading.Thread(target=stop_at_the_end, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(run_attached(sys.argv[1:]))
