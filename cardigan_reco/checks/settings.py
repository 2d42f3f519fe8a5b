"""Checks of CARDIGAN_RECO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps.config import AppConfig
from django.core import checks

from cardigan_reco import collection, conf

TAG = "cardigan_reco"
Messages = Iterator[checks.CheckMessage]
AppConfigs = Sequence[AppConfig] | None


def check_settings(app_configs: AppConfigs, **kwargs: Any) -> list[checks.CheckMessage]:
    return list(_settings())


def _settings() -> Messages:
    for problem in conf.problems():
        yield checks.Error(problem.message, hint=problem.hint, id=f"{TAG}.{problem.code}")
    if unusable():
        return
    for purpose, label in conf.current().collections.items():
        try:
            collection.labelled(label)
        except LookupError as error:
            yield checks.Error(
                f"{conf.SETTING}['COLLECTIONS'][{purpose!r}]: {error.args[0]}",
                hint="Name a subclass of cardigan_reco.models.Embedding as 'app.Model'.",
                id=f"{TAG}.E003",
            )


def unusable() -> bool:
    """Whether the setting is so wrong that nothing that reads it can be checked."""
    return any(problem.is_fatal for problem in conf.problems())
