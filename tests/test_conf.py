"""The setting CARDIGAN_RECO: what is refused, in which words, and when it is read."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from pytest_django import Settings

from cardigan_reco import conf, rules
from cardigan_reco.encoders import encoders

README = Path(__file__).parent.parent / "README.md"
ENCODERS_RULE = (
    'It must be a dict of aliases, such as {"default": {"BACKEND": "dotted.path", "OPTIONS": {}}}'
)
COLLECTIONS_RULE = (
    "It must be a dict of purposes and model labels, such as "
    '{"similar": "shop.ProductImageEmbedding"}.'
)
COUNTS = [
    "BATCH_SIZE",
    "DECODE_THREADS",
    "LEASE_SECONDS",
    "MAX_ATTEMPTS",
    "RETRY_SECONDS",
    "POLL_SECONDS",
    "MAX_IMAGE_BYTES",
    "MAX_IMAGE_PIXELS",
    "EXACT_ROWS",
]


def reported(value: object) -> list[tuple[str, str, str]]:
    with override_settings(CARDIGAN_RECO=value):
        return [(problem.code, problem.message, problem.hint) for problem in conf.problems()]


def test_every_key_has_a_field_and_a_rule() -> None:
    keys = {name.upper() for name in conf.Settings._fields}
    assert keys == set(rules.RULES)


def test_defaults_are_good(settings: Settings) -> None:
    settings.CARDIGAN_RECO = {}
    assert conf.problems() == []
    assert conf.current() == conf.Settings()
    assert conf.current().encoders == {
        "default": {"BACKEND": "cardigan_reco.encoders.torch.TorchEncoder"}
    }
    for name, value in conf.current()._asdict().items():
        assert reported({name.upper(): value}) == []


def test_the_readme_has_all_keys_and_their_defaults() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", README.read_text(), re.MULTILINE)
    in_words = {"the bundled encoder as `default`": conf.BUNDLED, "10 MiB": 10 * 2**20}
    told = {
        key: in_words[cell] if cell in in_words else ast.literal_eval(cell.strip("`"))
        for key, cell in rows
    }
    assert told == {name.upper(): value for name, value in conf.Settings()._asdict().items()}


@pytest.mark.parametrize(
    ("key", "defaults"),
    [
        ("SEARCH", conf.PhotoSearch()),
        ("DUPLICATES", conf.Duplicates(listings="")),  # The path of ours says nothing there.
        ("HEALTH", conf.Health()),
    ],
)
def test_the_readme_has_the_keys_within(key: str, defaults: Any) -> None:
    found = re.search(rf"^\| `{key}` \| `.+?` \| (.+)", README.read_text(), re.MULTILINE)
    assert found
    told = re.findall(r"`([A-Z_]+)`(?: \(`(.+?)`\))?", found[1])
    assert {name: ast.literal_eval(text or "''") for name, text in told} == {
        name.upper(): value for name, value in defaults._asdict().items()
    }


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("ENCODER", "Did you mean 'ENCODERS'?"),
        ("encoders", "Did you mean 'ENCODERS'?"),
        ("EF_SERCH", "Did you mean 'EF_SEARCH'?"),
        ("LEASE_TIME", "Did you mean 'LEASE_SECONDS'?"),
    ],
)
def test_an_unknown_key_gets_a_suggestion(key: str, hint: str) -> None:
    expected = ("E001", f"CARDIGAN_RECO has an unknown key {key!r}.", hint)
    assert reported({key: 1}) == [expected]


def test_an_unknown_key_like_no_other_gets_the_choices() -> None:
    ((_code, message, hint),) = reported({"quux": 1})
    assert message == "CARDIGAN_RECO has an unknown key 'quux'."
    assert hint == f"Choices are: {', '.join(rules.RULES)}."


def test_an_unknown_key_stops_nothing() -> None:
    with override_settings(CARDIGAN_RECO={"BATCH_SIZE": 7, "QUUX": 1}):
        assert conf.current().batch_size == 7


@pytest.mark.parametrize("key", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 1.5, "8", None, True])
def test_counts_are_whole_and_positive(key: str, value: object) -> None:
    assert reported({key: value}) == [
        ("E002", f"CARDIGAN_RECO[{key!r}] is {value!r}.", "It must be a whole number above 0.")
    ]


@pytest.mark.parametrize("key", ["SEARCH_TIMEOUT_SECONDS", "READ_SECONDS", "DECODE_SECONDS"])
@pytest.mark.parametrize("value", [0, -0.5, "2", None, True, float("nan"), float("inf")])
def test_times_are_positive_numbers(key: str, value: object) -> None:
    assert reported({key: value}) == [
        (
            "E002",
            f"CARDIGAN_RECO[{key!r}] is {value!r}.",
            "It must be a number from 0.001 to 3600.",
        )
    ]
    assert reported({key: 3}) == []
    assert reported({key: 0.25}) == []


@pytest.mark.parametrize(
    ("key", "least", "value"),
    [
        *(("PREPARED_SEARCHES", 0, value) for value in (-1, 1001, 10.0, True, None)),
        *(("EF_SEARCH", 1, value) for value in (0, 1001, 10.0, True, "100")),  # pgvector's limits.
    ],
)
def test_some_numbers_have_limits(key: str, least: int, value: object) -> None:
    assert reported({key: value}) == [
        (
            "E002",
            f"CARDIGAN_RECO[{key!r}] is {value!r}.",
            f"It must be a whole number from {least} to 1000.",
        )
    ]
    assert reported({key: least}) == []
    assert reported({key: 1000}) == []


@pytest.mark.parametrize("value", ["", None, 5])
def test_the_celery_queue_has_a_name(value: object) -> None:
    assert reported({"CELERY_QUEUE": value}) == [
        (
            "E002",
            f"CARDIGAN_RECO['CELERY_QUEUE'] is {value!r}.",
            "It must be a name that is not empty.",
        )
    ]


@pytest.mark.parametrize(
    ("value", "addition"),
    [
        (None, ""),
        ({}, ""),
        ([], ""),
        ({"default": "some.Encoder"}, ""),
        ({"default": {}}, ""),
        ({"default": {"BACKEND": 5}}, ""),
        ({5: {"BACKEND": "some.Encoder"}}, ""),
        (
            {"default": {"BACKEND": "some.Encoder", "WEIGHTS": "x"}},
            ", with the keys BACKEND and OPTIONS alone",
        ),
        ({"default": {"BACKEND": "some.Encoder", "OPTIONS": []}}, ", OPTIONS being a dict"),
    ],
)
def test_encoders_are_described_by_backend_and_options(value: object, addition: str) -> None:
    assert reported({"ENCODERS": value}) == [
        ("E002", f"CARDIGAN_RECO['ENCODERS'] is {value!r}.", f"{ENCODERS_RULE}{addition}.")
    ]


@pytest.mark.parametrize(
    "value",
    [None, ["shop.A"], {"similar": "A"}, {"similar": "a.b.C"}, {"similar": None}, {5: "a.B"}],
)
def test_collections_name_models(value: object) -> None:
    assert reported({"COLLECTIONS": value}) == [
        ("E002", f"CARDIGAN_RECO['COLLECTIONS'] is {value!r}.", COLLECTIONS_RULE)
    ]


@pytest.mark.parametrize(("value", "name"), [(None, "NoneType"), ([], "list"), ("x", "str")])
def test_the_setting_itself_is_a_dict(value: object, name: str) -> None:
    assert reported(value) == [
        ("E002", f"CARDIGAN_RECO is a {name}.", "It must be a dict; see the README's settings.")
    ]


def test_all_problems_are_reported_at_once() -> None:
    assert [code for code, _message, _hint in reported({"QUUX": 1, "BATCH_SIZE": 0})] == [
        "E001",
        "E002",
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"BATCH_SIZE": "many"},
            "CARDIGAN_RECO['BATCH_SIZE'] is 'many'. It must be a whole number above 0.",
        ),
        ([], "CARDIGAN_RECO is a list. It must be a dict; see the README's settings."),
    ],
)
def test_a_bad_value_is_raised_when_it_is_used(value: Any, message: str) -> None:
    with override_settings(CARDIGAN_RECO=value):
        for use in (conf.current, lambda: encoders["default"]):
            with pytest.raises(ImproperlyConfigured) as raised:
                use()
            assert str(raised.value) == message


def test_the_setting_is_read_again_when_it_changes() -> None:
    before = conf.current()
    assert conf.current() is before
    with override_settings(CARDIGAN_RECO={"BATCH_SIZE": 7}):
        assert conf.current().batch_size == 7
        with override_settings(CARDIGAN_RECO={"BATCH_SIZE": 8}):
            assert conf.current().batch_size == 8
        assert conf.current().batch_size == 7
    assert conf.current() == before


def test_the_encoders_follow_a_change() -> None:
    before = encoders["default"]
    assert encoders["default"] is before
    dummy = {"BACKEND": "cardigan_reco.encoders.dummy.DummyEncoder", "OPTIONS": {"dimensions": 24}}
    with override_settings(CARDIGAN_RECO={"ENCODERS": {"default": dummy}}):
        assert encoders["default"].dimensions == 24
    assert encoders["default"].dimensions == before.dimensions


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ([], "a dict with any of the keys ENCODE_IN, QUEUE, CONCURRENT, WAIT_SECONDS, DEADLINE_S"),
        ({"ENCODE": "worker"}, "a dict with any of the keys ENCODE_IN, QUEUE"),
        ({"ENCODE_IN": "web"}, "a dict, ENCODE_IN being 'process' or 'worker'"),
        ({"CONCURRENT": 0}, "a dict, CONCURRENT being a whole number above 0"),
        ({"QUEUE": ""}, "a dict, QUEUE being a name that is not empty"),
        ({"WAIT_SECONDS": -1}, "a dict, WAIT_SECONDS being a number from 0.001 to 3600"),
    ],
)
def test_the_search_by_photo_is_checked(value: object, wanted: str) -> None:
    ((code, message, hint),) = reported({"SEARCH": value})
    assert (code, message) == ("E002", f"CARDIGAN_RECO['SEARCH'] is {value!r}.")
    assert hint.startswith(f"It must be {wanted}")


def test_the_search_by_photo_has_defaults() -> None:
    with override_settings(CARDIGAN_RECO={"SEARCH": {"ENCODE_IN": "worker"}}):
        assert conf.current().photo_search == conf.PhotoSearch(encode_in="worker")
    assert {name.upper() for name in conf.PhotoSearch._fields} == set(rules.SEARCH)


def test_settings_cannot_be_changed_in_passing() -> None:
    with pytest.raises(AttributeError):
        conf.current().batch_size = 9  # type: ignore[misc]
