"""Any classification network of torchvision, without its classifier."""

import re
import subprocess
import sys

import numpy as np
import pytest

from cardigan_reco.encoders.networks import trunk
from cardigan_reco.encoders.torchvision import TorchvisionEncoder
from cardigan_reco.encoders.torchvision_shim import import_torchvision
from cardigan_reco.exceptions import EncoderError
from tests.encoders.conftest import SMALL_NETWORKS

WIDTHS = {**SMALL_NETWORKS, "efficientnet_b0": 1280, "regnet_y_400mf": 440, "mnasnet0_5": 1280}


@pytest.mark.parametrize(("network", "width"), WIDTHS.items())
def test_the_classifier_is_cut_off_whatever_its_name(network, width):
    import torch

    built = trunk.build(network)
    assert built.width == width
    with torch.inference_mode():
        assert built.network.eval()(torch.rand(2, 3, 64, 64)).shape == (2, width)


@pytest.mark.parametrize("network", ["resnet18", "squeezenet1_1"])
def test_the_vectors_are_what_the_classifier_would_have_been_given(network, random_weights, shirt):
    import torch
    from safetensors.torch import load_file

    encoder = TorchvisionEncoder(network, random_weights(network), device="cpu")
    models = import_torchvision("The tests").models
    whole = models.get_model(network, weights=None).eval()
    whole.load_state_dict(load_file(random_weights(network)))
    seen = []
    head = whole.fc if network == "resnet18" else whole.classifier[1]
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    transform = models.get_model_weights(network)["DEFAULT"].transforms()
    with torch.inference_mode():
        whole(transform(shirt)[None])
    given = seen[0].relu().mean(dim=(2, 3)) if seen[0].ndim == 4 else seen[0]
    wanted = given[0].numpy() / np.linalg.norm(given[0].numpy())
    assert np.abs(encoder.encode([shirt])[0] - wanted).max() < 1e-4


def test_the_input_size_of_the_weights_is_the_hint_for_the_loader():
    assert TorchvisionEncoder("resnet18", "IMAGENET1K_V1").min_side == 256


def test_a_vision_transformer_takes_the_input_size_of_its_weights():
    import torch

    with torch.device("meta"):  # 633 million weights need not be there to be counted
        network = trunk.build("vit_h_14", image_size=518).network
        assert network(torch.empty(1, 3, 518, 518)).shape == (1, 1280)


def test_weights_may_be_named_in_full_or_by_their_file():
    short = TorchvisionEncoder("resnet18", "IMAGENET1K_V1")
    full = TorchvisionEncoder("resnet18", "ResNet18_Weights.IMAGENET1K_V1")
    default = TorchvisionEncoder("resnet18")
    assert short.fingerprint == full.fingerprint == default.fingerprint
    assert TorchvisionEncoder("resnet50", "IMAGENET1K_V1").fingerprint != short.fingerprint


def test_an_unknown_network_is_told_close_choices():
    with pytest.raises(EncoderError, match=r"'resnet51' is no classification network.*resnet50"):
        _ = TorchvisionEncoder("resnet51").dimensions


def test_a_detector_is_no_choice():
    with pytest.raises(EncoderError, match="no classification network"):
        _ = TorchvisionEncoder("fasterrcnn_resnet50_fpn").dimensions


def test_unknown_weights_are_told_the_choices():
    wanted = "no weights 'IMAGENET21K'. Choices are: IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT, or"
    with pytest.raises(EncoderError, match=wanted):
        _ = TorchvisionEncoder("resnet50", "IMAGENET21K").fingerprint


def test_weights_of_another_network_are_refused(random_weights, shirt):
    encoder = TorchvisionEncoder("resnet18", random_weights("squeezenet1_1"), device="cpu")
    with pytest.raises(EncoderError, match="don't fit the network 'resnet18'"):
        encoder.encode([shirt])


def test_a_wrong_hash_of_a_file_is_refused(random_weights):
    with pytest.raises(EncoderError, match="is wanted"):
        TorchvisionEncoder("resnet18", random_weights("resnet18"), sha256="0" * 64)


def test_a_hash_for_a_name_is_refused():
    with pytest.raises(EncoderError, match="whose hash torchvision knows"):
        TorchvisionEncoder("resnet18", "DEFAULT", sha256="0" * 64)


def test_a_pickle_is_refused(tmp_path):
    import torch

    path = tmp_path / "resnet18.pth"
    torch.save({}, path)
    with pytest.raises(EncoderError, match="are a pickle"):
        TorchvisionEncoder("resnet18", path)


def test_offline_the_address_the_cache_and_the_ways_out_are_named(monkeypatch, tmp_path, shirt):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(EncoderError) as caught:
        TorchvisionEncoder("resnet18", device="cpu").encode([shirt])
    message = str(caught.value)
    assert "https://download.pytorch.org/models/resnet18-" in message
    assert re.search(rf"{re.escape(str(tmp_path))}/hub/checkpoints", message)
    assert "TORCH_HOME" in message
    assert ".safetensors" in message


@pytest.mark.parametrize("damaged", [b"", b"no weights", b"PK\x03\x04" + bytes(40)])
def test_a_damaged_cached_download_is_refused(monkeypatch, tmp_path, shirt, damaged):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "resnet18-f37072fd.pth").write_bytes(damaged)
    with pytest.raises(EncoderError, match=r"Delete .*/hub/checkpoints/resnet18-f37072fd\.pth"):
        TorchvisionEncoder("resnet18", device="cpu").encode([shirt])


UNFIT = (
    "import torch\n"
    "def refuse(path):\n"
    "    raise OSError('undefined symbol')\n"
    "torch.ops.load_library = refuse\n"
)
"""What a torchvision that is built for another torch does."""


@pytest.mark.parametrize("before", ["", UNFIT], ids=["as installed", "unfit"])
def test_the_shim_makes_the_whole_of_torchvision_importable(before):
    code = before + (
        "from cardigan_reco.encoders.torchvision_shim import import_torchvision\n"
        "module = import_torchvision('A test')\n"
        "assert import_torchvision('A test') is module\n"
        "from torchvision.transforms import v2\n"
        "print(len(module.models.list_models(module=module.models)) > 50, hasattr(v2, 'Resize'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert done.stdout.strip() == "True True", done.stderr
