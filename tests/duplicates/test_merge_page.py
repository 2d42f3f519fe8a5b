"""The page that merges, where the shop's own code or the database refuses."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models import ProtectedError
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from cardigan_reco.duplicates.listings import Listings
from cardigan_reco.models import DuplicateGroup
from tests import translations
from tests.conftest import RED, AddProduct
from tests.duplicates.rows import group_of, pair
from tests.test_admin import read
from tests.testapp.catalogue.models import Product

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("silent_doorbell")]


class Merging(Listings):
    def merge_listings(self, survivor: Any, duplicates: Any) -> None:
        Product.objects.filter(pk__in=[one.pk for one in duplicates]).update(is_public=False)


class Clashing(Merging):
    """Is refused by the database when half of the work is done."""

    def merge_listings(self, survivor: Any, duplicates: Any) -> None:
        super().merge_listings(survivor, duplicates)
        Product.objects.create(pk=survivor.pk, title="twice")


class Protected(Merging):
    """Is refused by Django, as by a foreign key with on_delete=PROTECT."""

    def merge_listings(self, survivor: Any, duplicates: Any) -> None:
        super().merge_listings(survivor, duplicates)
        raise ProtectedError("Orders keep it.", {survivor})


@pytest.fixture
def mugs(add_product: AddProduct) -> tuple[Product, Product]:
    return add_product("mug", RED), add_product("cup", RED)


@pytest.fixture
def group(mugs: tuple[Product, Product]) -> DuplicateGroup:
    return group_of(pair(*mugs))


def merge(client: Client, group: DuplicateGroup, survivor: object) -> HttpResponse:
    url = reverse("admin:cardigan_reco_duplicategroup_merge", args=[group.pk])
    return client.post(url, {"survivor": str(survivor), "version": "1"}, follow=True)


@pytest.mark.parametrize(
    ("listings", "reason"),
    [
        (Clashing, "duplicate key value violates unique constraint"),
        (Protected, "Orders keep it. "),
    ],
)
def test_what_the_database_refuses_is_told_and_logged_and_nothing_is_merged(
    admin_client: Client,
    group: DuplicateGroup,
    mugs: tuple[Product, Product],
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    listings: type[Listings],
    reason: str,
) -> None:
    use(settings, listings)
    assert f"The shop’s merge failed: {reason}" in read(merge(admin_client, group, mugs[0].pk))
    assert Product.objects.filter(is_public=True).count() == 2
    assert DuplicateGroup.objects.get(pk=group.pk).state == "open"
    assert not LogEntry.objects.exists()
    (record,) = [one for one in caplog.records if one.name.startswith("cardigan_reco.admin")]
    assert (record.levelno, record.getMessage()) == (
        logging.ERROR,
        f"Group {group.pk} could not be merged",
    )
    assert record.exc_info
    assert reason.strip() in str(record.exc_info[1])


def test_what_it_says_is_in_the_sites_language(
    admin_client: Client,
    group: DuplicateGroup,
    mugs: tuple[Product, Product],
    settings: Settings,
    tmp_path: Path,
) -> None:
    texts = {
        "Listing %(listing)r is not in group %(group)d. Choices are: %(choices)s.": (
            "Gruppe %(group)d hat %(choices)s und nicht %(listing)r."
        ),
        "The shop’s merge failed: %s": "Vom Shop: %s",
        "Merged listings %(gone)s into %(survivor)s.": "%(survivor)s nahm %(gone)s auf.",
    }
    translations.speak(settings, tmp_path, texts)
    first, second = (mug.pk for mug in mugs)
    use(settings, Protected)
    expected = f"Gruppe {group.pk} hat {first}, {second} und nicht &#x27;x&#x27;."
    assert expected in read(merge(admin_client, group, "x"))
    assert "Vom Shop: Orders keep it. " in read(merge(admin_client, group, first))
    use(settings, Merging)
    merge(admin_client, group, first)
    assert LogEntry.objects.get().change_message == f"{first} nahm {second} auf."


def use(settings: Settings, listings: type[Listings]) -> None:
    path = f"{listings.__module__}.{listings.__qualname__}"
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": {"LISTINGS": path}}
