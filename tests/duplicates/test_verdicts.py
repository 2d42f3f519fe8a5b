"""Verdicts: what they change and remember, and that two people can't overwrite each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from cardigan_reco.duplicates import verdicts
from cardigan_reco.duplicates.pairs import matched
from cardigan_reco.exceptions import Conflict
from cardigan_reco.models import (
    DuplicateCheck,
    DuplicateGroup,
    DuplicatePair,
    DuplicateState,
    EncoderVersion,
)
from tests.duplicates.rows import COLLECTION, group_of, pair

pytestmark = pytest.mark.django_db

State = DuplicateState


@pytest.fixture(autouse=True)
def duplicates_are_looked_for(settings: Settings) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": {}}


def three() -> tuple[DuplicateGroup, list[DuplicatePair]]:
    pairs = [pair("1", "2"), pair("1", "3"), pair("2", "3")]
    return group_of(*pairs), pairs


def states(*pairs: DuplicatePair) -> list[str]:
    for one in pairs:
        one.refresh_from_db()
    return [one.state for one in pairs]


def fresh(group: DuplicateGroup) -> DuplicateGroup:
    return DuplicateGroup.objects.get(pk=group.pk)


@pytest.mark.parametrize(
    ("verb", "state"),
    [(verdicts.confirm, State.CONFIRMED), (verdicts.dismiss, State.DISMISSED)],
)
def test_a_verdict_is_on_all_open_pairs(verb: Callable[..., Any], state: State) -> None:
    group, pairs = three()
    verdict = verb(group.pk, version=1, reviewer="anna", note="The same mug.")

    assert states(*pairs) == [state] * 3
    assert {(one.reviewer, one.note, one.version) for one in pairs} == {
        ("anna", "The same mug.", 2)
    }
    assert {one.reviewed_at for one in pairs} == {verdict.at}
    assert pairs[0].judged == [f"{1:0>64}:{2:0>64}"]
    assert (verdict.judged, verdict.groups) == ([group.pk], [group.pk])
    now = fresh(group)
    assert (now.state, now.version, now.listings) == (state, 2, 3)


def test_what_else_matched_is_judged_as_well() -> None:
    one = pair("1", "2")
    one.evidence["others"] = [["5", "6", "a", "b"]]
    one.save()
    verdicts.dismiss(group_of(one).pk, version=1, reviewer="anna")
    one.refresh_from_db()
    assert one.judged == [f"{1:0>64}:{2:0>64}", "a:b"]


def test_what_was_compared_of_each_listing_is_judged_as_well() -> None:
    version = EncoderVersion.objects.current("default")
    first, second = pair("1", "2"), pair("3", "4")
    for number, item in enumerate("1223"):
        DuplicateCheck.objects.create(
            collection=COLLECTION,
            source_pk=number,
            item_pk=item,
            digest=f"d{number}",
            encoder_version=version,
        )
    verdicts.dismiss(group_of(first).pk, version=1, reviewer="anna")
    verdicts.confirm(group_of(second).pk, version=1, reviewer="anna")
    for one, others in ((first, ["d0:", ":d1", ":d2"]), (second, ["d3:"])):
        one.refresh_from_db()
        assert one.judged == [*matched(one.evidence), *others]


def test_one_pair_of_a_group_is_dismissed() -> None:
    group, pairs = three()
    verdict = verdicts.dismiss(group.pk, version=1, reviewer="anna", pairs=[pairs[0].pk])

    assert states(*pairs) == ["dismissed", "open", "open"]
    # 3 is like both 1 and 2, which are not one thing: two groups, and one of what was dismissed.
    assert len({one.group_id for one in pairs}) == 3
    assert verdict.groups == sorted(one.group_id for one in pairs if one.group_id)
    assert verdict.judged == [group.pk]


@pytest.mark.parametrize("verb", [verdicts.confirm, verdicts.dismiss])
def test_undo_leaves_all_as_it_was(verb: Callable[..., Any]) -> None:
    group, pairs = three()
    verdicts.confirm(group.pk, version=1, reviewer="bert", pairs=[pairs[1].pk])
    verdict = verb(group.pk, version=2, reviewer="anna")
    assert len(verdict.pairs) == 2

    undone = verdicts.undo(reviewer="anna", at=verdict.at)

    assert sorted(undone.pairs) == [pairs[0].pk, pairs[2].pk]
    assert states(*pairs) == ["open", "confirmed", "open"]
    assert pairs[0].judged == []
    assert {one.group_id for one in pairs} == {group.pk}
    assert fresh(group).state == "open"
    with pytest.raises(Conflict, match="nothing left to undo"):
        verdicts.undo(reviewer="anna", at=verdict.at)


def test_undo_leaves_what_others_have_judged_since() -> None:
    group, pairs = three()
    verdict = verdicts.dismiss(group.pk, version=1, reviewer="anna")
    verdicts.reopen(group.pk, version=2, reviewer="bert", pairs=[pairs[0].pk])
    (reopened,) = DuplicateGroup.objects.filter(state="open")
    verdicts.confirm(reopened.pk, version=reopened.version, reviewer="bert")

    verdicts.undo(reviewer="anna", at=verdict.at)

    assert states(*pairs) == ["confirmed", "open", "open"]
    for reviewer, at in [("bert", verdict.at), ("anna", verdict.at - timedelta(microseconds=1))]:
        with pytest.raises(Conflict):
            verdicts.undo(reviewer=reviewer, at=at)


def test_a_dismissed_group_is_reopened() -> None:
    group, pairs = three()
    verdicts.dismiss(group.pk, version=1, reviewer="anna", note="Two sizes.")
    verdicts.reopen(group.pk, version=2, reviewer="bert")

    assert states(*pairs) == ["open"] * 3
    assert {(one.reviewer, one.note) for one in pairs} == {("bert", "Two sizes.")}
    assert (fresh(group).state, fresh(group).version) == ("open", 3)


def test_what_was_merged_stays() -> None:
    one = pair("1", "2", state="merged")
    group = group_of(one)
    for verb in (verdicts.confirm, verdicts.dismiss, verdicts.reopen):
        with pytest.raises(Conflict, match="it is merged"):
            verb(group.pk, version=1, reviewer="anna")
    with pytest.raises(Conflict, match="merged already"):
        verdicts.choose_survivor(group.pk, "1", version=1)


def test_pairs_that_are_judged_or_elsewhere_can_not_be_named() -> None:
    group, pairs = three()
    elsewhere = pair("8", "9")
    group_of(elsewhere)
    verdicts.confirm(group.pk, version=1, reviewer="anna", pairs=[pairs[0].pk])
    for wrong in (pairs[0], elsewhere):
        with pytest.raises(Conflict, match="open any more"):
            verdicts.dismiss(group.pk, version=2, reviewer="anna", pairs=[pairs[1].pk, wrong.pk])
    assert states(*pairs, elsewhere) == ["confirmed", "open", "open", "open"]


class TestConflicts:
    def test_it_tells_who_changed_what_and_when(self) -> None:
        group, pairs = three()
        verdicts.choose_survivor(group.pk, "2", version=1)
        verdicts.confirm(group.pk, version=2, reviewer="bert")
        with pytest.raises(Conflict) as caught:
            verdicts.dismiss(group.pk, version=1, reviewer="anna")
        told = str(caught.value)
        assert told.startswith(f"Group {group.pk} has changed since you saw it, so nothing")
        assert "It is confirmed now. It was last judged by bert, " in told
        assert told.endswith("Listing 2 is to stay.")
        assert caught.value.code == "conflict"
        assert states(*pairs) == ["confirmed"] * 3

    def test_a_group_may_be_gone(self) -> None:
        for verb in (
            partial(verdicts.confirm, reviewer="anna"),
            partial(verdicts.choose_survivor, survivor_pk="1"),
        ):
            with pytest.raises(Conflict, match="Group 77 isn’t there any more"):
                verb(group_pk=77, version=1)

    @pytest.mark.django_db(transaction=True)
    def test_one_of_two_people_wins(self) -> None:
        group, pairs = three()
        start = threading.Barrier(2)
        ends: dict[str, object] = {}

        def judge(name: str, verb: Callable[..., Any]) -> None:
            start.wait(10)
            try:
                ends[name] = verb(group.pk, version=1, reviewer=name)
            except Conflict as conflict:
                ends[name] = conflict
            finally:
                connections.close_all()

        people = [
            threading.Thread(target=judge, args=("anna", verdicts.confirm)),
            threading.Thread(target=judge, args=("bert", verdicts.dismiss)),
        ]
        for person in people:
            person.start()
        for person in people:
            person.join(30)
        (loser,) = (name for name, end in ends.items() if isinstance(end, Conflict))
        winner = {"anna": "bert", "bert": "anna"}[loser]
        assert f"last judged by {winner}" in str(ends[loser])
        assert set(states(*pairs)) == {"confirmed" if winner == "anna" else "dismissed"}
        assert {(one.reviewer, one.version) for one in pairs} == {(winner, 2)}


class TestSurvivor:
    def test_it_is_chosen_and_taken_back(self) -> None:
        group, _ = three()
        assert verdicts.choose_survivor(group.pk, "3", version=1) == 2
        assert (fresh(group).survivor_pk, fresh(group).version) == ("3", 2)
        assert verdicts.choose_survivor(group.pk, "", version=2) == 3
        assert fresh(group).survivor_pk == ""
        with pytest.raises(Conflict):
            verdicts.choose_survivor(group.pk, "1", version=2)

    def test_it_is_one_of_the_group(self) -> None:
        group, _ = three()
        with pytest.raises(ValueError, match=r"'4' is not in group .* Choices are: 1, 2, 3\."):
            verdicts.choose_survivor(group.pk, "4", version=1)

    def test_it_outlasts_a_verdict(self) -> None:
        group, _ = three()
        verdicts.choose_survivor(group.pk, "3", version=1)
        verdicts.confirm(group.pk, version=2, reviewer="anna")
        assert fresh(group).survivor_pk == "3"


class TestMany:
    def test_what_has_changed_is_left_alone_and_named(self) -> None:
        first, second, third = (pair(str(n), str(n + 1)) for n in (1, 3, 5))
        groups = {group_of(one).pk: 1 for one in (first, second, third)}
        assert second.group_id is not None
        verdicts.choose_survivor(second.group_id, "3", version=1)

        verdict = verdicts.judge(State.DISMISSED, {**groups, 10**9: 1}, reviewer="anna")

        assert states(first, second, third) == ["dismissed", "open", "dismissed"]
        assert [str(conflict).split()[1] for conflict in verdict.conflicts] == [
            str(second.group_id),
            "1000000000",
        ]
        assert len(verdicts.undo(reviewer="anna", at=verdict.at).pairs) == 2
        assert states(first, second, third) == ["open"] * 3

    def test_the_number_of_statements_is_constant(self) -> None:
        def statements(*numbers: int) -> int:
            groups = {group_of(pair(str(2 * n), str(2 * n + 1))).pk: 1 for n in numbers}
            with CaptureQueriesContext(connection) as captured:
                verdict = verdicts.judge(State.CONFIRMED, groups, reviewer="anna")
            assert len(verdict.pairs) == len(numbers)
            # A value for each row in a CASE takes minutes with thousands of them.
            assert "CASE WHEN" not in str(captured.captured_queries)
            return len(captured)

        assert statements(*range(2, 40)) == statements(1)
