"""From what pictures and words say to a probability, a kind and reasons."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from django.utils import translation
from pytest_django import Settings

from cardigan_reco.copies import Change, Comparison
from cardigan_reco.duplicates import reasons
from cardigan_reco.duplicates.evidence import MAX_PICTURES, Judgement, PictureMatch, judge
from cardigan_reco.duplicates.text import Facts
from tests.translations import speak

THRESHOLD = 0.5
COPY = Comparison(0.99, (Change("mirrored"), Change("cropped", 0.82)))
NO_COPY = Comparison(0.01)
TWIN = Comparison(0.02, is_twin=True)


def match(
    comparison: Comparison | None = None,
    *,
    similarity: float | None = None,
    level: float | None = None,
    first: str = "1",
    second: str = "2",
    digests: tuple[str, str] = ("a", "b"),
) -> PictureMatch:
    return PictureMatch(first, second, *digests, similarity, level, comparison)


def test_without_a_match_nothing_is_probable() -> None:
    judged = judge([], Facts(title=1.0))
    assert judged.probability == 0
    assert judged.evidence["pictures"] == []


def test_the_same_bytes() -> None:
    judged = judge([match(digests=("a", "a"))])
    assert judged.kind == "exact"
    assert judged.probability > 0.95
    assert judged.evidence["pictures"] == [
        {
            "first": "1",
            "second": "2",
            "first_digest": "a",
            "second_digest": "a",
            "kind": "exact",
            "probability": 1.0,
            "reasons": [{"code": "same_file", "value": None}],
        }
    ]


def test_one_photo_edited() -> None:
    judged = judge([match(COPY, similarity=0.9, level=0.8)])
    assert judged.kind == "same_photo"
    assert 0.9 < judged.probability < 0.99
    assert judged.evidence["pictures"][0]["reasons"] == [
        {"code": "mirrored", "value": None},
        {"code": "cropped", "value": 0.82},
    ]


def test_one_thing_in_two_photos_stands_out_of_its_neighbourhood() -> None:
    judged = judge([match(NO_COPY, similarity=0.95, level=0.5)])
    assert judged.kind == "same_item"
    assert judged.probability > THRESHOLD
    assert judged.evidence["pictures"][0]["reasons"] == [{"code": "similar", "value": 0.95}]
    # The same similarity among pictures that are all alike says nothing.
    assert judge([match(NO_COPY, similarity=0.95, level=0.9)]).probability < 0.2


def test_lookalikes_and_twins_stay_below_the_threshold() -> None:
    assert judge([match(NO_COPY, similarity=0.97, level=0.83)]).probability < THRESHOLD
    assert judge([match(TWIN, similarity=0.97, level=0.4)]).probability < 0.2


def test_a_similarity_without_its_level_says_nothing() -> None:
    assert judge([match(NO_COPY, similarity=0.99)]).probability < 0.05


def test_words_shift_what_pictures_say() -> None:
    pictures = [match(NO_COPY, similarity=0.95, level=0.72)]
    alone = judge(pictures).probability
    assert alone < THRESHOLD
    same = Facts(title=1.0, brand=1.0, price=1.0)
    assert judge(pictures, same).probability > THRESHOLD
    assert judge(pictures, Facts(sku=1.0)).probability > THRESHOLD
    assert judge(pictures, Facts(title=0.4, brand=0.2, price=0.3)).probability < alone


def test_a_rewritten_title_by_another_seller_does_not_hide_a_copy() -> None:
    facts = Facts(title=0.4, brand=0.2, price=0.8)
    assert judge([match(COPY)], facts).probability > THRESHOLD
    assert judge([match(digests=("a", "a"))], facts).probability > THRESHOLD


def test_variants_may_share_their_photo() -> None:
    variants = Facts(title=0.9, brand=1.0, price=1.0, variants="large")
    for one in (match(COPY), match(digests=("a", "a"))):
        assert judge([one], variants).probability < 0.1
    assert {"code": "variants", "value": "large"} in judge([match(COPY)], variants).evidence[
        "facts"
    ]


def test_every_probability_is_one() -> None:
    similarities = [(None, None), (1.0, -1.0), (-1.0, 1.0), (0.9, None)]
    values = (None, 0.0, 0.5, 1.0)
    for comparison, (similarity, level) in product((None, COPY, TWIN, NO_COPY), similarities):
        for title, brand, price, sku in product(values, repeat=4):
            judged = judge(
                [match(comparison, similarity=similarity, level=level)],
                Facts(title, brand, price, sku),
            )
            assert 0 <= judged.probability <= 1


def test_the_best_pictures_come_first_and_not_all_are_kept() -> None:
    found = [
        match(Comparison(probability / 20), first=str(probability)) for probability in range(1, 15)
    ]
    judged = judge([*found, match(digests=("a", "a"), first="same")])
    kept = judged.evidence["pictures"]
    assert [one["first"] for one in kept[:3]] == ["same", "14", "13"]
    assert len(kept) == MAX_PICTURES
    assert judged.kind == "exact"


def test_facts_are_kept_as_far_as_they_are_known() -> None:
    judged = judge([match(COPY)], Facts(title=0.931, price=1.0))
    assert judged.evidence["facts"] == [
        {"code": "title", "value": 0.93},
        {"code": "price", "value": 1.0},
    ]


def said(judged: Judgement) -> list[str]:
    return reasons.sentences(judged.evidence)


def test_reasons_in_words() -> None:
    facts = Facts(title=0.93, brand=1.0, price=0.5, sku=0.0, variants="teal / plum")
    found = [match(COPY), match(Comparison(0.6), first="2"), match(NO_COPY, first="3")]
    assert said(judge(found, facts)) == [
        "The pictures are the same photo, mirrored and cropped to 82%.",
        "2 pictures match.",
        "Titles 93% alike.",
        "The same brand.",
        "The lower price is 50% of the higher.",
        "Different SKUs.",
        "The titles differ in “teal / plum”.",
    ]
    assert said(judge([match(digests=("a", "a"))])) == ["The pictures are the same file."]
    assert said(judge([match(Comparison(0.9))])) == ["The pictures are the same photo."]
    assert said(judge([match(NO_COPY, similarity=0.95, level=0.5)])) == [
        "The pictures look like two photos of one thing (95% similar)."
    ]


@pytest.mark.parametrize(
    ("reason", "phrase"),
    [
        (("rotated", 4.6), "rotated by 5°"),
        (("padded", 0.3), "with margins that take 30% more"),
        (("resized", 0.4), "resized to 40%"),
        (("brightness", 0.1), "with 10% other brightness or contrast"),
        (("covered", 0.12), "with something over 12% of its detail"),
        (("sku", 1.0), "the same SKU"),
        (("brand", 0.3), "different brands"),
        (("title", 1.0), "the same title"),
        (("price", 1.0), "the same price"),
        (("of tomorrow", 0.5), "of tomorrow 0.5"),
        (("of tomorrow", None), "of tomorrow"),
        (("of tomorrow", "words"), "of tomorrow: words"),
    ],
)
def test_each_reason_has_words(reason: tuple[str, float | str | None], phrase: str) -> None:
    code, value = reason
    assert reasons.phrase({"code": code, "value": value}) == phrase


def test_evidence_of_an_older_version_or_none_is_no_error() -> None:
    assert reasons.sentences({}) == []
    assert reasons.sentences({"pictures": [{"first": "1"}], "facts": None}) == [
        "The pictures look like two photos of one thing."
    ]


def test_words_are_in_the_language_that_is_active(settings: Settings, tmp_path: Path) -> None:
    texts = {
        "The pictures are the same photo, %(changes)s.": "Beide sind ein Foto: %(changes)s.",
        "%(these)s and %(last)s": "%(these)s und %(last)s",
        "mirrored": "gespiegelt",
        "cropped to %(percent)d%%": "auf %(percent)d%% zugeschnitten",
    }
    speak(settings, tmp_path, texts)
    with translation.override("de"):
        assert said(judge([match(COPY)])) == [
            "Beide sind ein Foto: gespiegelt und auf 82% zugeschnitten."
        ]
        # What the shop doesn't translate is in the package's own words.
        assert said(judge([match(digests=("a", "a"))])) == ["Die Bilder sind dieselbe Datei."]
