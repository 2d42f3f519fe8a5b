"""AspectNet: the share of each aspect, and parts that are settled between learned classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cardigan_reco.encoders import bundle, networks, quantisation
from cardigan_reco.encoders.networks.aspectnet import NONE
from cardigan_reco.encoders.preprocessing import Preprocessing
from cardigan_reco.encoders.torch import TorchEncoder
from cardigan_reco.exceptions import EncoderError

torch = pytest.importorskip("torch")


def small(*, dimensions: int = 64) -> torch.nn.Module:
    torch.manual_seed(0)
    network = networks.build("AspectNet", trunk="mobilenet_v3_small", dimensions=dimensions)
    # As after training: vectors that spread around 0.
    network.norm.momentum = None
    with torch.no_grad():
        network.train()(pictures(16))
    return network.eval()


def pictures(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, 1, 1, generator=generator) * torch.rand(
        count, 3, 64, 64, generator=generator
    )


def prototypes(network: torch.nn.Module, **classes: int) -> dict[str, torch.Tensor]:
    """Returns so many random rows of length 8 for each aspect."""
    found = {}
    for aspect, count in classes.items():
        part = network.aspects[aspect]
        rows = torch.randn(count, part.stop - part.start)
        found[aspect] = 8 * torch.nn.functional.normalize(rows)
    return found


def vectors(network: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return network(pictures(3))


def test_the_aspects_weights_are_their_share_of_the_similarity() -> None:
    torch.manual_seed(0)
    network = networks.build("AspectNet", trunk="mobilenet_v3_small", dimensions=64).eval()
    network.weigh({"kind": 5, "colour": 3, "design": 2})
    with torch.inference_mode():
        vectors = network(torch.rand(2, 3, 64, 64))
    assert [part.stop - part.start for part in network.aspects.values()] == [24, 8, 32]
    squared = [vectors[0, part].square().sum().item() for part in network.aspects.values()]
    assert squared == pytest.approx([0.5, 0.3, 0.2], abs=1e-5)


@pytest.mark.parametrize(
    "weights",
    [
        {"kind": 1, "colour": 1},
        {"kind": 1, "colour": 1, "design": -1},
        {"kind": 0, "colour": 0, "design": 0},
        {"kind": 1, "colour": 1, "design": 1, "size": 1},
    ],
)
def test_aspect_weights_that_make_no_sense_are_refused(weights: dict[str, float]) -> None:
    network = networks.build("AspectNet", trunk="mobilenet_v3_small", dimensions=64)
    with pytest.raises(EncoderError, match="Give a number from 0 for each of: kind, colour, desig"):
        network.weigh(weights)


def at_angles(*degrees: float) -> torch.Tensor:
    """Returns vectors of 16 dimensions whose colour, at 6 and 7, has these angles."""
    rows = torch.ones(len(degrees), 16)
    for row, angle in zip(rows, map(math.radians, degrees), strict=True):
        row[6:8] = torch.tensor([math.cos(angle), math.sin(angle)])
    return rows


def test_settled_pictures_of_one_class_lie_together() -> None:
    network = networks.build("AspectNet", trunk="mobilenet_v3_small", dimensions=16).eval()
    network.trunk = network.embedding = network.norm = torch.nn.Identity()
    network.settle({"colour": torch.tensor([[20.0, 0], [0, 20.0]])})
    x, y = network(at_angles(10, 30, 45, 60, 80))[:, 6:8].T
    found = torch.rad2deg(torch.atan2(y, x)).tolist()
    # Classes are at 0 and 90 degrees: what leans to one is drawn to it, what doesn't stays.
    assert found == pytest.approx([0, 0, 45, 90, 90], abs=0.1)


def test_what_is_of_no_class_is_compared_by_its_design() -> None:
    network = networks.build("AspectNet", trunk="mobilenet_v3_small", dimensions=16).eval()
    network.trunk = network.embedding = network.norm = torch.nn.Identity()
    network.weigh({"kind": 5, "colour": 3, "design": 2})
    network.settle({"colour": torch.tensor([[20.0, 0]])})
    found = network(at_angles(0, 50, 90 - math.degrees(math.asin(NONE)), 80, 180))
    squared = [found[:, part].square().sum(1).tolist() for part in network.aspects.values()]
    kind, colour, design = squared
    assert kind == pytest.approx([0.5] * 5)
    assert colour == pytest.approx([0.3, 0.3 * 0.979**2, 0.3 / 4, 0, 0], abs=1e-3)
    assert design == pytest.approx([0.5 - part for part in colour])


def test_a_settled_part_is_the_mean_of_the_classes_by_their_chances() -> None:
    network = small()
    network.weigh({"kind": 5, "colour": 3, "design": 2})
    before = vectors(network)
    given = prototypes(network, kind=5)
    network.settle(given)
    after = vectors(network)
    kind, colour, design = network.aspects.values()
    own = before[:, kind].numpy() / math.sqrt(0.5)
    rows = given["kind"].numpy()
    chances = np.exp(own @ rows.T)
    sums = chances.sum(1, keepdims=True) + math.exp(8 * NONE)
    wanted = chances / sums @ (rows / 8) * math.sqrt(0.5)
    assert after[:, kind].numpy() == pytest.approx(wanted, abs=1e-5)
    assert torch.equal(after[:, colour], before[:, colour])
    # What the kind is not sure of counts for the design.
    lengths = np.sqrt(0.7 - np.square(wanted).sum(1, keepdims=True))
    longer = before[:, design].numpy() / math.sqrt(0.2) * lengths
    assert after[:, design].numpy() == pytest.approx(longer, abs=1e-5)
    assert after.norm(dim=1).tolist() == pytest.approx([1] * 3)


def test_a_certain_kind_alone_is_a_vector_too() -> None:
    """Nothing is left for the design then, as near as numbers are."""
    network = networks.build("AspectNet", trunk="mobilenet_v3_small", dimensions=16).eval()
    network.trunk = network.embedding = network.norm = torch.nn.Identity()
    network.weigh({"kind": 1, "colour": 0, "design": 0})
    network.settle({"kind": 900 * torch.eye(6)})
    found = network(torch.cat([torch.eye(6), torch.ones(6, 10)], 1))
    assert torch.allclose(found[:, :6], torch.eye(6))
    assert found[:, 6:].norm(dim=1).max() < 1e-3


def test_settling_anew_replaces_all_that_was_settled() -> None:
    network = small()
    before = vectors(network)
    network.settle(prototypes(network, kind=5, colour=3))
    network.settle(prototypes(network, colour=4, design=6))
    kind, colour = network.aspects["kind"], network.aspects["colour"]
    assert torch.equal(vectors(network)[:, kind], before[:, kind])
    assert not torch.allclose(vectors(network)[:, colour], before[:, colour], atol=0.1)
    network.settle({})
    assert torch.equal(vectors(network), before)


def with_designs(designs: torch.Tensor) -> tuple[torch.nn.Module, torch.Tensor]:
    """Returns a network that passes on what it is shown, and rows with these designs to show it."""
    network = networks.build("AspectNet", trunk="mobilenet_v3_small", dimensions=16).eval()
    network.trunk = network.embedding = network.norm = torch.nn.Identity()
    return network, torch.cat([torch.ones(len(designs), 8), designs], 1)


def cosines(designs: torch.Tensor) -> torch.Tensor:
    rows = torch.nn.functional.normalize(designs)
    return rows @ rows.T


def test_whitened_designs_differ_in_what_most_share() -> None:
    torch.manual_seed(0)
    common = torch.tensor([5.0, 0, 0, 0, 0, 0, 0, 0])
    network, shown = with_designs(common + torch.randn(4000, 8))
    network.whiten(network(shown))
    found = network(shown)
    assert found.norm(dim=1).tolist() == pytest.approx([1] * 4000, abs=1e-5)
    before, after = cosines(shown[:, 8:]), cosines(found[:, 8:])
    unlike = ~torch.eye(4000, dtype=torch.bool)
    assert before[unlike].mean() > 0.7
    assert after[unlike].mean() < 0.35
    # What little they differ in says as much as before of which are alike.
    order = [part[0, 1:].argsort() for part in (before, after)]
    assert len(set(order[0][-100:].tolist()) & set(order[1][-100:].tolist())) > 60


def test_whitening_leaves_kind_colour_and_lengths() -> None:
    network = small()
    network.weigh({"kind": 5, "colour": 3, "design": 2})
    network.settle(prototypes(network, kind=5))
    before = vectors(network)
    network.whiten(torch.randn(50, 64) * torch.linspace(1, 9, 64))
    after = vectors(network)
    design = network.aspects["design"]
    assert torch.equal(after[:, : design.start], before[:, : design.start])
    lengths = before[:, design].norm(dim=1).tolist()
    assert after[:, design].norm(dim=1).tolist() == pytest.approx(lengths)
    assert not torch.allclose(after[:, design], before[:, design], atol=0.01)
    network.whiten(None)
    assert torch.equal(vectors(network), before)


def test_few_pictures_whiten_little() -> None:
    torch.manual_seed(0)
    network, shown = with_designs(torch.randn(400, 8) * torch.linspace(1, 9, 8))
    before = network(shown)

    def moved(count: int) -> float:
        network.whiten(None)
        network.whiten(network(shown[:count]))
        return (network(shown) - before).norm(dim=1).mean().item()

    distances = [moved(count) for count in (1, 8, 400)]
    assert distances == sorted(distances)
    assert distances[0] < distances[2] / 2


def test_designs_without_a_length_are_not_whitened() -> None:
    network, shown = with_designs(torch.zeros(3, 8))
    network.whiten(network(shown))
    assert network.whitening is None


@pytest.mark.parametrize("had", [{}, {"kind": 5, "colour": 9}])
@pytest.mark.parametrize("given", [{}, {"colour": 2}, {"kind": 7, "colour": 3}])
def test_a_state_dict_brings_its_own_classes_and_whitening(
    had: dict[str, int], given: dict[str, int]
) -> None:
    trained, fresh = small(), small()
    trained.settle(prototypes(trained, **given))
    fresh.settle(prototypes(fresh, **had))
    (trained if had else fresh).whiten(torch.eye(64))
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(vectors(fresh), vectors(trained))
    assert fresh.state_dict().keys() == trained.state_dict().keys()


def test_prototypes_of_another_length_are_refused() -> None:
    network = small()
    state = {**network.state_dict(), "kind_prototypes": torch.zeros(5, 23)}
    with pytest.raises(RuntimeError, match="size mismatch for kind_prototypes"):
        network.load_state_dict(state)


@pytest.mark.parametrize("pack", [quantisation.halve, quantisation.pack])
def test_a_bundle_keeps_the_parts_settled_and_whitened(
    tmp_path: Path, pack: Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]
) -> None:
    network = small(dimensions=256)
    network.settle(prototypes(network, kind=50, colour=3))
    with torch.inference_mode():
        network.whiten(network(pictures(100)))
    tensors = pack(network.state_dict())
    bundle.write(
        tmp_path / "settled.safetensors",
        tensors,
        network="AspectNet",
        trunk="mobilenet_v3_small",
        dimensions=256,
        preprocessing=Preprocessing((64, 64), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    )
    assert ("kind_prototypes.int8" in tensors) is (pack is quantisation.pack)
    encoder = TorchEncoder(tmp_path / "settled.safetensors", device="cpu")
    shown = [
        Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 60).convert("RGB"),
        Image.new("RGB", (64, 64), "red"),
    ]
    with torch.inference_mode():
        wanted = network(encoder.prepare(shown)).numpy()
    for aspect in ("kind", "colour"):
        part = network.aspects[aspect]
        found = encoder.encode(shown)[:, part]
        lengths = np.linalg.norm(wanted[:, part], axis=1)
        assert np.linalg.norm(found, axis=1) == pytest.approx(lengths, rel=0.1)
        assert np.linalg.norm(found - wanted[:, part], axis=1).max() < 0.1 * lengths.min()
        assert lengths.max() < 0.5  # An unsettled part's is 0.58.
    part = network.aspects["design"]
    near = torch.nn.functional.cosine_similarity(
        torch.from_numpy(encoder.encode(shown)[:, part]), torch.from_numpy(wanted[:, part])
    )
    # Noise is alike but for little, which whitening brings out, and the rounding with it.
    assert near.min() > 0.9
