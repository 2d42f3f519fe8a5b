"""The command encode_images: what it takes, what it says, and that it goes on after a kill."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.management import CommandError, call_command
from pytest_django import Settings

from cardigan_reco.models import EncoderVersion, EncodingRequest
from cardigan_reco.signals import paused
from tests.conftest import BLUE, GREEN, RED, AddProduct, encode_all
from tests.pictures import encoded as picture_file
from tests.pictures import plain
from tests.processes import Process, wait_until
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import PosterEmbedding, ProductImageEmbedding

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("silent_doorbell"),
]

LABEL = "testapp.ProductImageEmbedding"


def encode_images(*arguments: object, **options: object) -> tuple[list[str], str]:
    """Runs the command; returns the lines of its output, and what it wrote to stderr."""
    output, errors = io.StringIO(), io.StringIO()
    call_command("encode_images", *arguments, stdout=output, stderr=errors, **options)
    return output.getvalue().splitlines(), errors.getvalue()


def summary(line: str) -> str:
    """Returns a summary without the pictures per second, which it checks to be a number."""
    text, rate = line.rsplit("; ", 1)
    number, unit = rate.split()
    assert float(number) >= 0
    assert unit == "pictures/s"
    return text


def other_encoder(settings: Settings) -> None:
    """Changes the fingerprint of the default encoder, and nothing else."""
    encoder = {"BACKEND": "tests.recording_encoders.CudaEncoder", "OPTIONS": {"dimensions": 16}}
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "ENCODERS": {"default": encoder}}


def test_encodes_what_has_no_vector(add_product: AddProduct) -> None:
    add_product("mug", RED, GREEN)
    EncodingRequest.objects.all().delete()  # As after a bulk import, which sends no signals.
    add_product("bowl", BLUE)
    lines, errors = encode_images()
    assert [summary(line) for line in lines] == [
        "testapp.ProductImageEmbedding: 3 encoded, 0 unchanged",
        "testapp.PosterEmbedding: 0 encoded, 0 unchanged",
    ]
    assert ProductImageEmbedding.objects.count() == 3
    assert not EncodingRequest.objects.exists()
    assert "testapp.ProductImageEmbedding: 100%" in errors
    assert "3/3" in errors


def test_a_second_run_has_nothing_to_do(add_product: AddProduct) -> None:
    image = add_product("mug", RED).images.get()
    encode_images(LABEL)
    assert summary(encode_images(LABEL)[0][0]) == f"{LABEL}: 0 encoded, 0 unchanged"
    image.save()
    assert summary(encode_images(LABEL)[0][0]) == f"{LABEL}: 0 encoded, 1 unchanged"


def test_one_collection_leaves_the_others(add_product: AddProduct) -> None:
    add_product("mug", RED)
    lines, _ = encode_images(PosterEmbedding._meta.label)
    assert [summary(line) for line in lines] == ["testapp.PosterEmbedding: 0 encoded, 0 unchanged"]
    assert EncodingRequest.objects.count() == 1


def test_a_collection_may_be_named_by_its_purpose(add_product: AddProduct) -> None:
    add_product("mug", RED)
    lines, _ = encode_images("similar")
    assert [summary(line) for line in lines] == [
        "testapp.ProductImageEmbedding: 1 encoded, 0 unchanged"
    ]


def test_an_unknown_collection_names_the_choices() -> None:
    with pytest.raises(CommandError) as caught:
        encode_images("testapp.Nothing")
    assert str(caught.value) == (
        "'testapp.Nothing' is not an embedding model. Choices are: "
        "testapp.ProductImageEmbedding, testapp.PosterEmbedding."
    )


@pytest.mark.parametrize("option", ["--limit", "--batch-size"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_numbers_are_above_0(option: str, value: str) -> None:
    with pytest.raises(CommandError, match=f"{value!r} is not a whole number above 0"):
        encode_images(f"{option}={value}")


def test_stale_encodes_again_what_another_encoder_did(
    add_product: AddProduct, settings: Settings
) -> None:
    add_product("mug", RED, GREEN)
    encode_all()
    other_encoder(settings)
    assert summary(encode_images(LABEL)[0][0]) == f"{LABEL}: 0 encoded, 0 unchanged"
    assert summary(encode_images(LABEL, "--stale")[0][0]) == f"{LABEL}: 2 encoded, 0 unchanged"
    newest = EncoderVersion.objects.latest("pk")
    assert EncoderVersion.objects.count() == 2
    assert ProductImageEmbedding.objects.filter(encoder_version=newest).count() == 2
    assert summary(encode_images(LABEL, "--stale")[0][0]) == f"{LABEL}: 0 encoded, 0 unchanged"


def test_stale_goes_on_where_a_limit_stopped_it(
    add_product: AddProduct, settings: Settings
) -> None:
    add_product("mug", RED, GREEN, BLUE)
    encode_all()
    other_encoder(settings)
    first = encode_images(LABEL, "--stale", "--limit=2")[0]
    second = encode_images(LABEL, "--stale")[0]
    assert summary(first[0]) == f"{LABEL}: 2 encoded, 0 unchanged"
    assert summary(second[0]) == f"{LABEL}: 1 encoded, 0 unchanged"


def test_retry_takes_what_was_given_up(add_product: AddProduct) -> None:
    image = add_product("mug", RED).images.get()
    picture = Path(image.original.path)
    good = picture.read_bytes()
    picture.write_bytes(b"no picture")
    lines, _ = encode_images(LABEL)
    assert summary(lines[0]) == f"{LABEL}: 0 encoded, 0 unchanged, 1 failed (bad_image)"
    assert lines[1:] == ["1 are given up; --retry tries them again."]
    picture.write_bytes(good)
    assert summary(encode_images(LABEL)[0][0]) == f"{LABEL}: 0 encoded, 0 unchanged"
    lines, _ = encode_images(LABEL, "--retry")
    assert [summary(line) for line in lines] == [f"{LABEL}: 1 encoded, 0 unchanged"]


def test_a_missing_file_is_to_be_tried_again(add_product: AddProduct) -> None:
    image = add_product("mug", RED).images.get()
    Path(image.original.path).unlink()
    lines, _ = encode_images(LABEL)
    assert summary(lines[0]) == f"{LABEL}: 0 encoded, 0 unchanged, 1 to be tried again"


def test_limit_counts_over_all_collections(add_product: AddProduct) -> None:
    add_product("mug", RED, GREEN, BLUE)
    lines, errors = encode_images("--limit=2", "--batch-size=5")
    assert [summary(line) for line in lines] == [f"{LABEL}: 2 encoded, 0 unchanged"]
    assert "2/2" in errors
    assert EncodingRequest.objects.count() == 1


def recording(settings: Settings, log: Path, **options: int) -> dict[str, object]:
    encoder = {
        "BACKEND": "tests.recording_encoders.RecordingEncoder",
        "OPTIONS": {"dimensions": 16, "log": str(log), **options},
    }
    return {**settings.CARDIGAN_RECO, "ENCODERS": {"default": encoder}, "LEASE_SECONDS": 1}


def test_batch_size_is_how_many_are_encoded_together(
    add_product: AddProduct, settings: Settings, tmp_path: Path
) -> None:
    add_product("mug", RED, GREEN, BLUE)
    log = tmp_path / "encoded.log"
    settings.CARDIGAN_RECO = recording(settings, log)
    encode_images("--batch-size=2")
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["1", "1", "2"]


def test_goes_on_after_a_kill(settings: Settings, tmp_path: Path) -> None:
    log = tmp_path / "encoded.log"
    product = Product.objects.create(title="mug")
    colours = {}
    with paused():
        for number in range(60):
            colour = (number, 90, 90)
            file = ContentFile(picture_file(plain(colour, (16, 16)), "PNG"), name=f"{number}.png")
            image = ProductImage.objects.create(product=product, original=file)
            colours[image.pk] = str(colour)

    def encoded() -> Counter[str]:
        lines = log.read_text().splitlines() if log.exists() else []
        return Counter(line.partition(" ")[2] for line in lines)

    killed = Process(
        *["manage.py", "encode_images", "--batch-size=10"],
        log=tmp_path / "killed.log",
        CARDIGAN_RECO=recording(settings, log, hangs_at=30),
    )
    wait_until(lambda: encoded().total() == 30, "the third batch is being encoded", killed)
    killed.kill()
    written = set(ProductImageEmbedding.objects.values_list("pk", flat=True))
    assert len(written) == 20

    def goes_on() -> bool:
        settings.CARDIGAN_RECO = recording(settings, log)
        encode_images("--batch-size=10")
        return not EncodingRequest.objects.exists()

    # Until the lease of the dead process has ended, ten pictures are still its own.
    wait_until(goes_on, "the queue is empty")
    assert set(ProductImageEmbedding.objects.values_list("pk", flat=True)) == set(colours)
    assert {encoded()[colours[pk]] for pk in written} == {1}
    assert sorted(encoded().values()) == [1] * 50 + [2] * 10
