"""The page that merges, where the shop's own code or the database refuses."""

from __future__ import annotations

import logging
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
from tests.conftest import RED, AddProduct
from tests.duplicates.rows import group_of, pair
from tests.test_admin import read
from tests.testapp.catalogue.models import Product

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("silent_doorbell")]


class Clashing(Listings):
    """Is refused by the database when half of the work is done."""

    def merge_listings(self, survivor: Any, duplicates: Any) -> None:
        Product.objects.filter(pk__in=[one.pk for one in duplicates]).update(is_public=False)
        Product.objects.create(pk=survivor.pk, title="twice")


class Protected(Listings):
    """Is refused by Django, as by a foreign key with on_delete=PROTECT."""

    def merge_listings(self, survivor: Any, duplicates: Any) -> None:
        Product.objects.filter(pk__in=[one.pk for one in duplicates]).update(is_public=False)
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


def use(settings: Settings, listings: type[Listings]) -> None:
    path = f"{listings.__module__}.{listings.__qualname__}"
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": {"LISTINGS": path}}
