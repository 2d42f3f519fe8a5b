"""The tests' shop while it swaps its encoder: a second table beside the one that serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.apps import apps as registry
from django.conf import settings
from django.db import connection
from django.test import override_settings

from cardigan_reco import collection

OLD, NEW = "testapp.ProductImageEmbedding", "swapping.ProductImageEmbeddingV2"
NEXT = {"BACKEND": "tests.swapping.encoders.BrightnessEncoder", "OPTIONS": {"state": "1"}}


def setting(**changed: Any) -> dict[str, Any]:
    """Returns CARDIGAN_RECO with both encoders."""
    given = settings.CARDIGAN_RECO
    return {**given, "ENCODERS": {**given["ENCODERS"], "next": NEXT}, **changed}


@contextmanager
def second_table_declared() -> Iterator[type[Any]]:
    apps = [*settings.INSTALLED_APPS, "tests.swapping"]
    with override_settings(INSTALLED_APPS=apps, CARDIGAN_RECO=setting()):
        _forget_models()
        from .models import ProductImageEmbeddingV2

        with connection.schema_editor() as editor:
            editor.create_model(ProductImageEmbeddingV2)
        yield ProductImageEmbeddingV2
        if not connection.in_atomic_block:  # Otherwise it goes with the test's transaction.
            with connection.schema_editor() as editor:
                editor.delete_model(ProductImageEmbeddingV2)
    _forget_models()


@contextmanager
def second_table_unknown() -> Iterator[None]:
    """Lets the class be gone, and its table stay: so it is to a process with other code."""
    apps = [app for app in settings.INSTALLED_APPS if app != "tests.swapping"]
    with override_settings(INSTALLED_APPS=apps):
        registry.clear_cache()  # Models still know what points to them.
        _forget_models()
        yield
    _forget_models()


def _forget_models() -> None:
    collection.models.cache_clear()
    collection.steps_through.cache_clear()


@pytest.fixture
def second_table(db: None) -> Iterator[type[Any]]:
    """The model of the second table, which is empty; saves write to both from now on."""
    with second_table_declared() as model:
        yield model


def with_weights(state: str) -> dict[str, Any]:
    """Returns CARDIGAN_RECO with the second table's encoder in another state."""
    given = settings.CARDIGAN_RECO
    changed = {**NEXT, "OPTIONS": {"state": state}}
    return {**given, "ENCODERS": {**given["ENCODERS"], "next": changed}}
