"""The task itself; tests/test_worker.py runs it in real workers."""

from __future__ import annotations

import inspect
import re
from typing import Any, ClassVar

import pytest
from celery.schedules import crontab
from django.test import override_settings

from cardigan_reco import conf
from cardigan_reco.encoders import encoders
from cardigan_reco.encoders.dummy import DummyEncoder
from cardigan_reco.tasks import encode_pending, find_duplicates, sweep_up
from tests.conftest import GREEN, RED, AddProduct
from tests.processes import ROOT


class Cold(DummyEncoder):
    events: ClassVar[list[str]] = []

    def warm_up(self) -> None:
        self.events.append("warm")

    def vectors(self, images):  # type: ignore[no-untyped-def]
        self.events.append("encode")
        return super().vectors(images)


@pytest.mark.django_db
def test_what_waits_is_encoded_and_then_the_network_stays_warm(add_product: AddProduct) -> None:
    add_product("mug", RED, GREEN)
    backend = {"BACKEND": "tests.test_tasks.Cold", "OPTIONS": {"dimensions": 16}}
    with override_settings(CARDIGAN_RECO={"ENCODERS": {"default": backend}}):
        assert encode_pending() == 2
        assert Cold.events[:2] == ["encode", "warm"]
        assert encode_pending() == 0
    assert "encode" not in Cold.events[1:]


def test_warming_up_loads_a_network_once() -> None:
    pytest.importorskip("torch")
    with override_settings(CARDIGAN_RECO={}):
        encoder = encoders["default"]
        assert encoder._ready is None  # type: ignore[attr-defined]
        encoder.warm_up()
        loaded = encoder._ready  # type: ignore[attr-defined]
        assert loaded is not None
        encoder.warm_up()
        assert encoder._ready is loaded  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("page", "task"), [("write-paths.md", sweep_up), ("duplicates.md", find_duplicates)]
)
def test_what_the_docs_have_beat_send_arrives_at_the_workers(page: str, task: Any) -> None:
    text = (ROOT / "docs" / page).read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if "CELERY_BEAT_SCHEDULE" in block]
    settings: dict[str, Any] = {}
    exec(block, settings)
    (entry,) = settings["CELERY_BEAT_SCHEDULE"].values()
    assert entry["task"] == task.name
    inspect.signature(task.run).bind(*entry.get("args", ()))
    assert isinstance(entry["schedule"], crontab)
    assert entry["options"]["queue"] == conf.current().celery_queue
