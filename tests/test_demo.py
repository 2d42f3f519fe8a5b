"""The demo as a newcomer runs it: real processes, an embedded PostgreSQL, the bundled encoder."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from PIL import Image

from tests.processes import free_port

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in ("DATABASE_URL", "CELERY_BROKER_URL", "DJANGO_SETTINGS_MODULE")
}
COMMAND = [sys.executable, "-m", "example_shop.demo"]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # Not in pytest's folder: under root the server runs as another user, whom each other pytest
    # that starts meanwhile would lock out of it.
    with tempfile.TemporaryDirectory(prefix="cardigan-demo-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A catalogue of five colours, two products with one file, and a row without a picture."""
    pictures = tmp_path_factory.mktemp("catalogue")
    names = ["red", "orange", "green", "blue", "purple"]
    for name in names:
        Image.new("RGB", (96, 96), name).save(pictures / f"{name}.jpg")
    for name in ("cup", "beaker"):
        Image.new("RGB", (96, 96), "white").save(pictures / f"{name}.jpg")
        names.append(name)
    file = pictures / "list.csv"
    file.write_text("\n".join(["file", *(f"{name}.jpg" for name in names), "missing.jpg"]))
    return str(pictures), str(file)


def demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options],
        cwd=ROOT,
        env={**ENVIRONMENT, "CARDIGAN_DEMO_FOLDER": str(folder)},
        capture_output=True,
        text=True,
        timeout=180,
    )


def fetch(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read().decode()


def left_behind(folder: Path) -> list[list[str]]:
    """Returns the commands that still run with the data folder, PostgreSQL included."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in [
                process.environ().get("CARDIGAN_DEMO_FOLDER"),
                str(Path(process.cwd()).parent),
            ]:
                found.append(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def checked(folder: Path, catalogue: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    """The first start, with --check. The catalogue is in the data folder afterwards."""
    return demo(folder, "--check", "--catalogue", *catalogue)


def test_check_loads_encodes_and_shows_a_shelf(
    folder: Path, checked: subprocess.CompletedProcess[str]
) -> None:
    done = checked

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Products: 7 new" in done.stdout
    assert "Rows left out: 1\n  line 9: missing.jpg: no such file" in done.stderr
    assert re.search(r"7 encoded, .* pictures/s", done.stdout)
    assert re.search(r"^Red: http://127\.0\.0\.1:\d+/product/red/$", done.stdout, re.MULTILINE)
    similarities = re.findall(r"^  (\d\.\d{3})  \w+$", done.stdout, re.MULTILINE)
    assert len(similarities) == 6
    assert similarities == sorted(similarities, reverse=True)
    assert "The shelf shows 6 similar products." in done.stdout
    assert re.search(
        r"listings has 1 open: http://127\.0\.0\.1:\d+/admin/cardigan_reco/duplicategroup/\n$",
        done.stdout,
    )
    assert not left_behind(folder)


@pytest.mark.usefixtures("checked")
def test_a_stamp_that_was_cut_off_is_none(folder: Path, catalogue: tuple[str, str]) -> None:
    stamp = folder / "catalogue.json"
    stamp.write_text(stamp.read_text()[:20])
    done = demo(folder, "--check", "--catalogue", *catalogue)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Products: 7 unchanged" in done.stdout
    assert stamp.read_text().endswith("}")


@contextmanager
def running_demo(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Starts the demo; yields its process and what it has printed once it is up."""
    output = folder / "output.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            [*COMMAND, "--port", str(free_port()), *options],
            cwd=ROOT,
            env={**ENVIRONMENT, "CARDIGAN_DEMO_FOLDER": str(folder)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        wait(lambda: "Ctrl-C" in output.read_text() or process.poll() is not None, 400)
        yield process, output.read_text()
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_serves_until_it_is_stopped_and_leaves_nothing(
    number: signal.Signals, folder: Path, catalogue: tuple[str, str]
) -> None:
    with running_demo(folder, "--catalogue", *catalogue) as (process, printed):
        assert "The catalogue is there: 7 products" in printed
        assert "admin / admin" in printed
        address = re.findall(r"A product +(http\S+)", printed)[0]
        assert "Similar products" in fetch(address)
        process.send_signal(number)
        process.wait(30)
    wait(lambda: not left_behind(folder), 10)


@pytest.mark.usefixtures("checked")
def test_a_picture_that_is_replaced_in_the_admin_changes_the_shelves(
    folder: Path, catalogue: tuple[str, str]
) -> None:
    with running_demo(folder, "--catalogue", *catalogue) as (_process, printed):
        address = re.findall(r"The shop +(http\S+)/", printed)[0]
        first = first_on_shelf(address, "red")
        other = next(slug for slug in ("green", "blue") if slug != first)
        replace_picture(address, other, Path(catalogue[0], "red.jpg").read_bytes())
        started = time.monotonic()
        wait(lambda: first_on_shelf(address, "red") == other, 30)
        seconds = time.monotonic() - started
    # 3 s on an idle machine: the worker loads the network for its first picture.
    print(f"changed after {seconds:.1f} s")
    assert seconds < 15
    assert not left_behind(folder)


def first_on_shelf(address: str, slug: str) -> str:
    shelf = fetch(f"{address}/product/{slug}/").split("Similar products", 1)[1]
    return re.findall(r'href="/product/([\w-]+)/"', shelf)[0]


def replace_picture(address: str, slug: str, data: bytes) -> None:
    """Does in the admin what a person does: logs in, finds the product, uploads, saves."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    def page(path: str, fields: dict[str, object] | None = None) -> str:
        body = encode_multipart(BOUNDARY, fields) if fields else None
        headers = {"Content-Type": MULTIPART_CONTENT} if fields else {}
        request = urllib.request.Request(address + path, body, headers)
        with browser.open(request, timeout=10) as answer:
            return answer.read().decode()

    def token(text: str) -> str:
        return re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', text)[0]

    login = token(page("/admin/login/"))
    person = {"username": "admin", "password": "admin", "next": "/admin/"}
    page("/admin/login/", {**person, "csrfmiddlewaretoken": login})
    found = page(f"/admin/shop/product/?q={slug}")
    change = re.findall(r'href="(/admin/shop/product/\d+/change/)', found)[0]
    form = page(change)
    fields: dict[str, object] = dict(
        re.findall(r'<input type="hidden" name="(images-[\w-]+)" value="(\w+)"', form)
    )
    fields |= {
        "csrfmiddlewaretoken": token(form),
        "name": slug.title(),
        "slug": slug,
        "reference": slug,
        "stock": "5",
        "published": "on",
        "images-TOTAL_FORMS": "1",
        "images-0-position": "0",
        "images-0-original": SimpleUploadedFile("new.jpg", data, "image/jpeg"),
    }
    assert "was changed successfully" in page(change, fields)


@pytest.mark.usefixtures("checked")
def test_another_catalogue_replaces_the_former(
    folder: Path, catalogue: tuple[str, str], tmp_path: Path
) -> None:
    for name in ("black", "white"):
        Image.new("RGB", (96, 96), name).save(tmp_path / f"{name}.jpg")
    (tmp_path / "list.csv").write_text("file\nblack.jpg\nwhite.jpg\n")
    done = demo(folder, "--check", "--catalogue", str(tmp_path), str(tmp_path / "list.csv"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Products: 2 new, 7 removed" in done.stdout
    assert "The shelf shows 1 similar products." in done.stdout
    assert "listings has 0 open" in done.stdout


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = demo(tmp_path, "--port", str(port))

    assert done.returncode == 1
    assert done.stderr == (
        f"Error: Port {port} can't be used: Address already in use. Choose another with --port.\n"
    )


@pytest.mark.parametrize("port", ["-1", "0", "65536"])
def test_what_is_no_port_is_refused(port: str, tmp_path: Path) -> None:
    done = demo(tmp_path, "--port", port)

    assert done.returncode == 1
    assert done.stderr == f"Error: {port} is not a port. Choose one from 1024 to 65535.\n"


def test_a_catalogue_that_is_not_there_is_named(folder: Path) -> None:
    done = demo(folder, "--check", "--catalogue", "nowhere", "nothing.csv")

    assert done.returncode == 1
    assert done.stderr.startswith("Error: There is no folder or zip file /")
    assert not left_behind(folder)
