"""The system checks of CARDIGAN_RECO["DUPLICATES"]."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import checks
from pytest_django import Settings

from cardigan_reco.duplicates.listings import Listings

pytestmark = pytest.mark.django_db  # Since Django 6.1 checks ask the database.


class Misnamed(Listings):
    title_field = "name"
    category_field = "parent__name"
    parent_field = "images"
    shown_fields = ["title", "title__first"]


class Right(Listings):
    title_field = "title"
    brand_field = "parent__title"
    tenant_field = "shelf"
    parent_field = "parent"
    shown_fields = ["pk", "title"]


@pytest.fixture
def chosen(settings: Settings) -> Iterator[dict[str, Any]]:
    duplicates: dict[str, Any] = {}
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": duplicates}
    return duplicates


def found() -> list[tuple[str | None, str, str | None]]:
    messages = checks.run_checks(tags=["cardigan_reco"])
    return [(message.id, message.msg, message.hint) for message in messages]


@pytest.mark.parametrize("listings", [None, f"{__name__}.Right"])
def test_what_is_right(chosen: dict[str, Any], listings: str | None) -> None:
    if listings:
        chosen["LISTINGS"] = listings
    assert found() == []


def test_an_unknown_collection(chosen: dict[str, Any]) -> None:
    chosen["COLLECTION"] = "others"
    assert found() == [
        (
            "cardigan_reco.E016",
            "CARDIGAN_RECO['DUPLICATES']['COLLECTION']: Collection 'others' is not defined in "
            "CARDIGAN_RECO['COLLECTIONS']. Choices are: similar, posters.",
            "Name a purpose of CARDIGAN_RECO['COLLECTIONS'].",
        )
    ]


def test_a_path_that_leads_nowhere(chosen: dict[str, Any]) -> None:
    chosen["LISTINGS"] = "shop.duplicates.Listings"
    [(code, message, hint)] = found()
    assert code == "cardigan_reco.E017"
    assert message == (
        "CARDIGAN_RECO['DUPLICATES']['LISTINGS'] is 'shop.duplicates.Listings', which can't be "
        "imported: No module named 'shop'"
    )
    assert hint is not None
    assert "subclass of cardigan_reco.duplicates.listings.Listings" in hint


@pytest.mark.parametrize("path", ["tests.testapp.models.Poster", f"{__name__}.found"])
def test_what_is_no_listings(chosen: dict[str, Any], path: str) -> None:
    chosen["LISTINGS"] = path
    [(code, message, _)] = found()
    assert code == "cardigan_reco.E017"
    assert message.endswith("which is no subclass of Listings.")


def test_fields_that_are_not_there(chosen: dict[str, Any]) -> None:
    chosen["LISTINGS"] = f"{__name__}.Misnamed"
    assert {code for code, *_ in found()} == {"cardigan_reco.E018"}
    assert [message for _, message, _ in found()] == [
        "Misnamed.title_field names 'name', which is not a field of catalogue.Product: Product has "
        "no field named 'name'.",
        "Misnamed.category_field names 'parent__name', which is not a field of catalogue.Product: "
        "Product has no field named 'name'.",
        "Misnamed.parent_field names 'images', which is not a field of catalogue.Product: 'images' "
        "leads to several rows of each, where one is needed.",
        "Misnamed.shown_fields names 'title__first', which is not a field of catalogue.Product: "
        "catalogue.Product.title is no relation, so it has no field 'first'.",
    ]


def test_packages_that_are_missing(chosen: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "rapidfuzz" else find(name)
    )
    [(code, message, hint)] = found()
    assert code == "cardigan_reco.W008"
    assert message == ("Listings are to be compared, which needs rapidfuzz, not installed here.")
    assert hint is not None
    assert "pip install 'cardigan-reco[duplicates]'" in hint


def test_nothing_is_checked_where_no_duplicates_are_looked_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    missing = ("cv2", "rapidfuzz")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in missing else find(name)
    )
    assert found() == []
