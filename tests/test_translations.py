"""The package's texts in the languages that it comes with."""

from __future__ import annotations

import ast
import gettext
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.template import Context, Template
from django.test import Client
from django.utils.translation import gettext as translated
from django.utils.translation import override
from pytest_django import Settings

from tests import translations
from tests.conftest import BLUE, ORANGE, RED, AddProduct, encode_all, jpeg, need
from tests.duplicates.rows import group_of, pair
from tests.duplicates.test_report import ShownListings, judge, look_for
from tests.translations import LANGUAGES, PACKAGE, catalogue

PLACEHOLDERS = re.compile(r"%%|%(?:\(\w+\))?(?:\.\d+)?[sdfr]|\{\w*\}|</?\w+>|<code>[^<]+</code>")
QUOTES = {"de": "„…“", "es": "«…»", "fr": "«\N{NO-BREAK SPACE}…\N{NO-BREAK SPACE}»"}

TRANSLATE = ("_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy")


class Message(NamedTuple):
    """An entry of a .po file."""

    singular: str
    plural: str
    forms: list[str]
    flags: str


def messages(path: Path) -> Iterator[Message]:
    """Yields what a .po file says, its header first."""
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        flags = " ".join(re.findall("^#,(.*)$", block, re.M))
        said = {}
        for key, strings in re.findall(r'^(msg[\w\[\]]+) ((?:".*"\n?)+)', block, re.M):
            said[key] = "".join(map(ast.literal_eval, strings.splitlines()))
        forms = [text for key, text in said.items() if key.startswith("msgstr")]
        yield Message(said["msgid"], said.get("msgid_plural", ""), forms, flags)


def spoken(language: str) -> list[Message]:
    return list(messages(catalogue(language)))[1:]


@pytest.mark.parametrize("language", LANGUAGES)
class TestCatalogue:
    def test_everything_is_translated(self, language: str) -> None:
        said = spoken(language)
        assert len(said) > 400
        assert [one.singular for one in said if not all(one.forms)] == []
        assert [one.singular for one in said if "fuzzy" in one.flags] == []
        assert "\n#~ " not in catalogue(language).read_text(encoding="utf-8")

    def test_placeholders_are_kept_in_each_plural_form(self, language: str) -> None:
        for one in spoken(language):
            assert len(one.forms) == (2 if one.plural else 1), one.singular
            expected = Counter(PLACEHOLDERS.findall(one.plural or one.singular))
            for form in one.forms:
                assert Counter(PLACEHOLDERS.findall(form)) == expected, form

    def test_quotes_are_those_of_the_language(self, language: str) -> None:
        before, after = QUOTES[language].split("…")
        for one in spoken(language):
            for form in one.forms:
                assert form.count(before) == form.count(after), form
                assert not re.search("['\"]", re.sub(r"\[['\"]\w+['\"]\]", "", form)), form
                others = set("„“”«»") - set(before + after)
                assert not others & set(form), form

    def test_a_text_of_two_halves_has_two(self, language: str) -> None:
        both = "(lowest first),(highest first)"  # For the filter `yesno`.
        (said,) = [one for one in spoken(language) if one.singular == both]
        assert said.forms[0].count(",") == 1

    def test_what_is_compiled_is_what_is_written(self, language: str) -> None:
        written: dict[object, str] = {}
        for one in messages(catalogue(language)):
            for number, form in enumerate(one.forms):
                written[(one.singular, number) if one.plural else one.singular] = form
        with catalogue(language).with_suffix(".mo").open("rb") as file:
            compiled = gettext.GNUTranslations(file)
        assert vars(compiled)["_catalog"] == written, "Run python -m tests.translations."

    def test_nothing_changes_with_the_day_or_the_machine(self, language: str) -> None:
        text = catalogue(language).read_text(encoding="utf-8")
        assert not re.search('^"(POT-|PO-|Last-|X-)|^#: .*(:\\d|/home|/tmp|\\.\\.)', text, re.M)


def test_texts_stand_where_xgettext_finds_them() -> None:
    """It reads calls; a function that is passed on, as to `partial`, hides its texts from it."""
    passed_on = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
        passed_on += [
            f"{path.name}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Load)
            and node.id in TRANSLATE
            and node not in called
        ]
    assert passed_on == []


def test_the_code_says_nothing_else(tmp_path: Path) -> None:
    need("xgettext")
    need("msgmerge")
    copy = tmp_path / "cardigan_reco"
    for name in ("*.py", "*.html"):
        for path in PACKAGE.rglob(name):
            (copy / path.relative_to(PACKAGE)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy / path.relative_to(PACKAGE))
    for language in LANGUAGES:
        catalogue(language, copy).parent.mkdir(parents=True)
        shutil.copy(catalogue(language), catalogue(language, copy))
    translations.collect(copy)
    for language in LANGUAGES:
        old = {(one.singular, one.plural) for one in spoken(language)}
        new = {(one.singular, one.plural) for one in list(messages(catalogue(language, copy)))[1:]}
        assert new - old == set(), "Run python -m tests.translations, and translate these."
        assert old - new == set(), "Run python -m tests.translations: these are gone."


@pytest.mark.django_db
class TestGerman:
    @pytest.fixture(autouse=True)
    def german(self, settings: Settings) -> None:
        settings.LANGUAGE_CODE = "de"

    def test_a_shelf(self, add_product: AddProduct) -> None:
        product = add_product("red", RED)
        add_product("orange", ORANGE)
        encode_all()
        tag = Template("{% load cardigan_reco %}{% similar_products product %}")
        assert "Ähnliche Produkte</h2>" in tag.render(Context({"product": product}))

    @pytest.mark.urls("tests.test_photo_page")
    def test_the_photo_page(self, client: Client, add_product: AddProduct) -> None:
        add_product("red", RED)
        add_product("blue", BLUE)
        encode_all()
        page = client.get("/photo/").content.decode()
        assert '<html lang="de">' in page
        assert "<h1>Suche mit Foto</h1>" in page
        assert 'data-text-again-in="Noch einmal versuchen in {seconds}\N{NO-BREAK SPACE}s"' in page
        assert "Find what looks like it" not in page
        photo = SimpleUploadedFile("photo.jpg", jpeg(RED), "image/jpeg")
        found = client.post("/photo/", {"image": photo}).content.decode()
        assert "2 ähnliche Treffer, die ähnlichsten zuerst." in found
        assert "Bitte wählen Sie zuerst ein Foto." in client.post("/photo/").content.decode()

    @pytest.mark.usefixtures("silent_doorbell")
    def test_the_duplicates_report(self, admin_client: Client, settings: Settings) -> None:
        look_for(settings, ShownListings)
        group_of(pair("1", "2"))
        page = admin_client.get("/admin/cardigan_reco/duplicategroup/").content.decode()
        for text in ("2 Angebote", "Bestätigen", "Verwerfen", "%d ausgewählt", "(absteigend)"):
            assert text in page
        page = admin_client.get("/admin/cardigan_reco/").content.decode()
        for text in ("Visuelle Empfehlungen", "Doppelte Angebote", "1 offen", "Kodieraufträge"):
            assert text in page
        thresholds = admin_client.get("/admin/cardigan_reco/duplicategroup/thresholds/")
        assert "95-%-Intervall" in thresholds.content.decode()

    @pytest.mark.usefixtures("silent_doorbell")
    def test_a_verdict_and_its_undoing(self, admin_client: Client, settings: Settings) -> None:
        look_for(settings, ShownListings)
        group = group_of(pair("1", "2"))
        said = judge(admin_client, f"confirm:{group.pk}:1", fragment="1").content.decode()
        assert "1 Paar bestätigt." in said
        (undo,) = re.findall('data-undo="([^"]+)"', said)
        undone = judge(admin_client, undo, fragment="1").content.decode()
        assert "Rückgängig gemacht: 1 Paar ist wieder offen." in undone


def test_a_shops_own_words_come_first(settings: Settings, tmp_path: Path) -> None:
    with override("de"):
        assert translated("Similar products") == "Ähnliche Produkte"
    translations.speak(settings, tmp_path, {"Similar products": "Auch schön"})
    with override("de"):
        assert translated("Similar products") == "Auch schön"
        assert translated("More") == "Mehr anzeigen"
