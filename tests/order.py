"""The order of the tests' files, where processes take one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

LONGEST = [
    "test_browser.py",
    "training/test_train_encoder.py",
    "test_browser_duplicates.py",
    "test_indexes.py",
    "test_demo.py",
    "test_worker.py",
    "faults/test_decoders.py",
    "faults/test_workers.py",
    "training/test_evaluate_encoder.py",
    "test_browser_comparison.py",
    "test_swap.py",
    "test_recall.py",
    "test_photos.py",
    "test_chaos.py",
    "faults/test_storages.py",
    "faults/test_encoders.py",
    "test_example_shop.py",
    "duplicates/test_finding.py",
    "test_capture.py",
    "faults/test_databases.py",
    "test_benchmarks.py",
    "test_doorbell.py",
    "test_quickstart.py",
    "test_heartbeats.py",
    "test_logs.py",
    "test_neighbours.py",
]
"""What takes more than ten seconds."""


def put_longest_first(items: list[pytest.Item]) -> None:
    """Leaves no process alone with a long file at the end."""
    paths = [Path(__file__).parent / name for name in LONGEST]
    assert all(path.exists() for path in paths), "A file of LONGEST has another name now."
    turns = {path: turn for turn, path in enumerate(paths)}
    items.sort(key=lambda item: turns.get(item.path, len(turns)))
