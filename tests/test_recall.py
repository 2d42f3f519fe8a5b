"""Recall: what check_recall measures, what it advises, and what it says when it can't."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import DjangoDbBlocker, Settings

from cardigan_reco import indexes, neighbours, recall
from cardigan_reco.exceptions import IndexProblem
from cardigan_reco.models import EncoderVersion
from cardigan_reco.recall import IndexScan, Recall, Seconds
from tests import vectors
from tests.aliases import alias
from tests.processes import Process
from tests.testapp.catalogue.models import Product
from tests.testapp.models import ProductImageEmbedding
from tests.vectors import INDEX, TABLE, execute

LABEL = "testapp.ProductImageEmbedding"
ROWS = 3_000
DAMAGED = "USING hnsw (vector halfvec_ip_ops) WITH (m = 2, ef_construction = 4)"
"""A graph with so few links leads astray."""


@pytest.fixture
def table(transactional_db: None) -> Iterator[None]:
    """Gives the table its index again, whatever a test did to it."""
    yield
    vectors.clear()


@pytest.fixture
def stored(table: None) -> vectors.Vectors:
    """Vectors with their index."""
    made = vectors.clustered(ROWS)
    vectors.fill(made)
    return made


@pytest.fixture
def damaged(table: None) -> vectors.Vectors:
    """Vectors with an index that doesn't find them."""
    made = vectors.clustered(ROWS)
    vectors.fill(made, index=DAMAGED)
    return made


def check(*arguments: str, **options: object) -> str:
    """Returns what the command wrote to stdout."""
    output = io.StringIO()
    call_command("check_recall", LABEL, *arguments, stdout=output, stderr=io.StringIO(), **options)
    return output.getvalue()


def measured(*arguments: str) -> dict[str, dict[str, object]]:
    """Returns what the command measured, by name; low recall is none of its business."""
    [report] = json.loads(check(*arguments, "--json", "--floor=0.01"))
    return {one["name"]: one for one in report["measured"]}


def scan(limit: int = 20, queries: int = 50) -> IndexScan:
    pictures = recall.sample(ProductImageEmbedding, queries, seed=0, using="default")
    return IndexScan(
        ProductImageEmbedding, pictures, limit=limit, timeout_seconds=60, using="default"
    )


class TestMeasured:
    def test_all_is_found_where_all_is_compared(self, table: None) -> None:
        vectors.fill(vectors.clustered(440))
        found = measured("--queries=30")
        assert list(found) == [
            "index alone, ef_search 50",
            "everything",
            "candidates()",
            "10% of candidates()",
        ]
        assert [one["recall"] for one in found.values()] == [1.0] * 4
        assert [one["full_pages"] for one in found.values()] == [30] * 4
        assert [one["high"] for one in found.values()] == [1.0] * 4

    def test_the_index_by_itself_as_numpy_counts(self, damaged: vectors.Vectors) -> None:
        pictures = recall.sample(ProductImageEmbedding, 40, seed=0, using="default")
        shares = []
        for picture in pictures:
            near = damaged @ damaged[picture.pk - 1]
            near[picture.pk - 1] = -np.inf
            right = set((np.argsort(-near)[:20] + 1).tolist())
            shares.append(len(right & nearest_by_index(picture.pk, ef_search=40, limit=20)) / 20)
        one = scan(queries=40).measure(40)
        assert one.recall == pytest.approx(np.mean(shares), abs=0.01)  # Halves lie very near.
        assert 0.1 < one.recall < 0.9
        assert one.low < one.recall < one.high

    def test_more_candidates_find_more(self, damaged: vectors.Vectors) -> None:
        one = scan()
        recalls = [one.measure(ef_search).recall for ef_search in (20, 100, 1000)]
        assert recalls == sorted(recalls)
        assert recalls[0] < recalls[-1] - 0.1

    @pytest.mark.parametrize("limit", [1, 20, 100])
    def test_the_index_gets_as_many_candidates_as_a_search_gives_it(
        self, stored: vectors.Vectors, limit: int
    ) -> None:
        given: list[str] = []

        def watch(run, sql, params, many, context):  # type: ignore[no-untyped-def]
            given.extend(re.findall(r"hnsw\.ef_search = '(\d+)'", sql))
            return run(sql, params, many, context)

        with connection.execute_wrapper(watch):
            neighbours.nearest(
                ProductImageEmbedding,
                neighbours.of_source(ProductImageEmbedding, 1, "default"),
                candidates=Product.objects.all(),
                excluded=[1],
                limit=limit,
                using="default",
            )
        assert scan(limit=limit, queries=2).measure().name == f"index alone, ef_search {given[0]}"

    def test_without_an_index(self, table: None) -> None:
        vectors.fill(vectors.clustered(400), index=None)
        found = measured("--queries=10", "--share=0.5")
        assert list(found) == ["everything", "candidates()", "50% of candidates()"]
        with pytest.raises(IndexProblem, match=f"No index serves the searches of {LABEL}"):
            scan().measure()

    def test_pictures_that_are_alike_are_as_good_as_each_other(self, table: None) -> None:
        vectors.fill(np.repeat(vectors.clustered(1), 400, axis=0))
        assert {one["recall"] for one in measured("--queries=10").values()} == {1.0}

    def test_fault_51_other_versions_of_the_encoder_are_not_compared(
        self, stored: vectors.Vectors
    ) -> None:
        """Half of the table is encoded anew, by an encoder whose vectors lie elsewhere."""
        version = EncoderVersion.objects.create(
            encoder="default", fingerprint="next", backend="none", dimensions=16
        )
        execute(
            f"UPDATE {TABLE} SET encoder_version_id = %s WHERE source_id > %s",
            [version.pk, ROWS // 2],
        )
        vectors.count()
        picture = recall.Picture(pk=1, item_pk=1)
        one = recall.served(
            ProductImageEmbedding,
            Product.objects.filter(pk__gt=ROWS // 4),  # All of them are of the next version.
            [picture, recall.Picture(pk=ROWS, item_pk=ROWS // 2)],
            name="the next version",
            limit=20,
            timeout_seconds=60,
            using="default",
        )
        assert one.queries == 1  # Around the first picture there is nothing to compare with.
        assert one.recall > 0.9

    def test_the_sample_is_the_same_for_the_same_seed(self, stored: vectors.Vectors) -> None:
        draw = [
            [picture.pk for picture in recall.sample(
                ProductImageEmbedding, 50, seed=seed, using="default"
            )]
            for seed in (1, 1, 2)
        ]  # fmt: skip
        assert draw[0] == draw[1]
        assert len(set(draw[0])) == 50
        assert len(set(draw[0]) & set(draw[2])) < 10
        assert max(draw[0]) > ROWS // 2

    def test_shelves_leave_out_the_item_itself(self, stored: vectors.Vectors) -> None:
        """Each product has two pictures; the other one would be an answer to the first."""
        found = measured("--queries=20", "--limit=1", "--filter=pk=7")
        assert found["pk=7"]["queries"] == len(
            [
                picture
                for picture in recall.sample(ProductImageEmbedding, 20, seed=0, using="default")
                if picture.item_pk != 7
            ]
        )


def nearest_by_index(pk: int, *, ef_search: int, limit: int) -> set[int]:
    """Asks the index with SQL of the test's own."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT '[1]'::vector")
        cursor.execute(f"SET hnsw.ef_search = {ef_search}")
        cursor.execute("SET enable_seqscan = off")
        try:
            cursor.execute(
                f"SELECT source_id FROM {TABLE} ORDER BY vector <#> "
                f"(SELECT vector FROM {TABLE} WHERE source_id = %s) LIMIT %s",
                [pk, limit + 1],
            )
            keys = [key for (key,) in cursor.fetchall() if key != pk]
        finally:
            cursor.execute("RESET hnsw.ef_search")
            cursor.execute("RESET enable_seqscan")
    return set(keys[:limit])


class TestParts:
    def test_filters_of_the_shops_own(self, stored: vectors.Vectors) -> None:
        found = measured(
            "--queries=20", "--filter=shelf=3", "--filter=shelf__lte=1&title__contains=00"
        )
        assert found["shelf=3"]["recall"] == 1.0
        assert found["shelf=3"]["full_pages"] == found["shelf=3"]["queries"] == 20
        assert found["shelf__lte=1&title__contains=00"]["recall"] == 1.0

    def test_shares(self, stored: vectors.Vectors) -> None:
        found = measured("--queries=20", "--share=0.5", "--share=0.004")
        assert list(found)[-2:] == ["50% of candidates()", "0.4% of candidates()"]
        # Six products: the page is as full as can be.
        assert found["0.4% of candidates()"]["recall"] == 1.0
        assert found["0.4% of candidates()"]["full_pages"] == 20

    def test_a_stretch_has_the_size_that_was_asked_for(self, stored: vectors.Vectors) -> None:
        everything = Product.objects.all()
        for share, size in ((1, 1500), (0.1, 150), (0.001, 2), (0.0001, 1)):
            part = recall.stretch(everything, share, seed=5)
            assert part.count() == size
        first = recall.stretch(everything, 0.1, seed=1).values_list("pk", flat=True)
        other = recall.stretch(everything, 0.1, seed=2).values_list("pk", flat=True)
        assert list(first) != list(other)
        assert not recall.stretch(Product.objects.none(), 0.1, seed=1)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("shelf", "--filter 'shelf' is not FIELD=VALUE, such as category=3."),
            ("colour=red", "--filter 'colour=red': Product has no field named 'colour' Fields of"),
            ("shelf=top", "Filter 'shelf' can't be 'top'."),
            ("shelf=1000", "There is nothing to find in: shelf=1000."),
        ],
    )
    def test_filters_that_can_not_be(
        self, stored: vectors.Vectors, text: str, message: str
    ) -> None:
        with pytest.raises(CommandError, match=re.escape(message)):
            check("--queries=5", f"--filter={text}")


class TestLow:
    def test_is_told_with_what_to_do(self, damaged: vectors.Vectors) -> None:
        output = io.StringIO()
        with pytest.raises(CommandError) as caught:
            call_command("check_recall", LABEL, "--queries=50", stdout=output, stderr=output)
        assert caught.value.returncode == 2
        assert re.match(
            rf"{LABEL}: recall is below 0\.95: 0\.\d{{3}} in index alone, ef_search 50; "
            r"0\.\d{3} in everything",
            str(caught.value),
        )
        lines = output.getvalue().splitlines()
        assert f"{LABEL}: 3,000 pictures, {INDEX}, EF_SEARCH 50; 50 queries" in lines
        hint = next(line for line in lines if line.startswith("To do: "))
        assert f"Rebuild the index: manage.py build_index {LABEL} --database default" in hint

    def test_raising_ef_search_is_advised_where_it_helps(
        self, table: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vectors.fill(
            vectors.clustered(ROWS),
            index="USING hnsw (vector halfvec_ip_ops) WITH (m = 4, ef_construction = 16)",
        )
        one = scan(queries=100)
        alone = one.measure()
        better = one.measure(512)
        assert alone.recall < better.recall
        health = indexes.health(ProductImageEmbedding, using="default")
        [hint] = recall.advise([], alone, health, floor=better.recall, scan=one.measure)
        assert re.match(
            r"Raise EF_SEARCH to (100|200|400|800): the index by itself then reaches \d\.\d{3} "
            rf"in place of {alone.recall:.3f}, at ",
            hint,
        )
        # A collection's own number comes before that of all.
        monkeypatch.setattr(ProductImageEmbedding, "ef_search", 20)
        assert one.measure().name == "index alone, ef_search 50"
        monkeypatch.setattr(ProductImageEmbedding, "ef_search", 90)
        assert one.measure().name == "index alone, ef_search 90"
        [hint] = recall.advise([], alone, health, floor=better.recall, scan=one.measure)
        assert re.match(r"Raise testapp\.ProductImageEmbedding\.ef_search to (180|360|720): ", hint)

    def test_a_process_ends_with_2(self, damaged: vectors.Vectors, tmp_path: Path) -> None:
        arguments = ["-m", "django", "check_recall", LABEL, "--queries=20"]
        process = Process(*arguments, log=tmp_path / "log")
        assert process.wait() == 2
        assert f"CommandError: {LABEL}: recall is below 0.95: " in process.output()

    def test_the_floor_is_what_one_says(self, damaged: vectors.Vectors) -> None:
        assert "To do" not in check("--queries=20", "--floor=0.01")

    def test_searches_that_take_too_long(
        self, stored: vectors.Vectors, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Far too long: after one that ends within microseconds of its limit, PostgreSQL may cancel
        # the next statement of the connection, whatever that is.
        few = Product.objects.filter(pk__lte=60).extra(where=["pg_sleep(0.005) IS NOT NULL"])
        monkeypatch.setattr(ProductImageEmbedding, "candidates", lambda: few)
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH_TIMEOUT_SECONDS": 0.05}
        output = io.StringIO()
        with pytest.raises(CommandError) as caught:
            call_command("check_recall", LABEL, "--queries=4", stdout=output, stderr=output)
        assert "recall is below" in str(caught.value)
        assert re.search(r"^candidates\(\) .*  4 timed out$", output.getvalue(), re.MULTILINE)
        assert "searches took longer than SEARCH_TIMEOUT_SECONDS, 0.05, and found nothing" in (
            output.getvalue()
        )

    def test_where_the_plan_fails(self, stored: vectors.Vectors) -> None:
        health = indexes.health(ProductImageEmbedding, using="default")
        shelves = replace(GOOD, name="shelf=3", recall=0.5)
        [hint] = recall.advise([GOOD, shelves], GOOD, health, floor=0.95, scan=lambda _ef: GOOD)
        assert hint == (
            "The index by itself reaches 0.990, so the plan is what fails in: shelf=3. ANALYZE the "
            "tables that the filter reads, then raise EXACT_ROWS, now 12,000, so that such filters "
            "are compared exactly."
        )

    def test_what_the_report_says_comes_first(self, stored: vectors.Vectors) -> None:
        execute(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)")
        execute(f"DELETE FROM {TABLE} WHERE source_id % 2 = 0")
        vectors.count()
        health = indexes.health(ProductImageEmbedding, using="default")
        bad = replace(GOOD, recall=0.5)
        hints = recall.advise([bad], bad, health, floor=0.95, scan=lambda _ef: bad)
        assert hints[0].startswith("50% of the rows are dead: manage.py build_index")
        assert hints[1].startswith("No EF_SEARCH helps: 1000 reaches 0.500.")

    def test_nothing_to_do(self, stored: vectors.Vectors) -> None:
        health = indexes.health(ProductImageEmbedding, using="default")
        assert recall.advise([GOOD], GOOD, health, floor=0.99, scan=lambda _ef: GOOD) == []


GOOD = Recall(
    name="everything",
    queries=100,
    limit=20,
    recall=0.99,
    low=0.98,
    high=1.0,
    full_pages=100,
    timed_out=0,
    searched=Seconds(0.001, 0.002),
    exact=Seconds(0.01, 0.02),
)


class TestInterval:
    def test_without_spread_a_query_counts_once(self) -> None:
        low, high = recall.wilson([1.0] * 200, 20)
        assert low == pytest.approx(200 / (200 + 1.96**2))  # Wilson's for 200 of 200.
        assert high == 1.0

    def test_independent_answers_count_each(self) -> None:
        random = np.random.default_rng(4)
        shares = (random.binomial(20, 0.9, size=400) / 20).tolist()
        low, high = recall.wilson(shares, 20)
        assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.9 * 0.1 / 8000), rel=0.15)

    def test_answers_that_fail_together_widen_it(self) -> None:
        together = recall.wilson([0.0, 1.0, 1.0, 1.0] * 50, 20)
        apart = recall.wilson([0.7, 0.75, 0.75, 0.8] * 50, 20)
        assert together[1] - together[0] > 3 * (apart[1] - apart[0])

    @pytest.mark.parametrize("concentration", [1, 10])
    def test_covers_the_truth_95_times_of_100(self, concentration: int) -> None:
        random = np.random.default_rng(5)
        covered = 0
        for _ in range(1_000):
            truth = random.beta(0.9 * concentration, 0.1 * concentration, size=100)
            shares = random.binomial(20, truth) / 20
            low, high = recall.wilson(shares.tolist(), 20)
            covered += low <= 0.9 <= high
        assert covered >= 930

    def test_stays_between_0_and_1(self) -> None:
        assert recall.wilson([0.0], 20)[0] == 0.0
        assert recall.wilson([1.0], 20)[1] == 1.0


class TestCommand:
    def test_json(self, stored: vectors.Vectors) -> None:
        [report] = json.loads(check("--queries=10", "--json", "--seed=3"))
        assert report["collection"] == LABEL
        assert report["state"] == "valid"
        assert (report["floor"], report["seed"], report["ef_search"]) == (0.95, 3, 50)
        assert report["advice"] == []
        one = report["measured"][0]
        assert (one["queries"], one["limit"], one["timed_out"]) == (10, 20, 0)
        assert one["low"] <= one["recall"] <= one["high"]
        assert 0 < one["searched"]["median"] <= one["searched"]["p95"]

    def test_the_table(self, stored: vectors.Vectors) -> None:
        lines = check("--queries=10", "--share=0.1").splitlines()
        assert lines[0] == f"{LABEL}: 3,000 pictures, {INDEX}, EF_SEARCH 50; 10 queries"
        assert lines[1].split()[:3] == ["searched", "in", "recall@20"]
        assert [line.rpartition("  1.0000  ")[0].strip() for line in lines[3:]] == [
            "everything",
            "candidates()",
            "10% of candidates()",
        ]

    def test_without_a_name_what_serves_and_has_vectors(self, stored: vectors.Vectors) -> None:
        output, errors = io.StringIO(), io.StringIO()
        call_command("check_recall", "--json", queries=5, stdout=output, stderr=errors)
        assert [one["collection"] for one in json.loads(output.getvalue())] == [LABEL]
        assert "testapp.PosterEmbedding has no vectors yet: run encode_images." in errors.getvalue()

    def test_no_vectors_yet(self, db: None) -> None:
        with pytest.raises(CommandError, match=f"{LABEL} has no vectors yet: run encode_images"):
            check()

    def test_no_collections(self, db: None, settings: Settings) -> None:
        settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "COLLECTIONS": {}}
        with pytest.raises(CommandError, match="COLLECTIONS names no collection"):
            call_command("check_recall")

    def test_an_unknown_collection(self) -> None:
        with pytest.raises(CommandError, match="Collection 'other' is not defined"):
            call_command("check_recall", "other")

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("--queries=0", "'0' is not a whole number from 1 to 100000"),
            ("--limit=101", "'101' is not a whole number from 1 to 100"),
            ("--floor=0", "'0' is not a number above 0 and up to 1"),
            ("--share=2", "'2' is not a number above 0 and up to 1"),
            ("--share=nan", "'nan' is not a number above 0 and up to 1"),
            ("--timeout=soon", "'soon' is not a number of seconds from 0.001 to 86400"),
            ("--timeout=inf", "'inf' is not a number of seconds from 0.001 to 86400"),
        ],
    )
    def test_options_out_of_range(self, option: str, message: str) -> None:
        with pytest.raises(CommandError, match=message):
            check(option)

    def test_writes_nothing(
        self, stored: vectors.Vectors, django_db_blocker: DjangoDbBlocker
    ) -> None:
        """A replica refuses every write, which this alias does as well."""
        options = {
            **connection.settings_dict["OPTIONS"],
            "options": "-c default_transaction_read_only=on",
        }
        with django_db_blocker.unblock(), alias("replica", OPTIONS=options):
            with pytest.raises(Exception, match="read-only transaction"):
                Product.objects.using("replica").create(title="new")
            output = check("--queries=10", database="replica")
        assert "\neverything " in output

    def test_a_comparison_that_takes_too_long(self, stored: vectors.Vectors) -> None:
        with pytest.raises(
            CommandError,
            match=rf"Comparing a picture with all of {LABEL} took longer than 0\.001 s\. Give it "
            "more by --timeout, or ask a replica by --database",
        ):
            check("--timeout=0.001")

    def test_leaves_the_connection_as_it_was(self, stored: vectors.Vectors) -> None:
        names = ("enable_seqscan", "enable_sort", "enable_indexscan", "statement_timeout")
        before = [vectors.value(f"SHOW {name}") for name in names]
        check("--queries=5")
        assert [vectors.value(f"SHOW {name}") for name in names] == before
        assert vectors.value("SHOW hnsw.ef_search") == "40"
