"""System checks: `manage.py check`, and with the database `check --database default`."""

from __future__ import annotations

from django.core import checks

from .capture import check_capture
from .database import check_database
from .duplicates import check_duplicates
from .metrics import check_metrics
from .models import check_models
from .settings import TAG, check_settings
from .workers import check_workers

__all__ = [
    "check_capture",
    "check_database",
    "check_duplicates",
    "check_metrics",
    "check_models",
    "check_settings",
    "check_workers",
    "connect",
]


def connect() -> None:
    """Registers the checks with Django."""
    checks.register(check_settings, TAG)
    checks.register(check_models, TAG)
    checks.register(check_workers, TAG)
    checks.register(check_duplicates, TAG)
    checks.register(check_metrics, TAG)
    checks.register(check_database, TAG, checks.Tags.database)
    checks.register(check_capture, TAG, checks.Tags.database)
