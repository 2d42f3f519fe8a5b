"""Benchmarks start, also those that no other test runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import postgres

FOLDER = Path(__file__).parent.parent / "benchmarks"
STARTED_BY_OTHERS = ["chaos_writer.py"]
"""These are given settings, and run in the tests of those."""

# Each sets up a Django of its own, in a fork of a process that has the libraries which most need.
# Not torch: with it each end takes a second.
HELP = """
import os, runpy, sys
import celery, django.contrib.admin, numpy, psycopg

for script in sys.argv[1:]:
    child = os.fork()
    if not child:
        sys.argv = [script, "--help"]
        sys.path[0] = os.path.dirname(script)
        runpy.run_path(script, run_name="__main__")
        sys.exit("It does without --help.")
    if os.waitpid(child, 0)[1]:
        sys.exit(script)
"""


def scripts() -> list[str]:
    """Returns those that have a command line."""
    texts = {path: path.read_text() for path in sorted(FOLDER.glob("*.py"))}
    return [
        str(path)
        for path, text in texts.items()
        if "__main__" in text
        and ("ArgumentParser(" in text or "side_by_side.parser(" in text)
        and path.name not in STARTED_BY_OTHERS
    ]


def test_each_says_what_its_options_are() -> None:
    pytest.importorskip("torch")
    asked = scripts()
    finished = subprocess.run(
        [sys.executable, "-c", HELP, *asked],
        env={**os.environ, "DATABASE_URL": postgres.url(), "DJANGO_SETTINGS_MODULE": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("usage: ") == len(asked) > 20
