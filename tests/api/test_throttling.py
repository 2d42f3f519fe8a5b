"""Who counts as a client, and how often one may ask."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django import Settings
from rest_framework.test import APIRequestFactory

from cardigan_reco.api import throttling
from cardigan_reco.api.throttling import ClientThrottle

pytestmark = pytest.mark.django_db


def statuses(client: Client, count: int, **options: Any) -> list[int]:
    return [client.get("/visual/0/similar/", **options).status_code for _ in range(count)]


def test_a_refusal_says_when_to_come_again(client: Client, settings: Settings) -> None:
    settings.REST_FRAMEWORK = {"DEFAULT_THROTTLE_RATES": {"similar": "2/min"}}
    assert statuses(client, 3) == [404, 404, 429]
    response = client.get("/visual/0/similar/")
    assert response.json()["code"] == "throttled"
    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert response.json()["request_id"] == response.headers["X-Request-ID"]


def test_the_shop_can_lift_the_limit(client: Client, settings: Settings) -> None:
    settings.REST_FRAMEWORK = {"DEFAULT_THROTTLE_RATES": {"similar": None}}
    assert set(statuses(client, 700)) == {404}


def test_scopes_are_counted_apart(client: Client, settings: Settings) -> None:
    settings.REST_FRAMEWORK = {
        "DEFAULT_THROTTLE_RATES": {"similar": "1/min", "photo_search": "1/m"}
    }
    assert statuses(client, 2) == [404, 429]
    sent = [client.post("/visual/search/").status_code for _ in range(2)]
    assert sent == [400, 429]


def test_addresses_behind_known_proxies_are_clients(client: Client, settings: Settings) -> None:
    settings.REST_FRAMEWORK = {
        "NUM_PROXIES": 1,
        "DEFAULT_THROTTLE_RATES": {"similar": "1/min"},
    }
    first = {"X-Forwarded-For": "forged, 192.0.2.1"}
    assert statuses(client, 2, headers=first) == [404, 429]
    assert statuses(client, 1, headers={"X-Forwarded-For": "192.0.2.2"}) == [404]
    assert statuses(client, 1, headers={"X-Forwarded-For": "other, 192.0.2.1"}) == [429]


def test_a_header_that_is_not_believed_is_logged_once(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    throttling._warn_of_proxies.cache_clear()
    with caplog.at_level(logging.WARNING, "cardigan_reco"):
        statuses(client, 3, headers={"X-Forwarded-For": "192.0.2.1"})
    told = [record for record in caplog.records if record.name.startswith("cardigan_reco")]
    assert len(told) == 1
    assert "NUM_PROXIES" in told[0].message


def test_a_scope_of_the_shops_needs_a_rate() -> None:
    class View:
        throttle_scope = "mine"

    request = APIRequestFactory().get("/")
    with pytest.raises(ImproperlyConfigured, match="No default throttle rate set for 'mine'"):
        ClientThrottle().allow_request(request, View())  # type: ignore[arg-type]
