"""Exceptions on their way from one process to another."""

from __future__ import annotations

import pickle

import pytest
from celery import current_app

from cardigan_reco import exceptions
from cardigan_reco.exceptions import (
    Busy,
    CardiganError,
    InvalidFilter,
    InvalidVectors,
    MissingExtra,
)

MADE_OF_MORE: list[CardiganError] = [
    Busy("Full.", 7),
    InvalidFilter("No colour.", "colour", "x"),
    InvalidVectors("Zero.", [0, 3]),
    MissingExtra("Loading weights", "torch"),
]
MADE_OF_A_MESSAGE: list[CardiganError] = [
    found("Why.")
    for found in vars(exceptions).values()
    if isinstance(found, type) and found not in map(type, MADE_OF_MORE)
]
each = pytest.mark.parametrize(
    "error", [*MADE_OF_MORE, *MADE_OF_A_MESSAGE], ids=lambda error: type(error).__name__
)


def is_same(one: Exception, other: Exception) -> bool:
    return type(one) is type(other) and str(one) == str(other) and vars(one) == vars(other)


@each
def test_pickling_keeps_all_of_it(error: CardiganError) -> None:
    assert is_same(pickle.loads(pickle.dumps(error)), error)


@each
def test_celerys_json_keeps_all_of_it(error: CardiganError) -> None:
    backend = current_app.backend
    stored = backend.encode(backend.prepare_exception(error, "json"))
    assert is_same(backend.exception_to_python(backend.decode(stored)), error)


def test_the_message_is_all_that_is_read() -> None:
    assert [str(error) for error in MADE_OF_MORE] == [
        "Full.",
        "No colour.",
        "Zero.",
        "Loading weights needs more packages: pip install 'cardigan-reco[torch]'",
    ]
