"""Checks of what encodes: the encoders' packages, Celery and its pool."""

from __future__ import annotations

import importlib.util
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from cardigan_reco import conf, doorbell
from cardigan_reco.encoders import encoders
from cardigan_reco.encoders.base import Encoder
from cardigan_reco.exceptions import CardiganError

from .models import models_of
from .settings import TAG, AppConfigs, Messages

EXTRAS = {"torch": "torch", "torchvision": "torch", "safetensors": "torch"}
"""Package -> the extra of ours that installs it."""


def check_workers(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    return list(_workers(app_configs))


def _workers(app_configs: AppConfigs) -> Messages:
    used = sorted({model.encoder for model in models_of(app_configs)})
    try:
        built = {alias: encoders[alias] for alias in used}
    except (CardiganError, ImproperlyConfigured):
        return  # Reported by check_settings or check_models.
    for alias, encoder in built.items():
        yield from _packages(alias, encoder)
    yield from _photos()
    if not doorbell.celery_is_installed():
        yield checks.Warning(
            "Celery is not installed: saved pictures wait until encode_images runs.",
            hint="pip install 'cardigan-reco[celery]', or run encode_images from cron and "
            "silence this check.",
            id=f"{TAG}.W004",
        )
        return
    on_cuda = [alias for alias, encoder in built.items() if encoder.uses_cuda]
    if on_cuda and _pool() == "prefork":
        yield checks.Warning(
            f"Encoder {on_cuda[0]!r} runs on CUDA, and Celery's worker pool is prefork: such a "
            "worker refuses to start.",
            hint="Start it with --pool=solo, one for each GPU, or set worker_pool = 'solo'.",
            id=f"{TAG}.W002",
        )


def _photos() -> Messages:
    if conf.current().photo_search.encode_in != "worker":
        return
    if not doorbell.celery_is_installed():
        yield checks.Error(
            f"{conf.SETTING}['SEARCH'] says that workers encode photos, but Celery is not "
            "installed, without which none is sent to them.",
            hint="pip install 'cardigan-reco[celery]', or set ENCODE_IN to 'process'.",
            id=f"{TAG}.E028",
        )
    elif not _has_result_backend():
        yield checks.Error(
            f"{conf.SETTING}['SEARCH'] says that workers encode photos, but Celery has no result "
            "backend that could bring their answers.",
            hint="Set result_backend, to Redis for instance, or ENCODE_IN to 'process'.",
            id=f"{TAG}.E015",
        )
    elif _keeps_arguments():
        yield checks.Error(
            f"{conf.SETTING}['SEARCH'] says that workers encode photos, and Celery's "
            "result_extended keeps what a task is given, which is the shopper's photo.",
            hint="Set result_extended to False, or ENCODE_IN to 'process'.",
            id=f"{TAG}.E032",
        )


def _has_result_backend() -> bool:
    from celery import current_app

    return current_app.conf.result_backend not in (None, "disabled", "disabled://")


def _keeps_arguments() -> bool:
    from celery import current_app

    return bool(current_app.conf.result_extended)


def _packages(alias: str, encoder: Encoder) -> Messages:
    missing = [name for name in encoder.requires if importlib.util.find_spec(name) is None]
    if missing:
        wanted = sorted({_installable(name) for name in missing})
        yield checks.Warning(
            f"Encoder {alias!r} needs {', '.join(missing)}, not installed here.",
            hint=f"pip install {' '.join(wanted)} where pictures are encoded; elsewhere silence "
            "this check.",
            id=f"{TAG}.W003",
        )


def _installable(package: str) -> str:
    return f"'cardigan-reco[{EXTRAS[package]}]'" if package in EXTRAS else package


def _pool() -> str:
    from celery import current_app

    return str(current_app.conf.worker_pool)
