"""The command find_duplicates and its task: what they take and say."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from cardigan_reco.models import DuplicatePair
from cardigan_reco.tasks import find_duplicates as task
from tests.conftest import encode_all
from tests.duplicates.shop import file_of, list_item, photo, recompressed
from tests.testapp.catalogue.models import Product

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("silent_doorbell"),
]


@pytest.fixture(autouse=True)
def plain(settings: Settings) -> None:
    chosen = {"LISTINGS": "tests.duplicates.shop.PlainListings"}
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": chosen}


@pytest.fixture(autouse=True)
def catalogue() -> None:
    for title, shelf in [("mug", 1), ("cup", 2), ("bowl", 3)]:
        list_item(title, recompressed(1, 80 + shelf), shelf=shelf)
    list_item("vase", file_of(photo(2)), shelf=3)
    encode_all()


def run(*arguments: str) -> tuple[list[str], str]:
    """Runs the command; returns the lines of its output, and what it wrote to stderr."""
    output, errors = io.StringIO(), io.StringIO()
    call_command("find_duplicates", *arguments, stdout=output, stderr=errors)
    return output.getvalue().splitlines(), errors.getvalue()


def test_it_compares_what_is_new_with_a_progress_bar() -> None:
    lines, errors = run()
    assert lines == ["4 pictures compared, 3 pairs found."]
    assert "4/4" in errors
    assert run()[0] == ["0 pictures compared, 0 pairs found."]


def test_full_compares_all_again() -> None:
    run()
    Product.objects.get(title="bowl").delete()
    assert run("--full")[0] == ["3 pictures compared, 0 pairs found, 2 no longer found."]


def test_min_probability_reports_what_is_surer_alone() -> None:
    run()
    lines, _ = run("--full", "--min-probability=1")
    assert lines == ["4 pictures compared, 0 pairs found, 3 no longer found."]
    assert not DuplicatePair.objects.exists()


@pytest.mark.parametrize("value", ["-1", "1.5", "high"])
def test_a_probability_is_from_0_to_1(value: str) -> None:
    with pytest.raises(CommandError, match=f"'{value}' is not a number from 0 to 1"):
        run(f"--min-probability={value}")


@pytest.mark.parametrize(
    ("conditions", "compared"),
    [
        (["title=mug"], 1),
        (["title=mug,cup"], 2),
        (["shelf=3"], 2),
        (["shelf=3", "title=vase"], 1),
        (["title=nothing"], 0),
    ],
)
def test_within_names_items_by_their_fields(conditions: list[str], compared: int) -> None:
    lines, _ = run(*(f"--within={condition}" for condition in conditions))
    assert lines[0].startswith(f"{compared} pictures compared")


def test_within_names_items_by_their_keys() -> None:
    pks = Product.objects.filter(title__in=["mug", "vase"]).values_list("pk", flat=True)
    assert run(f"--within=pk={','.join(map(str, pks))}")[0][0].startswith("2 pictures compared")


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("mug", "--within takes FIELD=VALUE, got 'mug'."),
        (
            "images__caption=x",
            "'images__caption' is not a field of catalogue.Product. Choices are: pk, id, parent, "
            "title, is_public, shelf.",
        ),
        ("shelf=high", "--within shelf=high: “high” value must be an integer."),
    ],
)
def test_within_takes_fields_of_the_item_alone(condition: str, message: str) -> None:
    with pytest.raises(CommandError) as caught:
        run(f"--within={condition}")
    assert str(caught.value) == message


def test_json() -> None:
    product = Product.objects.get(title="vase")
    Path(product.images.get().original.path).unlink()
    assert json.loads(run("--json")[0][0]) == {
        "compared": 3,
        "found": 3,
        "gone": 0,
        "troubles": {"missing": 1},
    }


def test_it_says_what_could_not_be_compared() -> None:
    product = Product.objects.get(title="vase")
    Path(product.images.get().original.path).unlink()
    assert run()[0] == [
        "3 pictures compared, 3 pairs found.",
        "1 couldn't be compared yet: 1 missing.",
    ]


def test_without_the_setting_it_says_what_to_do(settings: Settings) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": None}
    with pytest.raises(CommandError) as caught:
        run()
    assert str(caught.value) == (
        "CARDIGAN_RECO['DUPLICATES'] is not set, so no listings are compared. Set it to {} or to "
        "what differs from its defaults."
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"LISTINGS": "nowhere.Listings"}, "No module named 'nowhere'"),
        ({"COLLECTION": "others"}, "Collection 'others' is not defined"),
    ],
)
def test_a_wrong_setting_is_named(
    changed: dict[str, str], message: str, settings: Settings
) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": changed}
    with pytest.raises(CommandError, match=message):
        run()


class TestTask:
    def call(self, **options: Any) -> dict[str, int]:
        found: dict[str, int] = task(**options)
        return found

    def test_it_finds_as_the_command_does(self) -> None:
        assert self.call() == {"compared": 4, "found": 3, "gone": 0}
        assert self.call(full=True) == {"compared": 4, "found": 0, "gone": 0}

    def test_within_are_keys(self) -> None:
        pks = [str(pk) for pk in Product.objects.filter(shelf=3).values_list("pk", flat=True)]
        assert self.call(within=pks)["compared"] == 2
        assert self.call(within=[])["compared"] == 0

    def test_it_is_registered_by_name(self) -> None:
        assert task.name == "cardigan_reco.find_duplicates"
