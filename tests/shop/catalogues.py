"""load_catalogue: what it brings in, what it leaves out, and that it can be repeated."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.test import override_settings
from PIL import Image

from cardigan_reco.models import EncodingRequest
from example_shop import loading
from example_shop.listings import CatalogueError
from example_shop.loading import Outcome
from example_shop.models import Category, Order, Product, ProductImage

pytestmark = pytest.mark.django_db(transaction=True)

HEADER = "file,product,name,category,brand,price,view,colour,description,stock,published"


@pytest.fixture(autouse=True)
def media(tmp_path: Path):
    with override_settings(MEDIA_ROOT=tmp_path / "media"):
        yield tmp_path / "media"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, colour in {"a.jpg": "red", "b.jpg": "green", "c.png": "blue"}.items():
        draw(pictures / name, colour)
    return pictures


def draw(file: Path, colour: str) -> None:
    Image.new("RGB", (32, 32), colour).save(file)


def stored(image: ProductImage) -> bytes:
    with image.original.open("rb") as file:
        return file.read()


def listed(folder: Path, *rows: str, header: str = HEADER) -> Path:
    file = folder.parent / "catalogue.csv"
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return file


def load(folder: Path, *rows: str, replace: bool = False) -> Outcome:
    return loading.load(folder, listed(folder, *rows), replace=replace, quiet=True)


def test_a_jpeg_of_several_pictures_as_phones_make_them(folder: Path) -> None:
    first, second = (Image.new("RGB", (32, 32), colour) for colour in ("red", "green"))
    first.save(folder / "phone.jpg", "MPO", save_all=True, append_images=[second])

    outcome = load(folder, "phone.jpg,mug,Mug,,,,,,,,")

    assert outcome.bad_rows == []
    assert ProductImage.objects.get().original.name.endswith(".jpg")


def test_rows_of_one_product_become_its_pictures(folder: Path) -> None:
    load(
        folder,
        "a.jpg,mug,A mug,Kitchen,Daybird,12.5,main,,Holds coffee,3,yes",
        "b.jpg,mug,,,,,colour,Matte Black,,,",
        "c.png,mug,,,,,2,,,,",
    )
    product = Product.objects.get()

    assert (product.name, str(product.category), product.brand) == ("A mug", "Kitchen", "Daybird")
    assert (str(product.price), product.stock, product.published) == ("12.50", 3, True)
    assert [image.alternative for image in product.images.all()] == [
        "A mug",
        "A mug, matte black",
        "A mug, picture 2",
    ]
    assert [image.original.name for image in product.images.all()] == [
        "products/a-mug-1.jpg",
        "products/a-mug-2.jpg",
        "products/a-mug-3.png",
    ]


def test_only_the_column_file_is_needed(folder: Path) -> None:
    (folder / "deep").mkdir()
    draw(folder / "deep" / "blue_wool-scarf.jpg", "blue")
    file = listed(folder, "deep/blue_wool-scarf.jpg", header="file")
    loading.load(folder, file, quiet=True)
    product = Product.objects.get()

    assert (product.name, product.category, product.price) == ("Blue wool scarf", None, None)
    assert product.stock > 0


def test_a_zip_file_is_as_good_as_a_folder(folder: Path) -> None:
    packed = folder.parent / "pictures.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(folder / "a.jpg", "sub/a.jpg")
    outcome = load(packed, "sub/a.jpg,,A,,,,,,,,", "sub/b.jpg,,B,,,,,,,,", "../a.jpg,,C,,,,,,,,")

    assert outcome.products["new"] == 1
    assert [row.reason for row in outcome.bad_rows] == [
        "no such file",
        "the path leads out of the catalogue",
    ]


def test_bad_rows_are_told_and_the_others_loaded(folder: Path) -> None:
    (folder / "text.jpg").write_text("no picture")
    draw(folder.parent / "outside.jpg", "red")
    (folder / "link.jpg").symlink_to(folder.parent / "outside.jpg")
    outcome = load(
        folder,
        "missing.jpg,,,,,,,,,,",
        "text.jpg,,,,,,,,,,",
        "a.jpg,,,,,cheap,,,,,",
        "a.jpg,,,,,-1,,,,,",
        "a.jpg,,,,,NaN,,,,,",
        "../outside.jpg,,,,,,,,,,",
        "/etc/passwd,,,,,,,,,,",
        "link.jpg,,,,,,,,,,",
        ",mug,,,,,,,,,",
        "a.jpg,,,,,,,,,many,",
        "a.jpg,,,,,,,,,,perhaps",
        "b.jpg,,Good,,,,,,,,",
        "b.jpg,,Again,,,,,,,,",
    )
    reasons = {row.line: (row.file, row.reason) for row in outcome.bad_rows}

    assert list(reasons) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14]
    assert reasons[2] == ("missing.jpg", "no such file")
    assert reasons[3][1].startswith("The file is ")
    assert reasons[4][1] == "'cheap' is not a price; write it as 12.50"
    for line in (7, 8, 9):
        assert reasons[line][1] == "the path leads out of the catalogue"
    assert reasons[10] == ("-", "no file is named")
    assert reasons[11][1] == "'many' is not a stock; write a whole number"
    assert reasons[12][1] == "published is 'perhaps'; write yes or no"
    assert reasons[14][1] == "the product has this picture already, from line 13"
    assert [product.name for product in Product.objects.all()] == ["Good"]


def test_a_second_run_saves_nothing_again(folder: Path) -> None:
    rows = ("a.jpg,mug,Mug,Kitchen,,5,,,,,", "b.jpg,mug,,,,,back,,,,", "c.png,bowl,Bowl,,,,,,,,")
    load(folder, *rows)
    EncodingRequest.objects.all().delete()
    before = list(ProductImage.objects.values())
    outcome = load(folder, *rows)

    assert {state: count for state, count in outcome.products.items() if count} == {"unchanged": 2}
    assert outcome.pictures == {"new": 0, "changed": 0, "unchanged": 3, "removed": 0}
    assert list(ProductImage.objects.values()) == before
    assert not EncodingRequest.objects.exists()


def test_what_changed_is_updated(folder: Path, media: Path) -> None:
    load(folder, "a.jpg,mug,Mug,Kitchen,,5,,,,,", "b.jpg,mug,,,,,,,,,", "c.png,bowl,Bowl,,,,,,,,")
    slug = Product.objects.get(reference="mug").slug
    EncodingRequest.objects.all().delete()
    draw(folder / "a.jpg", "yellow")
    outcome = load(folder, "a.jpg,mug,Big mug,Kitchen,,6,,,,,", "c.png,bowl,Bowl,,,,,,,,")
    mug = Product.objects.get(reference="mug")
    image = mug.images.get()

    assert {state: count for state, count in outcome.products.items() if count} == {
        "changed": 1,
        "unchanged": 1,
    }
    assert outcome.pictures == {"new": 0, "changed": 1, "unchanged": 1, "removed": 1}
    assert (mug.name, str(mug.price), mug.slug) == ("Big mug", "6.00", slug)
    assert stored(image) == (folder / "a.jpg").read_bytes()
    assert [request.source_pk for request in EncodingRequest.objects.all()] == [str(image.pk)]
    assert len(list(media.rglob("*.*"))) == 2


def test_a_lost_file_is_brought_back(folder: Path) -> None:
    load(folder, "a.jpg,mug,Mug,,,,,,,,")
    default_storage.delete(ProductImage.objects.get().original.name or "")
    load(folder, "a.jpg,mug,Mug,,,,,,,,")

    assert stored(ProductImage.objects.get()) == (folder / "a.jpg").read_bytes()


def test_names_may_repeat_and_be_in_any_script(folder: Path) -> None:
    load(folder, "a.jpg,1,Mug,,,,,,,,", "b.jpg,2,Mug,,,,,,,,", "c.png,3,杯子,,,,,,,,")

    assert set(Product.objects.values_list("slug", flat=True)) == {"mug", "mug-2", "product"}


def test_replace_removes_former_catalogues_and_keeps_what_was_made_by_hand(
    folder: Path, media: Path
) -> None:
    load(folder, "a.jpg,mug,Mug,Kitchen,,,,,,,")
    Product.objects.create(name="By hand", slug="by-hand")
    outcome = load(folder, "b.jpg,bowl,Bowl,Tables,,,,,,,", replace=True)

    assert outcome.products["removed"] == outcome.pictures["removed"] == 1
    assert [product.name for product in Product.objects.all()] == ["Bowl", "By hand"]
    assert [category.name for category in Category.objects.all()] == ["Tables"]
    assert [file.name for file in media.rglob("*.*")] == ["bowl-1.jpg"]


def test_replace_unpublishes_what_was_ordered(folder: Path, media: Path) -> None:
    load(folder, "a.jpg,mug,Mug,Kitchen,,5,,,,,", "b.jpg,cup,Cup,,,,,,,,", "c.png,can,Can,,,,,,,,")
    mug, cup, can = Product.objects.order_by("-name")
    assert [mug.name, cup.name, can.name] == ["Mug", "Cup", "Can"]
    order = Order.objects.create(number="1", customer="Ada")
    for _ in range(2):
        order.lines.create(product=mug, price=5)
    Product.objects.filter(pk=cup.pk).update(replaced_by=mug, published=False, stock=0)
    outcome = load(folder, "b.jpg,cup,Cup,,,,,,,,", replace=True)

    assert (outcome.products["removed"], outcome.products["unpublished"]) == (1, 1)
    assert order.lines.count() == 2
    mug.refresh_from_db()
    assert (mug.published, mug.stock) == (False, 0)
    cup.refresh_from_db()
    assert (cup.published, cup.replaced_by) == (True, None)  # It led to the mug.
    assert not Product.objects.filter(pk=can.pk).exists()
    assert len(list(media.rglob("*.*"))) == 2

    assert load(folder, "b.jpg,cup,Cup,,,,,,,,", replace=True).products["unpublished"] == 0
    load(folder, "a.jpg,mug,Mug,Kitchen,,5,,,,,")
    mug.refresh_from_db()
    assert mug.published


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_file_that_would_fill_the_memory_is_refused(folder: Path, packing: int) -> None:
    packed = folder.parent / "pictures.zip"
    with zipfile.ZipFile(packed, "w", packing) as archive:
        archive.writestr("a.jpg", b"\0" * 100_000_000)
        archive.write(folder / "b.jpg", "b.jpg", zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        outcome = load(packed, "a.jpg,,A,,,,,,,,", "b.jpg,,B,,,,,,,,")
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    reason = "packed in an unusual way; pack the zip file with deflate"
    assert [(row.file, row.reason) for row in outcome.bad_rows] == [("a.jpg", reason)]
    assert outcome.products["new"] == 1
    assert most < 20_000_000


def test_every_picture_is_queued(folder: Path) -> None:
    load(folder, "a.jpg,,,,,,,,,,", "b.jpg,,,,,,,,,,")

    assert EncodingRequest.objects.filter(state="waiting").count() == 2


def test_a_catalogue_that_cannot_be_read_is_an_error(folder: Path) -> None:
    file = listed(folder, "a.jpg", header="picture")
    with pytest.raises(CatalogueError, match=r"no column 'file'. Its columns are: picture"):
        loading.load(folder, file)
    with pytest.raises(CatalogueError, match="There is no CSV file"):
        loading.load(folder, folder / "nothing.csv")
    with pytest.raises(CatalogueError, match="There is no folder or zip file"):
        loading.load(folder / "nothing", file)
    with pytest.raises(CatalogueError, match="is neither a folder nor a zip file"):
        loading.load(file, file)
    with pytest.raises(CatalogueError, match=r"lists no picture\. Line 2: no file is named"):
        load(folder, ",mug,,,,,,,,,")
    file.write_bytes(b"file\n\xff\xfe\n")
    with pytest.raises(CatalogueError, match="as a CSV file in UTF-8"):
        loading.load(folder, file)


def test_the_command_tells_what_it_did(folder: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    file = listed(folder, "a.jpg,,,,,,,,,,", "d.jpg,,,,,,,,,,")
    call_command("load_catalogue", folder, file, verbosity=0, stdout=out, stderr=err)

    assert out.getvalue() == "Products: 1 new\nPictures: 1 new\n"
    assert err.getvalue() == "Rows left out: 1\n  line 3: d.jpg: no such file\n"
    with pytest.raises(CommandError, match="There is no folder"):
        call_command("load_catalogue", folder / "nothing", file)


def test_colour_and_material_are_facts_of_the_product(folder: Path) -> None:
    header = "file,product,view,colour,base_colour,material"
    rows = ("a.jpg,mug,main,Sage,green,stoneware", "b.jpg,mug,colour,Red,,", "c.png,bowl,,,blue,")
    file = listed(folder, *rows, header=header)
    loading.load(folder, file, quiet=True)

    assert list(Product.objects.order_by("-name").values_list("colour", "material")) == [
        ("Sage", "stoneware"),
        ("blue", ""),
    ]
    assert [image.alternative for image in Product.objects.get(name="Mug").images.all()] == [
        "Mug",
        "Mug, red",
    ]
    file = listed(folder, "c.png,bowl,colour,Red,,linen", header=header)
    assert loading.load(folder, file, quiet=True).products["changed"] == 1
    bowl = Product.objects.get(name="Bowl")
    assert (bowl.colour, bowl.material) == ("", "linen")
    assert list(bowl.images.values_list("width", "height")) == [(32, 32)]


def test_pictures_from_before_they_had_a_size_are_measured(folder: Path, media: Path) -> None:
    load(folder, "a.jpg,mug,Mug,,,,,,,,", "b.jpg,mug,,,,,,,,,", "c.png,mug,,,,,,,,,")
    files = list(ProductImage.objects.values_list("original", flat=True))
    call_command("migrate", "shop", "0001", verbosity=0)
    try:
        (media / files[1]).write_text("no picture")
        (media / files[2]).unlink()
    finally:
        call_command("migrate", "shop", verbosity=0)

    assert [(image.width, image.height) for image in ProductImage.objects.all()] == [
        (32, 32),
        (1, 1),
        (1, 1),
    ]
