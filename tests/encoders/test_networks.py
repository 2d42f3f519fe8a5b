"""The networks of ours: their sizes, what is frozen in them, and that bundles hold them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cardigan_reco.encoders import bundle, networks, quantisation
from cardigan_reco.encoders.preprocessing import Preprocessing
from cardigan_reco.encoders.torch import TorchEncoder
from cardigan_reco.exceptions import EncoderError

torch = pytest.importorskip("torch")
LARGE = Preprocessing((224, 224), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def numbers(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def test_simnet_has_the_published_numbers_of_parameters() -> None:
    network = networks.build("SimNet", trunk="vgg16", dimensions=512)
    weights = dict(network.named_parameters())
    statistics = [
        tensor
        for name, tensor in network.named_buffers()
        if name.rpartition(".")[2] != "num_batches_tracked"
    ]
    assert numbers(statistics) == 9_600
    assert numbers(weights.values()) + 9_600 == 42_559_744
    trainable = [weight for weight in weights.values() if weight.requires_grad]
    assert numbers(trainable) == 27_835_456
    assert numbers(weights.values()) - numbers(trainable) + 9_600 == 14_724_288


def test_a_step_of_simnet_leaves_the_convolutions_alone() -> None:
    torch.manual_seed(0)
    network = networks.build("SimNet", trunk="vgg16", dimensions=64).train()
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    learned = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=0.1)
    output = network(torch.randn(3, 3, 224, 224))
    assert output.shape == (3, 64)
    output.square().mul(torch.randn(3, 64)).sum().backward()
    optimizer.step()
    changed = {
        name for name, tensor in network.named_parameters() if not torch.equal(tensor, before[name])
    }
    assert not any(name.startswith("features.") for name in changed)
    assert {"deep.1.weight", "shallow.0.1.weight", "shallow.1.1.weight", "head.1.weight"} <= changed


def test_visnet_gives_the_published_vector_and_a_shorter_one() -> None:
    network = networks.build("VisNet", trunk="vgg16", dimensions=128).eval()
    picture = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        published, short = network.published(picture), network(picture)
    assert published.shape == (1, 4096)
    assert published.norm() == pytest.approx(1, abs=1e-5)
    assert short.shape == (1, 128)
    joined = network.embedding.in_features
    assert joined == 4096 + 2 * 1536


@pytest.mark.parametrize("name", ["SimNet", "VisNet"])
def test_networks_on_vgg16_take_no_other_trunk(name: str) -> None:
    with pytest.raises(EncoderError) as raised:
        networks.build(name, trunk="resnet18", dimensions=512)
    assert str(raised.value) == (
        f"{name} can't be built on 'resnet18'. Choices are: vgg16. SmallNet and AspectNet take "
        "any trunk."
    )


def test_simnet_takes_no_other_size() -> None:
    network = networks.build("SimNet", trunk="vgg16", dimensions=8).eval()
    with pytest.raises(
        EncoderError, match=r"was given pictures of 160 x 128 pixels\. It takes 224"
    ):
        network(torch.zeros(1, 3, 128, 160))


@pytest.mark.parametrize("trunk", ["mobilenet_v3_small", "squeezenet1_1", "resnet18"])
@pytest.mark.parametrize("name", ["SmallNet", "AspectNet"])
def test_any_trunk_gets_the_dimensions_asked_for(name: str, trunk: str) -> None:
    network = networks.build(name, trunk=trunk, dimensions=96).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 96)


def test_what_apples_gpus_multiply_is_the_mean_of_each_cell() -> None:
    from cardigan_reco.encoders.networks import gridnet

    for height, width in itertools.product(range(6, 13), repeat=2):
        maps = torch.rand(2, 3, height, width)
        wanted = torch.nn.functional.adaptive_avg_pool2d(maps, gridnet.GRID)
        assert torch.allclose(gridnet.cell_means(maps), wanted, atol=1e-6)


def test_a_bundle_in_8_bits_gives_nearly_the_same_vectors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = networks.build("AspectNet", trunk="regnet_x_400mf", dimensions=512).eval()
    picture = Image.effect_mandelbrot((224, 224), (-2, -1.5, 1, 1.5), 60).convert("RGB")
    other = picture.rotate(90)
    vectors = {}
    for name, tensors in (
        ("float16", quantisation.halve(network.state_dict())),
        ("int8", quantisation.pack(network.state_dict())),
    ):
        bundle.write(
            tmp_path / name,
            tensors,
            network="AspectNet",
            trunk="regnet_x_400mf",
            dimensions=512,
            preprocessing=LARGE,
        )
        vectors[name] = TorchEncoder(tmp_path / name, device="cpu").encode([picture, other])
    assert (tmp_path / "int8").stat().st_size < 0.56 * (tmp_path / "float16").stat().st_size
    assert np.linalg.norm(vectors["int8"] - vectors["float16"], axis=1).max() < 0.05


def test_simnet_in_a_bundle_encodes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = networks.build("SimNet", trunk="vgg16", dimensions=512).eval()
    bundle.write(
        tmp_path / "simnet.safetensors",
        quantisation.halve(network.state_dict()),
        network="SimNet",
        trunk="vgg16",
        dimensions=512,
        preprocessing=LARGE,
    )
    encoder = TorchEncoder(tmp_path / "simnet.safetensors", device="cpu")
    picture = Image.effect_mandelbrot((224, 224), (-2, -1.5, 1, 1.5), 60).convert("RGB")
    vectors = encoder.encode([picture])
    with torch.inference_mode():
        expected = network(encoder.prepare([picture]))[0]
    assert vectors.shape == (1, 512)
    assert float(vectors[0] @ (expected / expected.norm()).numpy()) == pytest.approx(1, abs=1e-3)
