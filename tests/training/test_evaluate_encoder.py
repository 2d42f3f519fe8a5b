"""`evaluate_encoder` from the command line: its figures, its sheets, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from PIL import Image

from cardigan_reco.duplicates import families
from cardigan_reco.encoders import bundle
from cardigan_reco.models import DuplicateState
from cardigan_reco.training import trials
from cardigan_reco.training.examples import from_collection
from tests import postgres
from tests.conftest import BLUE, GREEN, RED, AddProduct
from tests.duplicates.rows import pair
from tests.testapp.models import ProductImageEmbedding
from tests.training import shapes

ROOT = Path(__file__).parent.parent.parent
SHARED = ROOT.parent / "shared" / "data"


SIMILAR = {"collection": "similar"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return shapes.write(tmp_path_factory.mktemp("shapes"))


@pytest.fixture
def two_encoders(settings):
    """Two dummies: what one loses by projecting to two dimensions, the other keeps."""
    backend = "cardigan_reco.encoders.dummy.DummyEncoder"
    settings.CARDIGAN_RECO = {
        **settings.CARDIGAN_RECO,
        "ENCODERS": {
            "default": {"BACKEND": backend, "OPTIONS": {"dimensions": 64}},
            "flat": {"BACKEND": backend, "OPTIONS": {"dimensions": 2}},
        },
    }


def evaluate(*arguments: object, **options: object) -> str:
    output = io.StringIO()
    call_command("evaluate_encoder", *arguments, stdout=output, verbosity=0, **options)
    return output.getvalue()


def measured(folder: Path, *arguments: object, **options: object) -> dict:
    evaluate(*arguments, json=folder / "figures.json", **options)
    return json.loads((folder / "figures.json").read_text())


def write_csv(file: Path, *rows: tuple[object, ...]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows(rows)
    return file


@pytest.mark.usefixtures("two_encoders")
def test_encoders_stand_side_by_side_in_a_table(data, tmp_path):
    text = evaluate("default", "flat", data=[data], json=tmp_path / "figures.json")
    header, *lines = text.splitlines()
    assert header.split() == ["shapes", "default", "flat"]
    assert lines[-1] == "24 pictures"
    found = json.loads((tmp_path / "figures.json").read_text())["shapes"]
    assert found["default"].keys() == found["flat"].keys()
    for name, value in found["default"].items():
        line = next(line for line in lines if line.startswith(name))
        assert line.split()[-2:] == [f"{value:.3f}", f"{found['flat'][name]:.3f}"]
    # Two dimensions are too few to tell three colours apart.
    assert found["default"]["colour @10"] > found["flat"]["colour @10"] + 0.1
    assert found["default"]["hinge accuracy, easy"] > found["flat"]["hinge accuracy, easy"]


def test_encoders_are_compared_without_the_packages_for_training(data, tmp_path):
    pytest.importorskip("torch")
    code = (
        "import sys\n"
        "sys.modules['pytorch_metric_learning'] = sys.modules['tensorboard'] = None\n"
        "import django\n"
        "django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('evaluate_encoder', *sys.argv[1:], verbosity=0)\n"
    )
    arguments = [str(bundle.BUNDLED), "--data", str(data), "--html", str(tmp_path / "sheet.html")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={
            **os.environ,
            "DATABASE_URL": postgres.url(),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "24 pictures" in done.stdout
    assert (tmp_path / "sheet.html").exists()


@pytest.mark.usefixtures("two_encoders")
def test_the_split_chooses_the_rows(data, tmp_path):
    output = evaluate("default", data=[data], split="train")
    assert "96 pictures" in output
    with pytest.raises(CommandError, match="no pictures of the split 'test'"):
        evaluate("default", data=[data], split="test")


@pytest.mark.usefixtures("two_encoders")
def test_the_sheet_shows_each_query_once_an_encoder_and_marks_its_neighbours(data, tmp_path):
    sheet = tmp_path / "sheet.html"
    evaluate("default", "flat", data=[data], html=sheet, queries=5)
    text = sheet.read_text()
    assert text.count('class="row"') == 2 * 5
    assert text.count("<img") == 2 * 5 * (1 + 8)
    assert "✓" in text
    assert "✗" in text
    assert 'src="http' not in text
    assert "<th>hinge accuracy, easy</th>" in text


def test_names_on_a_sheet_are_no_html(tmp_path):
    name = "<script>alert(1)</script>"
    rows = [(f"{number}.png", name) for number in range(4)]
    for number in range(4):
        shapes.draw("disc", "red", number).save(tmp_path / f"{number}.png")
    file = write_csv(tmp_path / "evil.csv", ("picture", "label"), *rows)
    evaluate("default", data=[file], html=tmp_path / "sheet.html")
    text = (tmp_path / "sheet.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_a_collection_is_measured_by_its_items(
    db, silent_doorbell, add_product: AddProduct, tmp_path
):
    add_product("mug", RED, RED)
    add_product("bowl", BLUE, BLUE)
    add_product("cup", GREEN)
    found = measured(tmp_path, "default", collection="similar", html=tmp_path / "sheet.html")
    assert found == {
        "similar": {
            "default": {
                "same group R@1": 1,
                "same group R@10": 1,
                "same group mAP": 1,
                "hinge accuracy, easy": 1,
            }
        }
    }
    assert (tmp_path / "sheet.html").read_text().count('class="row"') == 5
    same = measured(tmp_path, "default", collection="testapp.ProductImageEmbedding")
    assert list(same.values()) == list(found.values())


@pytest.mark.parametrize("state", DuplicateState)
def test_listings_that_were_confirmed_as_one_thing_are_one_item(
    db, silent_doorbell, add_product: AddProduct, tmp_path, state: DuplicateState
):
    mug, beaker, cup = (add_product(title, RED) for title in ("mug", "beaker", "cup"))
    add_product("bowl", BLUE)
    pair(mug, beaker, state=state)
    pair(beaker, cup, state=state)
    found = measured(tmp_path, "default", collection="similar")
    one_thing = state in (DuplicateState.CONFIRMED, DuplicateState.MERGED)
    assert ("same group R@1" in found["similar"]["default"]) == one_thing
    doubles = families.confirmed(ProductImageEmbedding, using="default")
    items = [one.item for one in from_collection(ProductImageEmbedding, doubles)]
    assert len(items) == 4
    assert len(set(items)) == (2 if one_thing else 4)


@pytest.mark.usefixtures("two_encoders")
def test_given_triplets(data, tmp_path):
    file = write_csv(
        data.parent / "triplets.csv",
        ("query", "positive", "negative"),
        ("disc-red-0.png", "disc-red-0.png", "disc-blue-0.png"),
        ("disc-red-0.png", "disc-blue-0.png", "disc-red-0.png"),
        ("bar-green-1.png", "bar-green-2.png", "ring-red-1.png"),
    )
    found = measured(tmp_path, "default", data=[file])
    assert found == {"triplets": {"default": {"hinge accuracy": pytest.approx(2 / 3)}}}


def test_street_to_shop_from_a_zip_beside_the_csv(tmp_path):
    with zipfile.ZipFile(tmp_path / "street.zip", "w") as archive:
        for shape in shapes.SHAPES[:2]:
            for number in range(3):
                picture = io.BytesIO()
                colour = "red" if shape == "disc" else "blue"
                shapes.draw(shape, colour, number).save(picture, "PNG")
                archive.writestr(f"{shape}/{number}.png", picture.getvalue())
    rows = [
        (
            *(f"{shape}/{number}.png", "natural" if number else "iconic", shape),
            *("val" if number else "", "round"),
        )
        for shape in shapes.SHAPES[:2]
        for number in range(3)
    ]
    header = ("file", "kind", "sku", "split", "coarse_name")
    file = write_csv(tmp_path / "street.csv", header, *rows)
    found = measured(tmp_path, "default", data=[file])["street"]["default"]
    hinge = {name: found.pop(f"hinge accuracy, {name}") for name in ("hard", "easy")}
    assert found == {"to gallery R@1": 1, "to gallery R@5": 1, "to gallery mAP": 1}
    assert hinge["hard"] == hinge["easy"] > 0.8  # All are of one class.
    file = write_csv(file, header[:-1], *(row[:-1] for row in rows))
    found = measured(tmp_path, "default", data=[file])["street"]["default"]
    assert "hinge accuracy, hard" not in found
    assert found["hinge accuracy, easy"] == hinge["easy"]


def test_same_design_has_the_fashion_columns(tmp_path):
    header = ("id", "split", "colour_group", "photo_group", "article_type", "base_colour")
    rows = [
        (1, "val", "a", "", "Shirts", "Red"),
        (2, "val", "a", "p", "Shirts", "Red"),
        (3, "val", "", "p", "Shirts", "Blue"),
        (4, "val", "", "", "Caps", "Blue"),
        (5, "train", "a", "", "Caps", "Blue"),
    ]
    for number in range(1, 6):
        shapes.draw("disc", "red", number).save(tmp_path / f"{number}.jpg")
    file = write_csv(tmp_path / "fashion.csv", header, *rows)
    found = measured(tmp_path, "default", data=[file])["fashion"]["default"]
    assert set(found) == {
        "same group R@1",
        "same group R@10",
        "same group mAP",
        "article_type @10",
        "article_type + base_colour @10",
        "hinge accuracy, easy",
    }
    # Three others are all the neighbours there are: whatever is attainable is found.
    assert found["article_type @10"] == found["same group R@10"] == 1


def test_a_photo_group_and_a_colour_group_of_one_number_are_two(tmp_path):
    header = ("id", "split", "colour_group", "photo_group", "article_type", "base_colour", "large")
    rows = [
        (1, "val", "7", "", "Shirts", "Red", 1),
        (2, "val", "7", "", "Shirts", "Blue", 1),
        (3, "val", "", "7", "Shirts", "Red", 1),
        (4, "val", "", "7", "Shirts", "Red", 1),
        (5, "val", "7", "", "Shirts", "Red", 0),
    ]
    for number in range(1, 5):
        (tmp_path / f"{number}.jpg").touch()
    file = write_csv(tmp_path / "fashion.csv", header, *rows)
    trial = trials.from_csv(file, tmp_path)
    assert [example.name for example in trial.examples] == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    assert trial.mates is not None
    first, second, third, fourth = trial.mates
    assert first == second != third == fourth


@pytest.mark.usefixtures("two_encoders")
def test_copies_are_found_again(data, tmp_path):
    found = measured(tmp_path, "default", "flat", data=[data], copies=True)["shapes"]
    assert 0.2 < found["default"]["copies AP"] <= 1
    assert found["default"]["copies AP"] > found["flat"]["copies AP"]
    assert 0 <= found["default"]["copies, recall at 99%"] <= 1
    again = measured(tmp_path, "default", "flat", data=[data], copies=True)["shapes"]
    assert again == found
    other = measured(tmp_path, "default", "flat", data=[data], copies=True, seed=1)["shapes"]
    assert other["default"]["copies AP"] != found["default"]["copies AP"]


def test_a_box_is_what_is_measured(tmp_path):
    """A red and a blue half of one photo are two pictures, each of its own colour."""
    scene = Image.new("RGB", (400, 200), "red")
    scene.paste("blue", (200, 0, 400, 200))
    scene.save(tmp_path / "scene.png")
    for name in ("red", "blue"):
        Image.new("RGB", (200, 200), name).save(tmp_path / f"{name}.png")
    file = write_csv(
        tmp_path / "boxes.csv",
        ("picture", "group", "left", "top", "right", "bottom"),
        ("scene.png", "red", 0.1, 0.3, 0.4, 0.7),
        ("scene.png", "blue", 0.6, 0.3, 0.9, 0.7),
        ("red.png", "red", "", "", "", ""),
        ("blue.png", "blue", "", "", "", ""),
    )
    found = measured(tmp_path, "default", data=[file])["boxes"]["default"]
    assert found["same group R@1"] == 1


def test_missing_pictures_are_counted_before_anything_is_encoded(data, tmp_path):
    with pytest.raises(CommandError, match=r"24 of 24 pictures .* aren't in") as refused:
        evaluate("default", data=[data], pictures=tmp_path)
    assert "--pictures" in str(refused.value)
    assert "disc-red-8.png" in str(refused.value)


def test_a_picture_outside_of_the_folder_is_refused(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "x.png").touch()
    file = write_csv(tmp_path / "street.csv", ("file", "kind", "sku"), ("../x.png", "iconic", "1"))
    with pytest.raises(CommandError, match=r"'\.\./x\.png' is outside of .*pictures"):
        evaluate("default", data=[file], pictures=tmp_path / "pictures")


@pytest.mark.parametrize(
    ("method", "is_damaged", "told"),
    [
        (zipfile.ZIP_DEFLATED, False, "more than the 1000 bytes"),
        (zipfile.ZIP_DEFLATED, True, r"a\.zip can't be read"),
        (zipfile.ZIP_BZIP2, False, r"a\.zip isn't packed with deflate"),
    ],
)
def test_no_more_is_unzipped_than_a_picture_may_have(
    tmp_path, settings, monkeypatch, method, is_damaged, told
):
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "MAX_IMAGE_BYTES": 1000}
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.png", bytes(10_000_000))
    if is_damaged:
        damaged = bytearray((tmp_path / "a.zip").read_bytes())
        damaged[40:60] = bytes(20)
        (tmp_path / "a.zip").write_bytes(damaged)
    file = write_csv(tmp_path / "a.csv", ("picture", "label"), ("a.png", "x"))
    monkeypatch.delattr(zipfile.ZipFile, "read")  # It would hold all of the file.
    with pytest.raises(CommandError, match=rf"a\.png can't be used: .*{told}"):
        evaluate("default", data=[file])


def test_a_picture_that_is_none_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    file = write_csv(tmp_path / "broken.csv", ("picture", "label"), ("a.png", "x"))
    with pytest.raises(CommandError, match=r"a\.png can't be used"):
        evaluate("default", data=[file])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["default"], {}, "Give --data CSV or --collection"),
        (["nobody"], {"collection": "similar"}, "Encoder 'nobody' is not defined"),
        (["default"], {"collection": "shoes"}, "Collection 'shoes' is not defined"),
        (["default"], {"collection": "no.Such"}, "'no.Such' is not an embedding model"),
        (["none.safetensors"], {"collection": "similar"}, "none.safetensors"),
        (["default"], {"data": [Path("none.csv")]}, "none.csv can't be read"),
        (["default"], {"html": Path("no/such.html"), **SIMILAR}, "no/such.html can't be written"),
        (["default"], {"json": Path("gone/out.json"), **SIMILAR}, "there is no folder gone"),
    ],
)
def test_what_it_can_t_do_it_says(db, arguments, options, message):
    with pytest.raises(CommandError, match=message):
        evaluate(*arguments, **options)


def test_a_collection_without_pictures(db):
    with pytest.raises(CommandError, match="The collection posters has no pictures"):
        evaluate("default", collection="posters")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data, which isn't here")
def test_the_bundled_encoder_has_the_figures_of_its_model_card(tmp_path):
    pytest.importorskip("torch")
    card = (bundle.BUNDLED.with_suffix(".md")).read_text()
    found = measured(
        tmp_path,
        str(bundle.BUNDLED),
        data=[SHARED / "fashion.csv", SHARED / "grocery.csv"],
    )
    tables = card.split("| figure |\n")[1:]
    for trial, table in zip(found.values(), tables, strict=True):
        told = dict(re.findall(r"^\| (.+) \| ([0-9.]+) \|$", table, re.MULTILINE))
        figures = next(iter(trial.values()))
        assert told.keys() == figures.keys()
        for name, value in figures.items():
            assert float(told[name]) == pytest.approx(value, abs=0.01), name
