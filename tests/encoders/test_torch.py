"""The bundled network, and the running of networks in general."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from cardigan_reco.encoders import devices, networks
from cardigan_reco.encoders.network_encoder import NetworkEncoder
from cardigan_reco.encoders.torch import TorchEncoder
from cardigan_reco.exceptions import EncoderError


@pytest.fixture(scope="module")
def encoder():
    return TorchEncoder(device="cpu")


def test_vectors_of_another_revision_are_another_state(monkeypatch):
    before = TorchEncoder().fingerprint
    monkeypatch.setitem(networks.REVISIONS, "AspectNet", 99)
    assert TorchEncoder().fingerprint != before


def test_the_same_thing_beats_another_thing(encoder, shirt, shirt_again, bottle):
    anchor, again, other = encoder.encode([shirt, shirt_again, bottle])
    assert anchor @ again > 0.8
    assert anchor @ again > anchor @ other + 0.3


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_torch_is_imported_at_the_first_encoding_and_no_sooner():
    out = run(
        "import sys\n"
        "from PIL import Image\n"
        "from cardigan_reco.encoders.torch import TorchEncoder\n"
        "from cardigan_reco.encoders.torchvision import TorchvisionEncoder\n"
        "TorchvisionEncoder().uses_cuda\n"
        "e = TorchEncoder(device='cpu')\n"
        "(e.dimensions, e.fingerprint, e.min_side, e.uses_cuda, e.encode([]).shape)\n"
        "heavy = {'torch', 'torchvision', 'safetensors'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "e.encode([Image.new('RGB', (9, 9))])\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    assert out.splitlines() == ["[]", "['safetensors', 'torch']"]


def test_a_cold_process_imports_little_for_our_own_trunk(tmp_path):
    from cardigan_reco.encoders import bundle, networks
    from cardigan_reco.encoders.preprocessing import Preprocessing

    path = tmp_path / "own.safetensors"
    bundle.write(
        path,
        networks.build("AspectNet", trunk="gridnet", dimensions=16).state_dict(),
        network="AspectNet",
        trunk="gridnet",
        dimensions=16,
        preprocessing=Preprocessing((64, 64), (0, 0, 0), (1, 1, 1)),
    )
    # Each of these takes a second, as long as torch itself.
    slow = {"torchvision", "torch._dynamo", "sympy", "pytorch_metric_learning"}
    out = run(
        "import sys\n"
        "from PIL import Image\n"
        "from cardigan_reco.encoders.torch import TorchEncoder\n"
        f"TorchEncoder({str(path)!r}, device='cpu').encode([Image.new('RGB', (9, 9))])\n"
        f"print(sorted({slow} & set(sys.modules)))\n"
    )
    assert out == "[]"


@pytest.mark.parametrize(
    ("absent", "made"),
    [
        ("torch", "torch.TorchEncoder(device='cpu')"),
        ("torch", "torchvision.TorchvisionEncoder('resnet18', W)"),
        ("torchvision", "torchvision.TorchvisionEncoder('resnet18', W)"),
        ("safetensors", "torchvision.TorchvisionEncoder('resnet18', W)"),
    ],
)
def test_without_its_packages_the_extra_is_named(absent, made, random_weights):
    module = made.split(".")[0]
    out = run(
        "import sys\n"
        f"sys.modules[{absent!r}] = None\n"
        "from PIL import Image\n"
        f"from cardigan_reco.encoders import {module}\n"
        "from cardigan_reco.exceptions import MissingExtra\n"
        f"W = {str(random_weights('resnet18'))!r}\n"
        "try:\n"
        f"    {made}.encode([Image.new('RGB', (9, 9))])\n"
        "except MissingExtra as error:\n"
        "    print(error)\n"
    )
    assert out.endswith("pip install 'cardigan-reco[torch]'")


def test_threads_share_the_network_and_agree(shirt, bottle):
    encoder = TorchEncoder(device="cpu")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: encoder.encode([shirt, bottle]), range(8)))
    assert all(np.allclose(vectors, found[0], atol=1e-5) for vectors in found)


def test_the_threads_of_torch_are_set_on_request(shirt):
    out = run(
        "import torch\n"
        "from PIL import Image\n"
        "from cardigan_reco.encoders.torch import TorchEncoder\n"
        "TorchEncoder(device='cpu', threads=1).encode([Image.new('RGB', (9, 9))])\n"
        "print(torch.get_num_threads())\n"
    )
    assert out == "1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "Device 'gpu' is unknown. Choices are: auto, cpu, mps, cuda"),
        ({"batch_size": 0}, "batch_size is 0. It must be 1 or more"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_a_wrong_option_is_found_at_once(options, message):
    with pytest.raises(EncoderError, match=message):
        TorchEncoder(**options)


def test_an_absent_device_is_told_the_choices(shirt):
    with pytest.raises(EncoderError, match=r"'cuda:99' isn't available .* Choices are: cpu"):
        TorchEncoder(device="cuda:99").encode([shirt])


@pytest.mark.parametrize(("device", "wanted"), [("cuda", True), ("cuda:1", True), ("cpu", False)])
def test_a_named_device_says_whether_cuda_is_used(device, wanted):
    assert TorchEncoder(device=device).uses_cuda is wanted


@pytest.fixture
def machine_with_cuda(monkeypatch):
    """One with an NVIDIA device, and a torch that can use it."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices.Path, "glob", lambda path, pattern: iter([path / "nvidia0"]))
    monkeypatch.setattr(devices.metadata, "version", lambda package: "2.11.0+cu130")


@pytest.mark.usefixtures("machine_with_cuda")
class TestAuto:
    def test_is_cuda_where_that_is(self):
        assert TorchEncoder().uses_cuda is True

    @pytest.mark.parametrize("hidden", ["", "-1"])
    def test_is_not_when_its_devices_are_hidden(self, monkeypatch, hidden):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert TorchEncoder().uses_cuda is False

    def test_is_not_without_a_device(self, monkeypatch):
        monkeypatch.setattr(devices.Path, "glob", lambda path, pattern: iter([]))
        monkeypatch.setattr(devices.Path, "exists", lambda path: False)
        assert TorchEncoder().uses_cuda is False

    def test_is_not_with_the_torch_for_cpus(self, monkeypatch):
        monkeypatch.setattr(devices.metadata, "version", lambda package: "2.11.0+cpu")
        assert TorchEncoder().uses_cuda is False

    def test_is_not_without_torch(self, monkeypatch):
        def absent(package):
            raise devices.metadata.PackageNotFoundError(package)

        monkeypatch.setattr(devices.metadata, "version", absent)
        assert TorchEncoder().uses_cuda is False


class CrampedEncoder(NetworkEncoder):
    """Runs a network whose memory holds `room` pictures; the vector is the colour."""

    def __init__(self, room, **options):
        super().__init__(device="cpu", **options)
        self.room, self.batches = room, []

    dimensions = 3
    fingerprint = ""

    def build(self):
        import torch

        class Cramped(torch.nn.Module):
            def forward(network, pictures):  # noqa: N805
                self.batches.append(len(pictures))
                if len(pictures) > self.room:
                    raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
                return pictures.mean(dim=(2, 3))

        return Cramped()

    def prepare(self, images):
        import torch

        arrays = [np.asarray(image, np.float32).transpose(2, 0, 1) for image in images]
        return torch.from_numpy(np.stack(arrays))


def greens(number):
    return [Image.new("RGB", (8, 8), (10, 20 * index, 10)) for index in range(number)]


def test_fault_42_without_memory_the_batch_is_halved_and_no_picture_is_lost():
    encoder = CrampedEncoder(room=3, batch_size=6)  # Too few pictures for lanes.
    vectors = encoder.encode(greens(10))
    assert encoder.batches == [6, 3, 3, 3, 1]
    assert np.array_equal(vectors, CrampedEncoder(room=99).encode(greens(10)))


def test_an_odd_batch_is_halved_down_to_one():
    encoder = CrampedEncoder(room=1, batch_size=5)
    assert encoder.encode(greens(5)).shape == (5, 3)
    assert encoder.batches == [5, 2, 1, 1, 1, 1, 1]


def test_a_picture_that_never_fits_is_an_error():
    with pytest.raises(EncoderError, match="A single picture doesn't fit into the free memory"):
        CrampedEncoder(room=0).encode(greens(3))
