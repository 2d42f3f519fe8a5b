"""The chaos benchmark at its default length, with servers and processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.conftest import need
from tests.processes import ROOT


def test_nothing_is_lost_while_everything_is_killed() -> None:
    need("redis-server")
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "chaos.py"), "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-20_000:]
    figures = json.loads(done.stdout)
    assert figures["saves"] == 1000
    for fault in ("kill_worker", "kill_backend", "restart", "crash", "switch_broker_off"):
        assert figures[fault] >= 1
    # The kills found workers with pictures in hand, or they would show nothing.
    assert figures["pictures taken over from a lost worker"] > 0
