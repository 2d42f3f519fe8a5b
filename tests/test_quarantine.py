"""The process that decodes what may be dangerous: as images.load() does, or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings

from cardigan_reco import images
from cardigan_reco.exceptions import ImageError
from cardigan_reco.quarantine import DecoderCrashed, DecoderHung, DecoderKilled, Quarantine
from tests.conftest import RED, jpeg
from tests.faults.conftest import DECODERS
from tests.faults.decoders.sitecustomize import CRASHES, HANGS, SWELLS
from tests.pictures import encoded, halves, noise


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Quarantine]:
    monkeypatch.syspath_prepend(str(DECODERS))
    with Quarantine() as cell:
        yield cell


def load(cell: Quarantine, data: bytes, *, seconds: float = 20) -> images.Image.Image:
    return cell.load(data, min_side=None, seconds=seconds)


def pid(cell: Quarantine) -> int:
    assert cell._process is not None
    return cell._process.pid


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("min_side", [None, 16])
def test_it_decodes_as_images_do(cell: Quarantine, format: str, min_side: int | None) -> None:
    data = encoded(noise((300, 200)), format)
    here = images.load(data, min_side=min_side)
    there = cell.load(data, min_side=min_side, seconds=20)
    assert (there.mode, there.size) == (here.mode, here.size)
    assert there.tobytes() == here.tobytes()


def test_it_refuses_as_images_do(cell: Quarantine) -> None:
    for data in (b"", b"<svg/>", jpeg()[:200]):
        with pytest.raises(ImageError) as here:
            images.load(data)
        with pytest.raises(ImageError) as there:
            load(cell, data)
        assert str(there.value) == str(here.value)


def test_it_keeps_to_the_limits_of_the_setting(cell: Quarantine) -> None:
    with (
        override_settings(CARDIGAN_RECO={"MAX_IMAGE_PIXELS": 1000}),
        pytest.raises(ImageError, match="more than the 1000 that are allowed"),
    ):
        load(cell, jpeg())


def test_one_process_serves_many_pictures(cell: Quarantine) -> None:
    load(cell, jpeg())
    first = pid(cell)
    with pytest.raises(ImageError):
        load(cell, b"no picture")
    load(cell, encoded(halves(), "PNG"))
    assert pid(cell) == first


def test_fault_40_a_crash_ends_that_process_alone(cell: Quarantine) -> None:
    with pytest.raises(DecoderCrashed, match="ended the process that decoded it: SIGSEGV"):
        load(cell, jpeg(RED, CRASHES))
    assert load(cell, jpeg()).size == (64, 64)


def test_fault_41_a_picture_that_is_never_decoded_is_killed(cell: Quarantine) -> None:
    load(cell, jpeg())
    hanging = pid(cell)
    with pytest.raises(DecoderHung, match=r"isn't decoded after 0\.5 s"):
        load(cell, jpeg(RED, HANGS), seconds=0.5)
    with pytest.raises(ProcessLookupError):
        os.kill(hanging, 0)
    assert load(cell, jpeg()).size == (64, 64)


def test_a_decoder_that_somebody_kills_is_not_the_pictures_doing(cell: Quarantine) -> None:
    load(cell, jpeg())
    threading.Timer(0.3, os.kill, [pid(cell), signal.SIGKILL]).start()
    with pytest.raises(DecoderKilled, match="was killed"):
        load(cell, jpeg(RED, HANGS))


def test_signals_to_a_whole_group_leave_it_to_its_owner(cell: Quarantine) -> None:
    load(cell, jpeg())
    process = pid(cell)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(process, number)
    assert load(cell, jpeg()).size == (64, 64)
    assert pid(cell) == process


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone limits a process's memory.")
def test_memory_without_end_is_refused(cell: Quarantine) -> None:
    with pytest.raises(ImageError, match="more memory than one of its size may"):
        load(cell, jpeg(RED, SWELLS))
    assert load(cell, jpeg()).size == (64, 64)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_the_largest_pictures_that_are_allowed_have_memory_enough(
    cell: Quarantine, format: str
) -> None:
    data = encoded(halves((5000, 5000)), format)
    assert load(cell, data).size == (5000, 5000)


def test_a_process_that_cannot_start_is_no_fault_of_the_pictures(
    cell: Quarantine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cardigan_reco.quarantine.sys.executable", "/bin/false")
    with pytest.raises(RuntimeError, match="can't be started"):
        cell.load(jpeg(RED), min_side=None, seconds=10)


def test_it_ends_with_its_owner() -> None:
    with Quarantine() as cell:
        load(cell, jpeg())
        process = pid(cell)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="It looks into /proc.")
def test_it_ends_after_an_owner_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import os, signal\n"
        "from django.conf import settings\n"
        "settings.configure(CARDIGAN_RECO={})\n"
        "from cardigan_reco.quarantine import Quarantine\n"
        "cell = Quarantine()\n"
        f"cell.load({jpeg()!r}, min_side=None, seconds=20)\n"
        "print(cell._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    owner = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert owner.returncode == -signal.SIGKILL, owner.stderr
    orphan = Path(f"/proc/{int(owner.stdout)}/stat")
    deadline = time.monotonic() + 20
    while orphan.exists() and orphan.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "The decoder is still there."
        time.sleep(0.02)


def test_it_loads_nothing_of_the_shop() -> None:
    script = "import sys, cardigan_reco.quarantine; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "PIL.Image" in done.stdout.split()
    assert not {"torch", "psycopg", "cardigan_reco.models"} & set(done.stdout.split())
