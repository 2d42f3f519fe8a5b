"""What most faults need: a folder broker, saves that ring nobody, and pictures of any size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from cardigan_reco.models import EncodingRequest
from tests.conftest import RED, Colour
from tests.pictures import encoded, plain
from tests.processes import Broker
from tests.testapp.catalogue.models import Product, ProductImage

AddImage = Callable[..., ProductImage]
DECODERS = Path(__file__).parent / "decoders"


@pytest.fixture
def broker(tmp_path: Path, silent_doorbell: list[str]) -> Broker:
    """A broker that only the workers' own polling uses."""
    return Broker.in_folder(tmp_path / "broker")


@pytest.fixture
def add_picture(transactional_db: None) -> AddImage:
    """Returns a function that saves a picture of a colour and size under a name."""
    product = Product.objects.create(title="mug")

    def add(name: str = "mug", colour: Colour = RED, side: int = 64) -> ProductImage:
        # Not JPEG, which Pillow may halve before it is decoded.
        file = ContentFile(encoded(plain(colour, (side, side)), "PNG"), name=f"{name}.png")
        return ProductImage.objects.create(product=product, original=file)

    return add


def requests() -> dict[int, tuple[str, int]]:
    """Returns state and attempts of what is in the queue, by the source's key."""
    rows = EncodingRequest.objects.values_list("source_pk", "state", "attempts")
    return {int(pk): (state, attempts) for pk, state, attempts in rows}


def error_of(image: ProductImage) -> str:
    return EncodingRequest.objects.get(source_pk=str(image.pk)).error


def encoder(name: str, **options: object) -> dict[str, object]:
    """Returns CARDIGAN_RECO["ENCODERS"] with an encoder of tests.faults.encoders."""
    options = {"dimensions": 16, **options}
    return {"default": {"BACKEND": f"tests.faults.encoders.{name}", "OPTIONS": options}}
