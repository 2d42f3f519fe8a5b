"""A storage that has bad days."""

from __future__ import annotations

import time
from pathlib import Path

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage


class SleepyStorage(FileSystemStorage):
    """Takes an hour for a file whose name has "slow" in it, until a file "awake" lies there."""

    def _open(self, name: str, mode: str = "rb") -> File:
        while "slow" in name and not Path(self.location, "awake").exists():
            time.sleep(0.1)
        return super()._open(name, mode)
