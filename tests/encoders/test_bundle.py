"""Weight files: what a bundle says, and all that is refused before torch sees it."""

import hashlib
import json
import pickle
import re
import struct

import pytest

from cardigan_reco.encoders import bundle
from cardigan_reco.encoders.preprocessing import Preprocessing
from cardigan_reco.encoders.torch import TorchEncoder
from cardigan_reco.encoders.weight_files import open_weights
from cardigan_reco.exceptions import EncoderError

GOOD = {
    "network": "SmallNet",
    "trunk": "shufflenet_v2_x1_0",
    "dimensions": 4,
    "preprocessing": {"resize": [8, 8], "mean": [0, 0, 0], "std": [1, 1, 1]},
}


def safetensors(metadata=None, header=None, body=bytes(8)) -> bytes:
    if header is None:
        header = {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
        if metadata is not None:
            header["__metadata__"] = metadata
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.fixture
def file(tmp_path):
    def write(data: bytes):
        path = tmp_path / "weights.safetensors"
        path.write_bytes(data)
        return path

    return write


def test_whoever_may_read_a_new_file_may_read_a_bundle(tmp_path):
    (tmp_path / "other").touch()
    read = bundle.read()
    written = bundle.write(
        tmp_path / "written.safetensors",
        read.tensors(),
        network=read.network,
        trunk=read.trunk,
        dimensions=read.dimensions,
        preprocessing=read.preprocessing,
    )
    mode = (tmp_path / "written.safetensors").stat().st_mode
    assert mode == (tmp_path / "other").stat().st_mode
    assert written.preprocessing == read.preprocessing
    assert written.tensors().keys() == read.tensors().keys()


def test_the_bundled_file_describes_itself():
    read = bundle.read()
    assert (read.network, read.trunk, read.dimensions) == ("AspectNet", "gridnet", 512)
    assert read.preprocessing.resize == (144, 144)
    assert read.preprocessing.pad_to_square == (255, 255, 255)
    assert read.file.sha256 == hashlib.sha256(bundle.BUNDLED.read_bytes()).hexdigest()


def test_the_right_hash_is_accepted_in_capitals_too(file):
    data = safetensors({"bundle": json.dumps(GOOD)})
    digest = hashlib.sha256(data).hexdigest()
    assert bundle.read(file(data), sha256=digest.upper()).file.sha256 == digest


def test_fault_59_a_wrong_hash_is_refused():
    with pytest.raises(EncoderError, match=f"but {'0' * 64} is wanted. Restore the file"):
        TorchEncoder(sha256="0" * 64)


class Evil:
    ran = False

    def __reduce__(self):
        return (setattr, (Evil, "ran", True))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_fault_59_a_pickle_is_refused_and_not_run(file, protocol):
    with pytest.raises(EncoderError, match=r"are a pickle.*safetensors.torch.save_file"):
        TorchEncoder(file(pickle.dumps(Evil(), protocol)))
    assert not Evil.ran


def test_fault_59_what_torch_save_writes_is_refused(tmp_path):
    import torch

    path = tmp_path / "weights.pt"
    torch.save({"x": torch.zeros(2)}, path)
    with pytest.raises(EncoderError, match="are a pickle"):
        TorchEncoder(path)


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580, 0x10280])
def test_a_header_as_long_as_a_pickle_begins_is_none(file, length):
    text = safetensors({})[8:-8].ljust(length)
    assert open_weights(file(safetensors(header=text))).metadata == {}


def test_a_missing_file_is_named_by_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = re.escape(str(tmp_path / "absent.safetensors"))
    with pytest.raises(EncoderError, match=rf"{path} can't be read \(No such file"):
        TorchEncoder("absent.safetensors")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends outside the file"),
        (b"1234567", "ends outside the file"),
        (struct.pack("<Q", 2**63) + b"{}", "ends outside the file"),
        (safetensors()[:30], "ends outside the file"),
        (safetensors()[:-1], "bytes where its header says"),
        (safetensors(body=bytes(9)), "bytes where its header says"),
        (safetensors(header=b"\xff\xfe{}"), "no JSON"),
        (safetensors(header=b"[" * 100_000), "no JSON"),
        (safetensors(header=b"[]"), "no JSON object"),
        (safetensors(header={"x": {"data_offsets": [8, 0]}}), "'x' has no valid data_offsets"),
        (safetensors(header={"x": 3}), "'x' has no valid data_offsets"),
        (safetensors(header={"__metadata__": 3}, body=b""), "metadata is no JSON object"),
        (b"<html>404</html>" * 10, "ends outside the file"),
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(file, data, reason):
    with pytest.raises(EncoderError, match=f"no whole safetensors file: .*{reason}"):
        open_weights(file(data))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "describe no network: their metadata has no 'bundle'"),
        ({}, "no 'bundle'"),
        ({"bundle": "{"}, "damaged 'bundle'"),
        ({"bundle": 5}, "damaged 'bundle'"),
        ({"bundle": "{}"}, "It needs network, trunk, dimensions and preprocessing"),
        ({"bundle": json.dumps({**GOOD, "dimensions": "4"})}, "It needs network"),
        ({"bundle": json.dumps({**GOOD, "preprocessing": {"size": 3}})}, "It takes: resize"),
        (
            {
                "bundle": json.dumps(
                    {**GOOD, "preprocessing": {**GOOD["preprocessing"], "interpolation": "area"}}
                )
            },
            "interpolation is 'area'. Choices are: nearest, bilinear",
        ),
    ],
)
def test_a_file_that_describes_no_network_is_refused(file, metadata, message):
    with pytest.raises(EncoderError, match=message):
        bundle.read(file(safetensors(metadata)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "BigNet"}, "Network 'BigNet' is unknown. Choices are: AspectNet, SmallNet"),
        ({"trunk": "resnet51"}, "'resnet51' is no classification network .*resnet50"),
        ({}, "don't fit SmallNet on shufflenet_v2_x1_0: .*embedding.weight"),
    ],
)
def test_weights_that_fit_no_network_are_refused_at_the_first_use(file, shirt, change, message):
    path = file(safetensors({"bundle": json.dumps({**GOOD, **change})}))
    with pytest.raises(EncoderError, match=f"(?s){message}"):
        TorchEncoder(path, device="cpu").encode([shirt])


def test_a_file_that_changes_before_its_first_use_is_refused(file, shirt):
    path = file(bundle.BUNDLED.read_bytes())
    encoder = TorchEncoder(path, device="cpu")
    path.write_bytes(safetensors({"bundle": json.dumps(GOOD)}))
    with pytest.raises(EncoderError, match="since this process read them"):
        encoder.encode([shirt])


def test_what_is_written_can_be_read_and_run(tmp_path, shirt):
    from cardigan_reco.encoders import networks

    preprocessing = Preprocessing(
        resize=(64, 48), mean=(0.1, 0.2, 0.3), std=(1, 1, 2), interpolation="bicubic"
    )
    network = networks.build("SmallNet", trunk="shufflenet_v2_x0_5", dimensions=6)
    path = tmp_path / "own.safetensors"
    written = bundle.write(
        path,
        network.state_dict(),
        network="SmallNet",
        trunk="shufflenet_v2_x0_5",
        dimensions=6,
        preprocessing=preprocessing,
    )
    assert bundle.read(path) == written
    assert written.preprocessing == preprocessing
    assert TorchEncoder(path, device="cpu").encode([shirt]).shape == (1, 6)
