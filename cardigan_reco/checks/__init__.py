"""System checks: `manage.py check`, and with the database `check --database default`.

Their modules are imported when they run, which web servers don't.
"""

from __future__ import annotations

from typing import Any

from django.core import checks

from .settings import TAG, AppConfigs


def connect() -> None:
    """Registers the checks with Django."""
    checks.register(check_shop, TAG)
    checks.register(check_databases, TAG, checks.Tags.database)


def check_shop(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    """Checks what is configured, declared and installed."""
    from . import duplicates, metrics, models, settings, workers

    return [
        *settings.check_settings(app_configs),
        *models.check_models(app_configs),
        *workers.check_workers(app_configs),
        *duplicates.check_duplicates(app_configs),
        *metrics.check_metrics(app_configs),
    ]


def check_databases(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    """Checks the databases that are named: their server, indexes and triggers."""
    from . import capture, database

    return [
        *database.check_database(app_configs, **kwargs),
        *capture.check_capture(app_configs, **kwargs),
    ]
