"""find_duplicates in real processes: killed, and run twice at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from django.db import connection, connections, transaction
from pytest_django import Settings

from cardigan_reco import duplicates
from cardigan_reco.duplicates import grouping, matching
from cardigan_reco.duplicates.listings import collection_of
from cardigan_reco.duplicates.pairs import matched
from cardigan_reco.models import DuplicateCheck, DuplicateGroup, DuplicatePair
from tests.conftest import encode_all
from tests.duplicates.shop import file_of, list_item, photo, recompressed
from tests.processes import Process, wait_until
from tests.testapp.models import ProductImageEmbedding

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("silent_doorbell"),
]
DOUBLES = 12


@pytest.fixture(autouse=True)
def plain(settings: Settings) -> None:
    chosen = {"LISTINGS": "tests.duplicates.shop.PlainListings"}
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": chosen}


@pytest.fixture
def catalogue() -> None:
    """Pairs of doubles, encoded, the second ones after all the first ones."""
    for seed in range(DOUBLES):
        list_item(f"item {seed}", file_of(photo(seed)))
    for seed in range(DOUBLES):
        list_item(f"double {seed}", recompressed(seed))
    encode_all()


FIND_IN_SMALL_STEPS = """
import django
django.setup()
from cardigan_reco import duplicates
from cardigan_reco.duplicates import finding
finding.CHUNK = 4
for progress in duplicates.find():
    print(progress.compared, flush=True)
    if progress.compared == 12 and "hang" in __import__("sys").argv:
        __import__("time").sleep(600)
"""


def test_goes_on_after_a_kill(catalogue: None, settings: Settings, tmp_path: Path) -> None:
    killed = Process(
        *["-c", FIND_IN_SMALL_STEPS, "hang"],
        log=tmp_path / "killed.log",
        CARDIGAN_RECO=settings.CARDIGAN_RECO,
    )
    wait_until(lambda: "12" in killed.output().split(), "three chunks are compared", killed)
    killed.kill()
    done = set(DuplicateCheck.objects.values_list("source_pk", "checked_at"))
    assert len(done) == 12
    *_, progress = duplicates.find()
    assert (progress.total, progress.compared, progress.found) == (12, 12, DOUBLES)
    assert done <= set(DuplicateCheck.objects.values_list("source_pk", "checked_at"))
    assert_all_found()


def assert_all_found() -> None:
    assert DuplicatePair.objects.count() == DOUBLES
    assert DuplicateGroup.objects.count() == DOUBLES
    assert DuplicateCheck.objects.count() == 2 * DOUBLES


def test_a_kill_within_a_chunk_leaves_nothing_of_it(
    catalogue: None, settings: Settings, tmp_path: Path
) -> None:
    with transaction.atomic():
        # The process gets as far as storing pairs, and waits there.
        grouping.lock(collection_of(ProductImageEmbedding), using="default")
        killed = Process(
            *["manage.py", "find_duplicates"],
            log=tmp_path / "killed.log",
            CARDIGAN_RECO=settings.CARDIGAN_RECO,
        )
        wait_until(waits_for_the_lock, "the process is about to store pairs", killed)
        killed.kill()
    assert not DuplicateCheck.objects.exists()
    *_, progress = duplicates.find()
    assert (progress.compared, progress.found) == (2 * DOUBLES, DOUBLES)
    assert_all_found()


def waits_for_the_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
            "WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
        )
        return bool(cursor.fetchone()[0])


def test_two_at_once_share_the_work(catalogue: None, settings: Settings, tmp_path: Path) -> None:
    processes = [
        Process(
            *["-c", FIND_IN_SMALL_STEPS],
            log=tmp_path / f"{name}.log",
            CARDIGAN_RECO=settings.CARDIGAN_RECO,
        )
        for name in ("one", "other")
    ]
    codes = [process.wait() for process in processes]
    assert codes == [0, 0], [process.output() for process in processes]
    compared = [int(process.output().split()[-1]) for process in processes]
    assert sum(compared) == 2 * DOUBLES
    assert_all_found()


def test_a_verdict_given_meanwhile_is_kept(
    catalogue: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person dismisses a pair while a full run compares its pictures again."""
    *_, _progress = duplicates.find()
    pair = DuplicatePair.objects.order_by("pk")[0]
    started, judged = threading.Event(), threading.Event()

    def dismiss() -> None:
        try:
            started.wait(10)
            with transaction.atomic():
                grouping.lock(pair.collection, using="default")
                DuplicatePair.objects.filter(pk=pair.pk).update(
                    state="dismissed", judged=matched(pair.evidence), version=9
                )
                grouping.refresh([pair.group_id], using="default")  # type: ignore[list-item]
        finally:
            judged.set()
            connections.close_all()

    judge = matching.judge

    def judge_late(*arguments):  # type: ignore[no-untyped-def]
        started.set()
        judged.wait(10)
        return judge(*arguments)

    monkeypatch.setattr(matching, "judge", judge_late)
    person = threading.Thread(target=dismiss)
    person.start()
    *_, _progress = duplicates.find(full=True)
    person.join()
    pair.refresh_from_db()
    assert (pair.state, pair.version) == ("dismissed", 9)
