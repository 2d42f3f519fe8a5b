"""Pictures and weights that the tests of the encoders share."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageEnhance

SMALL_NETWORKS = {
    "resnet18": 512,
    "shufflenet_v2_x0_5": 1024,
    "mobilenet_v3_small": 1024,
    "squeezenet1_1": 512,
}
"""Networks of torchvision that build fast, with the width before their classifier."""


@pytest.fixture(scope="session")
def shirt() -> Image.Image:
    """A striped red shirt on white."""
    image = Image.new("RGB", (180, 220), "white")
    draw = ImageDraw.Draw(image)
    draw.polygon([(40, 30), (140, 30), (175, 80), (150, 95), (135, 75), (135, 200), (45, 200),
                  (45, 75), (30, 95), (5, 80)], fill=(190, 30, 50))  # fmt: skip
    for top in range(50, 200, 24):
        draw.rectangle((45, top, 135, top + 8), fill=(240, 230, 220))
    return image


@pytest.fixture(scope="session")
def shirt_again(shirt: Image.Image) -> Image.Image:
    """The same shirt in another light, a little smaller."""
    return ImageEnhance.Brightness(shirt).enhance(0.9).resize((150, 184))


@pytest.fixture(scope="session")
def bottle() -> Image.Image:
    """A green bottle on a grey ground."""
    image = Image.linear_gradient("L").resize((160, 240)).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.rectangle((70, 10, 90, 70), fill=(20, 90, 40))
    draw.ellipse((40, 60, 120, 120), fill=(20, 90, 40))
    draw.rectangle((40, 90, 120, 230), fill=(20, 90, 40))
    draw.rectangle((45, 130, 115, 190), fill=(235, 225, 120))
    return image


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns a file of seeded random weights for a network of torchvision."""
    folder = tmp_path_factory.mktemp("weights")

    def file(network: str) -> Path:
        path = folder / f"{network}.safetensors"
        if not path.exists():
            import torch
            from safetensors.torch import save_file

            from cardigan_reco.encoders.torchvision_shim import import_torchvision

            models = import_torchvision("The tests").models
            torch.manual_seed(7)
            save_file(models.get_model(network, weights=None).state_dict(), path)
        return path

    return file
