"""`train_encoder` from the command line: what it learns, writes, refuses and survives."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from cardigan_reco.encoders import bundle, networks
from cardigan_reco.encoders.networks import trunk
from cardigan_reco.encoders.torch import TorchEncoder
from tests import postgres
from tests.conftest import BLUE, GREEN, RED, AddProduct
from tests.training import shapes

torch = pytest.importorskip("torch")
pytest.importorskip("pytorch_metric_learning")
save_file = pytest.importorskip("safetensors.torch").save_file

ROOT = Path(__file__).parent.parent.parent
QUICK = [
    *("--network", "SmallNet", "--trunk", "shufflenet_v2_x0_5", "--dimensions", "64"),
    *("--sizes", "64", "--batch-size", "48", "--device", "cpu", "--threads", "1"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return shapes.write(tmp_path_factory.mktemp("shapes"))


def train(folder: Path, data: Path, *options: str) -> list[dict]:
    call_command("train_encoder", str(folder), "--data", str(data), *QUICK, *options, verbosity=0)
    return log(folder)


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def figures(lines: list[dict]) -> list[dict[str, float]]:
    return [line["figures"] for line in lines if line["kind"] == "epoch"]


def command(folder: Path, data: Path, *options: str) -> list[str]:
    return ["manage.py", "train_encoder", str(folder), "--data", str(data), *QUICK, *options]


def launched(
    processes: int, folder: Path, data: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Trains in several processes, as torchrun starts them."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [sys.executable, *launcher, *command(folder, data, *options)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": postgres.url(),  # One that was killed would leave its own server running.
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "OMP_NUM_THREADS": "1",
    }


def test_it_learns_and_writes_an_encoder_that_a_shop_can_name(data, tmp_path, capsys):
    columns = ["--column", "colour", "--column", "shape"]
    lines = train(tmp_path, data, *columns, "--epochs", "25", "--learning-rate", "0.01")
    first, last = figures(lines)[0], figures(lines)[-1]
    assert last["colour agreement@10"] > max(0.6, first["colour agreement@10"])
    assert last["hinge accuracy"] > max(0.8, first["hinge accuracy"])
    losses = [line["loss"] for line in lines if line["kind"] == "step"]
    assert losses[-1] < 0.8 * losses[0]
    encoder = TorchEncoder(tmp_path / "encoder.safetensors", device="cpu")
    alike, other, query = encoder.encode(
        [
            shapes.draw("ring", "red", 9),
            shapes.draw("bar", "blue", 8),
            shapes.draw("ring", "red", 4),
        ]
    )
    assert query @ alike > query @ other
    card = (tmp_path / "encoder.md").read_text()
    assert "SmallNet on shufflenet_v2_x0_5, 64 dimensions" in card
    assert "96 pictures (train), 24 pictures (val)" in card
    assert "| shape agreement@10 |" in card
    report = (tmp_path / "report.html").read_text()
    assert report.count('class="row"') == 24
    assert "✓" in report
    assert 'src="http' not in report
    assert not list(tmp_path.glob("*.npy"))
    assert "shape agreement@10" in capsys.readouterr().out


def test_a_seed_repeats(data, tmp_path):
    options = ["--column", "shape", "--epochs", "2", "--seed", "7"]
    assert train(tmp_path / "one", data, *options) == train(tmp_path / "two", data, *options)
    assert train(tmp_path / "three", data, *options[:-1], "8") != log(tmp_path / "one")


def test_wild_sources_are_harder_to_learn_and_a_seed_repeats(data, tmp_path):
    header, *rows = data.read_text().splitlines()
    named = [f"{row},{('studio', 'street')[place % 2]}" for place, row in enumerate(rows)]
    file = data.parent / "sources.csv"
    file.write_text("\n".join([f"{header},source", *named]))
    options = ["--column", "shape", "--sizes", "32", "--epochs", "15", "--learning-rate", "0.01"]
    wild = [*options, "--wild-source", "street"]
    short = [*wild, "--epochs", "3"]
    assert train(tmp_path / "one", file, *short) == train(tmp_path / "again", file, *short)
    lines = train(tmp_path / "wild", file, *wild)
    harder, plain = (
        [line["loss"] for line in run if line["kind"] == "step"]
        for run in (lines, train(tmp_path / "plain", file, *options))
    )
    assert sum(harder[-3:]) > sum(plain[-3:])


@pytest.mark.parametrize("loss", ["softmax", "hinge"])
def test_a_run_that_was_killed_ends_as_an_unbroken_one(data, tmp_path, loss):
    options = ["--column", "shape", "--loss", loss, "--epochs", "5", "--checkpoint-minutes", "0"]
    unbroken = train(tmp_path / "unbroken", data, *options)
    broken = tmp_path / "broken"
    process = subprocess.Popen(
        [sys.executable, *command(broken, data, *options)], cwd=ROOT, env=environment()
    )
    try:
        wait_until(lambda: (broken / "log.jsonl").exists() and len(figures(log(broken))) >= 2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert len(figures(log(broken))) < 5
    resumed = train(broken, data, *options)
    assert len(resumed) == len(unbroken)
    for one, other in zip(figures(resumed), figures(unbroken), strict=True):
        assert one == pytest.approx(other, abs=0.02)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Half the steps of a hinge loss add up to a fifth more or less with another seed alone.
@pytest.mark.parametrize(("loss", "epochs", "noise"), [("softmax", 20, 0.2), ("hinge", 7, 0.4)])
def test_two_processes_learn_as_one(data, tmp_path, loss, epochs, noise):
    # Mined negatives follow the network, and so would make small differences large.
    options = ["--column", "shape", "--loss", loss, "--mining", "random", "--epochs", str(epochs)]
    train(tmp_path / "one", data, *options)
    launched(2, tmp_path / "two", data, *options, "-v0").check_returncode()
    one, two = (
        [line["loss"] for line in log(tmp_path / run) if line["kind"] == "step"]
        for run in ("one", "two")
    )
    assert len(one) == len(two) >= 4
    # Each process augments and norms its own half of a batch: single steps differ, not the course.
    half = len(one) // 2
    assert sum(two[:half]) == pytest.approx(sum(one[:half]), rel=noise)
    assert sum(two[half:]) == pytest.approx(sum(one[half:]), rel=noise)
    assert (tmp_path / "two" / "encoder.safetensors").exists()


def test_it_starts_from_a_bundle_whose_classes_were_others(data, tmp_path):
    options = ["--network", "AspectNet", "--epochs", "1"]
    train(tmp_path / "first", data, *options, "--column", "shape=kind", "--column", "colour=colour")
    start = tmp_path / "first" / "encoder.safetensors"
    lines = train(
        tmp_path / "second",
        data,
        *(*options, "--column", "colour=kind", "--learning-rate", "1e-9"),
        *("--start-from", str(start)),
    )
    end = tmp_path / "second" / "encoder.safetensors"
    before, after = (TorchEncoder(file, device="cpu").build() for file in (start, end))
    for name, weights in before.named_parameters():
        torch.testing.assert_close(after.get_parameter(name), weights, msg=name)
    # Parts are settled between the classes of the last run, for the softmax's temperature.
    assert before.kind_prototypes.shape == (len(shapes.SHAPES), 24)
    assert before.colour_prototypes.shape == (len(shapes.COLOURS), 8)
    assert after.kind_prototypes.shape == (len(shapes.COLOURS), 24)
    assert after.colour_prototypes is None
    # They begin at the means of the old network's vectors, which don't tell colours in that part.
    directions = torch.nn.functional.normalize(after.kind_prototypes)
    assert (directions @ directions.T).min() > 0.8
    assert after.kind_prototypes.norm(dim=1).tolist() == pytest.approx([16] * 3, rel=1e-3)
    card = (tmp_path / "second" / "encoder.md").read_text()
    assert "from encoder.safetensors" in card
    # What a design has in common with others is looked at last, and in each run anew.
    assert before.whitening.shape == after.whitening.shape == (32, 32)
    assert not torch.equal(before.whitening, after.whitening)
    assert lines[-1]["kind"] == "whitened"
    for name, value in lines[-1]["figures"].items():
        assert f"| {name} | {value:.3f} |" in card


def test_it_goes_on_at_the_size_of_what_it_starts_from(data, tmp_path):
    train(tmp_path / "first", data, "--epochs", "1", "--sizes", "32", "48")
    place = QUICK.index("--sizes")
    call_command(
        *("train_encoder", str(tmp_path / "second"), "--data", str(data), "--epochs", "1"),
        *QUICK[:place],
        *QUICK[place + 2 :],
        *("--start-from", str(tmp_path / "first" / "encoder.safetensors")),
        verbosity=0,
    )
    assert "sides 48, learning" in (tmp_path / "second" / "encoder.md").read_text()
    assert bundle.read(tmp_path / "second" / "encoder.safetensors").preprocessing.resize == (48, 48)


def test_a_trunk_begins_with_the_weights_of_torchvision(data, tmp_path):
    torch.manual_seed(1)
    network = trunk.import_torchvision("").models.shufflenet_v2_x0_5()
    file = tmp_path / "imagenet.safetensors"
    save_file(network.state_dict(), file)
    options = ["--trunk-weights", str(file), "--epochs", "1", "--learning-rate", "1e-9"]
    train(tmp_path / "run", data, *options)
    learned = bundle.read(tmp_path / "run" / "encoder.safetensors").tensors()
    assert torch.allclose(
        learned["trunk.conv1.0.weight"].float(), network.conv1[0].weight, atol=1e-3
    )
    assert torch.allclose(
        learned["trunk.conv5.0.weight"].float(), network.conv5[0].weight, atol=1e-3
    )
    card = (tmp_path / "run" / "encoder.md").read_text()
    assert "from torchvision's shufflenet_v2_x0_5, imagenet.safetensors" in card


def test_a_column_may_be_called_as_what_torch_has_already(data, tmp_path):
    file = data.parent / "type.csv"
    file.write_text(data.read_text().replace("shape,colour", "type,article.type"))
    columns = ["--column", "type", "--column", "article.type"]
    lines = train(tmp_path, file, *columns, "--epochs", "1")
    assert {"type agreement@10", "article.type agreement@10"} <= figures(lines)[-1].keys()


def test_rows_for_a_test_are_left_out(data, tmp_path):
    file = data.parent / "tested.csv"
    file.write_text(data.read_text().replace(",val,", ",test,"))
    train(tmp_path, file, "--column", "shape", "--epochs", "1")
    card = (tmp_path / "encoder.md").read_text()
    (told,) = [line for line in card.splitlines() if line.startswith("- **Data.**")]
    counts = re.findall(r"(\d+) pictures \((\w+)\)", told)
    assert {split for _, split in counts} == {"train", "val"}  # A tenth of the rest is held out.
    assert sum(int(count) for count, _ in counts) == 96


def test_every_part_of_a_vector_learns_from_a_collection(
    db, silent_doorbell, add_product: AddProduct, tmp_path
):
    """A collection has no classes, and so none that kind or colour could learn."""
    for number in range(8):
        add_product(f"red {number}", RED, RED)
        add_product(f"blue {number}", BLUE, GREEN)
    options = [
        *("--collection", "similar", "--network", "AspectNet", "--dimensions", "64"),
        *("--trunk", "shufflenet_v2_x0_5", "--sizes", "32", "--batch-size", "12"),
        *("--device", "cpu", "--threads", "1", "--seed", "3", "--learning-rate", "0.01"),
    ]
    weights = {}
    for epochs in ("1", "6"):
        folder = tmp_path / epochs
        call_command("train_encoder", str(folder), *options, "--epochs", epochs, verbosity=0)
        weights[epochs] = bundle.read(folder / "encoder.safetensors").tensors()["embedding.weight"]
    moved = (weights["6"] - weights["1"]).abs().mean(1)
    parts = networks.build("AspectNet", trunk="shufflenet_v2_x0_5", dimensions=64).aspects
    assert {name for name, part in parts.items() if moved[part].mean() > 1e-3} == parts.keys()


def test_triplets_are_learned_as_they_are(data, tmp_path):
    rows = ["query,positive,negative"]
    for shape in shapes.SHAPES:
        for colour, other in (("red", "blue"), ("green", "red"), ("blue", "green")):
            rows += [
                f"{shape}-{colour}-{number}.png,{shape}-{colour}-{number + 1}.png,"
                f"{shape}-{other}-{number}.png"
                for number in range(8)
            ]
    file = data.parent / "triplets.csv"
    file.write_text("\n".join(rows))
    options = ["--loss", "hinge", "--sizes", "32", "--epochs", "20", "--learning-rate", "0.01"]
    lines = train(tmp_path, file, *options)
    assert figures(lines)[-1]["hinge accuracy"] > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--column", "size"], "No picture has a class in the column 'size'. Choices are: colour,"),
        (["--loss", "softmaxx"], "loss is 'softmaxx'. Choices are: hinge, softpn, softmax,"),
        (["--network", "BigNet"], "network is 'BigNet'. Choices are: AspectNet, SmallNet,"),
        (["--sizes", "16"], "sizes is (16,) and size None. Sides are of 32 pixels or more."),
        (["--contrast", "0"], "contrast is 0.0. It must be above 0."),
        (["--batch-size", "25"], "batch_size is 25. It must be a multiple of 6."),
        (["--column", "shape=taste"], "Aspect 'taste' is unknown. Choices are: none for this"),
        (["--trunk", "resnet1"], "Network 'resnet1' is no classification network of torchvision."),
        (["--device", "tpu"], "Device 'tpu' is unknown."),
        (["--wild-source", "street"], "source 'street'. Choices are: none, as the data name no"),
        (["--source-weight", "street=2"], "No picture to learn from has the source 'street'."),
        (["--start-from", "nowhere.safetensors"], "nowhere.safetensors can't be read"),
        (["--trunk-weights", "./no.safetensors"], "no.safetensors can't be read"),
        (["--trunk-weights", "IMAGENET"], "Network 'shufflenet_v2_x0_5' has no weights 'IMAGENET'"),
        (["--seed", "-1"], "seed is -1. It must be 0 or more."),
        (["--threads", "0"], "threads is 0. It must be 1 or more."),
        (["--source-weight", "street=-1"], "The weight of 'street' is -1.0. It must be 0 or more."),
        (
            ["--loss", "hinge", "--wild-source", "street"],
            "loss is 'hinge', whose triplets are given or mined: sources can't be weighed or wild.",
        ),
        (
            ["--trunk", "vit_b_16", "--column", "shape"],
            "SmallNet on vit_b_16 can't learn from pictures of 64 pixels: Wrong image height!",
        ),
    ],
)
def test_bad_options_are_refused_before_anything_is_trained(data, tmp_path, options, message):
    with pytest.raises(CommandError) as raised:
        train(tmp_path, data, *options)
    assert message in str(raised.value)
    assert not (tmp_path / "log.jsonl").exists()
    assert not list(tmp_path.glob("*pixels*"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "lacks the column picture. It has: none."),
        ("picture,shape\n", "has no rows."),
        ("file,shape\na.png,disc", "lacks the column picture. It has: file, shape."),
        ("picture,split\na.png,dev\nb.png,dev", "unknown values of split: 'dev' (2)."),
        ("picture,split\na.png,test\nb.png,test", "None of the 0 pictures is in the training"),
        (
            "picture,left,top,right,bottom\na.png,10,20,90,80",
            "The box of a.png in {file} is 10, 20, 90, 80. Left, top, right and bottom are shares",
        ),
        ("picture,left,top,right,bottom\na.png,.9,0,.1,1", "is .9, 0, .1, 1. Left, top, right"),
        ("picture,left,top,right,bottom\na.png,0,0,nan,1", "is 0, 0, nan, 1. Left, top, right"),
        ("picture,left,top,right,bottom\na.png,0,0,1,", "is 0, 0, 1, empty. Left, top, right"),
        (b"picture,shape\nna\xefve.png,disc", "{file} can't be read as CSV in UTF-8"),
        (b"na\xefve,shape\n", "{file} can't be read as CSV in UTF-8"),
        ("picture,shape\na.png,disc\nb.png,disc", "All 2 pictures with a class in the column"),
        ("picture,shape\na.png,disc\nb.png", "has 1 rows with too few or too many cells"),
        ("picture,group\na.png,1\nb.png,2", "no two pictures share a group"),
        (
            "picture,shape\na.png,disc\nb.png,bar",
            "2 of 2 pictures can't be used:\n  a.png: No such",
        ),
        ("query,positive,negative\na.png,,c.png", "has 1 triplets with an empty cell."),
        ("query,positive,negative\n", "has no rows."),
    ],
)
def test_bad_data_are_refused_with_counts(tmp_path, content, message):
    file = tmp_path / "data.csv"
    content = content if isinstance(content, bytes) else content.encode()
    file.write_bytes(content)
    column = ["--column", "shape"] if b"shape" in content else []
    loss = ["--loss", "hinge"] if b"query" in content else []
    with pytest.raises(CommandError) as raised:
        train(tmp_path / "run", file, *column, *loss)
    assert message.format(file=file) in str(raised.value)


def test_broken_pictures_are_named(data, tmp_path):
    for name, content in (("a.png", b"no picture"), ("b.png", b"")):
        (tmp_path / name).write_bytes(content)
    shapes.draw("disc", "red", 0).save(tmp_path / "c.png")
    file = tmp_path / "data.csv"
    file.write_text("picture,shape\na.png,disc\nb.png,bar\nc.png,disc")
    with pytest.raises(CommandError, match=r"2 of 3 pictures can't be used:\n  a\.png: .*\n  b\.p"):
        train(tmp_path / "run", file, "--column", "shape")


def test_another_runs_checkpoint_is_refused(data, tmp_path):
    train(tmp_path, data, "--column", "shape", "--epochs", "1")
    with pytest.raises(CommandError, match=r"comes from a run with another epochs, seed\."):
        train(tmp_path, data, "--column", "shape", "--epochs", "2", "--seed", "5")


def test_tensorboard_gets_the_numbers_of_the_log(data, tmp_path):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    lines = train(tmp_path, data, "--column", "shape", "--epochs", "2", "--tensorboard")
    written = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for name in figures(lines)[0]:
        of_epochs = [epoch[name] for epoch in figures(lines)]
        assert [one.value for one in written.Scalars(f"figures/{name}")] == pytest.approx(of_epochs)


def test_without_tensorboard_it_says_what_to_install_before_it_decodes(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    told = re.escape("--tensorboard needs more packages: pip install 'cardigan-reco[tensorboard]'")
    with pytest.raises(CommandError, match=told):
        train(tmp_path, data, "--column", "shape", "--tensorboard")
    assert list(tmp_path.glob("*.npy")) == []


def test_pictures_that_were_replaced_are_no_longer_those_of_the_run(tmp_path):
    file = shapes.write(tmp_path / "data")
    train(tmp_path / "run", file, "--column", "shape", "--epochs", "1")
    shapes.draw("disc", "red", 0).resize((200, 200)).save(tmp_path / "data" / "disc-red-0.png")
    with pytest.raises(CommandError, match=r"comes from a run with another pictures\."):
        train(tmp_path / "run", file, "--column", "shape", "--epochs", "1")


def test_a_run_that_left_no_checkpoint_leaves_no_lines_in_the_next_ones_log(data, tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 5, "epoch": 0, "kind": "step", "loss": 9}\n')
    lines = train(tmp_path, data, "--column", "shape", "--epochs", "1")
    assert all(line.get("loss") != 9 for line in lines)


def test_no_space_for_the_decoded_pictures_is_told_before_they_are_decoded(data, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CommandError, match=r"need 0\.0 GB in .*: File too large\. Free that"):
            train(tmp_path, data, "--column", "shape")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("*pixels*"))


def test_a_run_ends_where_its_figures_get_no_better(data, tmp_path):
    options = ["--column", "shape", "--epochs", "40", "--patience", "2", "--learning-rate", "0.01"]
    train(tmp_path, data, *options)
    found = figures(log(tmp_path))
    assert 3 <= len(found) < 40
    headlines = [sum(one.values()) / len(one) for one in found]
    assert max(headlines) == headlines[-3]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_as_well(data, tmp_path, precision):
    options = ["--column", "colour", "--sizes", "32", "--epochs", "15", "--learning-rate", "0.01"]
    lines = train(tmp_path, data, *options, "--precision", precision)
    losses = [line["loss"] for line in lines if line["kind"] == "step"]
    assert losses[-1] < 0.8 * max(losses)
    best = max(figures(lines), key=lambda one: one["colour agreement@10"])
    assert best["colour agreement@10"] > 0.55


def test_the_card_names_the_licence_and_the_report_has_curves(data, tmp_path):
    options = ["--column", "shape", "--epochs", "2", "--licence", "CC0, all of them"]
    train(tmp_path, data, *options)
    assert "CC0, all of them" in (tmp_path / "encoder.md").read_text()
    report = (tmp_path / "report.html").read_text()
    assert report.count("<polyline") == len(figures(log(tmp_path))[0])  # One loss would be no line.


def test_a_network_brings_its_own_trunk_and_size(data, tmp_path):
    with pytest.raises(CommandError) as raised:
        call_command(
            *("train_encoder", str(tmp_path), "--data", str(data), "--column", "shape"),
            *("--network", "SimNet", "--trunk-weights", "./no.safetensors"),
            verbosity=0,
        )
    assert "no.safetensors can't be read" in str(raised.value)
    with pytest.raises(CommandError, match="SimNet was given pictures of 64 x 64 pixels"):
        call_command(
            *("train_encoder", str(tmp_path), "--data", str(data), "--column", "shape"),
            *("--network", "SimNet", "--sizes", "64"),
            verbosity=0,
        )


def test_what_it_starts_from_says_what_network_it_is(data, tmp_path):
    train(tmp_path / "first", data, "--epochs", "1")
    call_command(
        *("train_encoder", str(tmp_path / "second"), "--data", str(data), "--epochs", "1"),
        *("--start-from", str(tmp_path / "first" / "encoder.safetensors")),
        *("--batch-size", "48", "--device", "cpu", "--threads", "1"),
        verbosity=0,
    )
    read = bundle.read(tmp_path / "second" / "encoder.safetensors")
    assert (read.network, read.trunk, read.dimensions) == ("SmallNet", "shufflenet_v2_x0_5", 64)


def test_processes_that_a_batch_can_t_be_dealt_to_all_say_so(data, tmp_path):
    """And before they decode: the others would wait for the first, or die of its end."""
    ended = launched(3, tmp_path, data, "--column", "shape")
    assert ended.returncode
    assert "batch_size is 48. It must divide by 18: pairs or triplets, dealt to 3" in ended.stderr
    assert not list(tmp_path.glob("*pixels*"))


def test_what_ends_the_leading_process_is_told_by_the_others(tmp_path):
    shapes.draw("disc", "red", 0).save(tmp_path / "a.png")
    file = tmp_path / "data.csv"
    file.write_text("picture,shape\na.png,disc\nb.png,bar\n")
    ended = launched(2, tmp_path / "run", file, "--column", "shape")
    assert "CommandError: 1 of 2 pictures can't be used" in ended.stderr
    assert "CommandError: The process that leads ended. ExamplesError: 1 of 2" in ended.stderr
