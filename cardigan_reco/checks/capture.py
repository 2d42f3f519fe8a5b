"""Checks that the triggers of CARDIGAN_RECO["CAPTURE"] are in the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import connections, router

from cardigan_reco import capture, conf
from cardigan_reco.capture import Feed, State
from cardigan_reco.exceptions import CaptureError
from cardigan_reco.models import Embedding

from .models import check_models, models_of
from .settings import TAG, AppConfigs, Messages, unusable


def check_capture(
    app_configs: AppConfigs, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[checks.CheckMessage]:
    """Warnings, not errors: an error would keep migrate from installing them."""
    if not databases or unusable() or any(m.is_serious() for m in check_models(app_configs)):
        return []
    return [
        message
        for using in databases
        if connections[using].vendor == "postgresql"
        for model in models_of(app_configs)
        if router.allow_migrate_model(using, model)
        for message in _triggers(model, using)
    ]


def _triggers(model: type[Embedding], using: str) -> Messages:
    are_wanted = conf.current().capture == "triggers"
    where = f"The triggers of {model._meta.label} in database {using!r}"
    command = f"manage.py capture_writes {model._meta.label} --database {using}"
    try:
        found = capture.state(Feed.of(model), using=using)
    except CaptureError as error:
        if are_wanted:
            yield checks.Warning(
                f"{conf.SETTING}['CAPTURE'] is 'triggers', which {model._meta.label} can't have: "
                f"{error}",
                obj=model,
                id=f"{TAG}.W022",
            )
        return
    if found is State.OUTDATED:
        yield checks.Warning(
            f"{where} are outdated: they are not what this version would install for these "
            "tables, or are switched off.",
            hint=f"Run migrate, or {command}",
            obj=model,
            id=f"{TAG}.W020",
        )
    elif found is State.ABSENT and are_wanted:
        yield checks.Warning(
            f"{where} are not installed, although {conf.SETTING}['CAPTURE'] is 'triggers': no "
            "picture that is saved is marked.",
            hint=f"Run migrate, or {command}",
            obj=model,
            id=f"{TAG}.W020",
        )
    elif found is State.CURRENT and not are_wanted:
        yield checks.Warning(
            f"{where} are installed, although {conf.SETTING}['CAPTURE'] is 'signals': each save "
            "is marked twice, which is right and a little slower.",
            hint=f"Set CAPTURE to 'triggers', or run {command} --remove",
            obj=model,
            id=f"{TAG}.W021",
        )
