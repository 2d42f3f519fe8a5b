"""The check of what METRICS needs."""

from __future__ import annotations

import importlib.util
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from cardigan_reco import conf

from .settings import TAG, AppConfigs


def check_metrics(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    try:
        is_wanted = conf.current().metrics
    except ImproperlyConfigured:  # Reported by check_settings.
        return []
    if not is_wanted or importlib.util.find_spec("prometheus_client") is not None:
        return []
    return [
        checks.Error(
            f"{conf.SETTING}['METRICS'] is True, but prometheus-client is not installed: nothing "
            "is measured.",
            hint="pip install 'cardigan-reco[metrics]', or set it to False.",
            id=f"{TAG}.E025",
        )
    ]
