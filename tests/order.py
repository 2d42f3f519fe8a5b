"""The order of the tests' files, where processes take one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

LONGEST = [
    "training/test_train_encoder.py",
    "test_browser.py",
    "test_browser_duplicates.py",
    "faults/test_workers.py",
    "faults/test_decoders.py",
    "test_worker.py",
    "test_indexes.py",
    "test_demo.py",
    "faults/test_storages.py",
    "test_recall.py",
    "training/test_evaluate_encoder.py",
    "test_browser_comparison.py",
    "test_photos.py",
    "test_swap.py",
    "test_chaos.py",
    "duplicates/test_candidates.py",
    "test_heartbeats.py",
    "faults/test_encoders.py",
    "faults/test_databases.py",
    "test_benchmarks.py",
    "test_example_shop.py",
    "test_neighbours.py",
    "test_logs.py",
    "test_doorbell.py",
    "duplicates/test_finding.py",
    "test_quickstart.py",
    "test_capture.py",
]
"""What takes more than ten seconds."""


def put_longest_first(items: list[pytest.Item]) -> None:
    """Leaves no process alone with a long file at the end."""
    paths = [Path(__file__).parent / name for name in LONGEST]
    assert all(path.exists() for path in paths), "A file of LONGEST has another name now."
    turns = {path: turn for turn, path in enumerate(paths)}
    items.sort(key=lambda item: turns.get(item.path, len(turns)))
