"""Faults 27 and 29 against gunicorn, over plain sockets: what it reads, and what it holds."""

from __future__ import annotations

import json
import re
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from tests.conftest import RED, jpeg
from tests.pictures import encoded, noise
from tests.processes import Process, free_port, wait_until

# The server is another process: it uses the database, and sees nothing of what a test saves.
pytestmark = pytest.mark.django_db

MEBIBYTE = 1024 * 1024
MOST = 10 * MEBIBYTE
"""MAX_IMAGE_BYTES."""


@dataclass
class Server:
    port: int
    process: Process

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 30)

    def peak_mebibytes(self) -> int:
        """Returns the most memory that any of the server's processes has held."""
        children = Path(f"/proc/{self.process.popen.pid}/task/{self.process.popen.pid}/children")
        peaks = [
            re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            for pid in children.read_text().split()
        ]
        return max(int(peak) for (peak,) in peaks) // 1024


@pytest.fixture(scope="module", params=["sync", "gthread"])
def server(
    request: pytest.FixtureRequest,
    django_db_setup: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """Starts gunicorn on an empty shop."""
    folder = tmp_path_factory.mktemp("gunicorn")
    port = free_port()
    process = Process(
        *["-m", "gunicorn", "tests.api.wsgi", "-b", f"127.0.0.1:{port}", "-w", "1"],
        *["-k", request.param, "--threads", "2", "--worker-tmp-dir", str(folder)],
        *["--no-control-socket"],
        log=folder / "gunicorn.log",
        ROOT_URLCONF="tests.api.urls",
        ALLOWED_HOSTS=["shop"],
        DEBUG_PROPAGATE_EXCEPTIONS=True,
        REST_FRAMEWORK={"DEFAULT_THROTTLE_RATES": {"photo_search": None}},
    )
    started = Server(port, process)
    try:
        wait_until(lambda: answers(started), "gunicorn answers", process)
        yield started
    finally:
        process.stop()


def answers(server: Server) -> bool:
    with suppress(OSError), server.connect() as connection:
        connection.sendall(head("GET", "/visual/0/similar/"))
        return connection.recv(16).startswith(b"HTTP/1.1 404")
    return False


def head(method: str, path: str, **headers: str | int) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: shop", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def received(connection: socket.socket) -> tuple[int, dict[str, object]]:
    """Returns the status and the JSON of the answer."""
    response = HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())


def form(*files: bytes) -> bytes:
    held = [SimpleUploadedFile(f"{number}.jpg", data) for number, data in enumerate(files)]
    return encode_multipart(BOUNDARY, {"image": held})


def send(server: Server, content_type: str, body: bytes, *, chunked: bool) -> tuple[int, object]:
    length: dict[str, str | int] = (
        {"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": len(body)}
    )
    with server.connect() as connection:
        connection.sendall(head("POST", "/visual/search/", Content_Type=content_type, **length))
        with suppress(ConnectionError):
            connection.sendall(chunk(body) + chunk(b"") if chunked else body)
        status, answer = received(connection)
        return status, answer.get("code")


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_pictures_arrive(server: Server, chunked: bool) -> None:
    picture = jpeg(RED)
    assert send(server, "image/jpeg", picture, chunked=chunked) == (200, None)
    assert send(server, MULTIPART_CONTENT, form(picture), chunked=chunked) == (200, None)
    large = encoded(noise((1_500, 1_500)), "PNG")
    assert 5 * MEBIBYTE < len(large) < MOST
    assert send(server, MULTIPART_CONTENT, form(large), chunked=chunked) == (200, None)


@pytest.mark.parametrize("fault", ["27"])
@pytest.mark.parametrize("content_type", ["image/jpeg", MULTIPART_CONTENT], ids=["body", "form"])
def test_11_megabytes_without_a_length(server: Server, content_type: str, fault: str) -> None:
    data = bytes(11 * MEBIBYTE)
    body = data if content_type == "image/jpeg" else form(data)
    for _ in range(2):
        assert send(server, content_type, body, chunked=True) == (413, "too_large")


@pytest.mark.parametrize("fault", ["27"])
@pytest.mark.parametrize("content_type", ["image/jpeg", MULTIPART_CONTENT], ids=["body", "form"])
def test_an_endless_body_is_not_held(server: Server, content_type: str, fault: str) -> None:
    before = server.peak_mebibytes()
    piece = chunk(bytes(65_536))
    sent = 0
    with server.connect() as connection:
        kind = {"Content_Type": content_type, "Transfer_Encoding": "chunked"}
        connection.sendall(head("POST", "/visual/search/", **kind))
        if content_type == MULTIPART_CONTENT:
            connection.sendall(chunk(form(b"x").rpartition(b"\r\n--")[0]))
        with suppress(ConnectionError):
            while sent < 300 * MEBIBYTE and not has_answered(connection):
                connection.sendall(piece)
                sent += len(piece)
        status, answer = received(connection)
    assert (status, answer["code"]) == (413, "too_large")
    assert sent < 30 * MEBIBYTE  # With what the kernel's buffers hold.
    assert server.peak_mebibytes() - before < 60


def has_answered(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])


@pytest.mark.parametrize("fault", ["27"])
def test_an_announced_length_is_refused_before_the_body_comes(server: Server, fault: str) -> None:
    with server.connect() as connection:
        kind = {"Content_Type": "image/jpeg", "Content_Length": 11 * MEBIBYTE}
        connection.sendall(head("POST", "/visual/search/", **kind))
        status, answer = received(connection)
    assert (status, answer["code"]) == (413, "too_large")


@pytest.mark.parametrize("fault", ["29"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_101_files(server: Server, chunked: bool, fault: str) -> None:
    body = form(*[jpeg(RED)] * 101)
    assert send(server, MULTIPART_CONTENT, body, chunked=chunked) == (400, "invalid")


@pytest.mark.parametrize(
    "body",
    [b"zz\r\nabc\r\n", b"5\r\nabc", b"-5\r\nabc\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n"],
    ids=["no number", "cut off", "negative", "huge"],
)
def test_broken_chunks_harm_nobody(server: Server, body: bytes) -> None:
    with server.connect() as connection:
        kind = {"Content_Type": "image/jpeg", "Transfer_Encoding": "chunked"}
        connection.sendall(head("POST", "/visual/search/", **kind) + body)
        connection.shutdown(socket.SHUT_WR)
        start = connection.recv(65_536)
    assert b" 500 " not in start[:16]
    assert send(server, "image/jpeg", jpeg(RED), chunked=False) == (200, None)


def test_a_client_that_leaves_harms_nobody(server: Server) -> None:
    with server.connect() as connection:
        kind = {"Content_Type": "image/jpeg", "Content_Length": 1_000}
        connection.sendall(head("POST", "/visual/search/", **kind) + b"\xff\xd8\xff")
    assert send(server, "image/jpeg", jpeg(RED), chunked=False) == (200, None)
    assert "Traceback" not in server.process.output()
