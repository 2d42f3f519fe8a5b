"""Quarantine: a process that decodes pictures one by one, and may crash or hang without harm.

A picture that was in hand when a worker was lost goes here at its next attempt. The process knows
the limits of the setting and nothing of the shop.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from threading import Event, Lock, Timer
from typing import IO, Any

from PIL import Image

from . import conf, images
from .exceptions import CardiganError, ImageError

BYTES_PER_PIXEL = 24
"""Memory that decoding may take; animated WebP, the greediest, holds four copies of RGBA."""
SPARE_BYTES = 256 * 1024 * 1024
START_SECONDS = 30.0
"""How long the process may take to be there, on a machine that is busy."""
_LENGTHS = struct.Struct(">II")


class DecoderCrashed(CardiganError):
    """A picture has ended the process that decoded it."""


class DecoderKilled(CardiganError):
    """Something else has killed the process: the system, short of memory, or an administrator."""


class DecoderHung(ImageError):
    """A picture isn't decoded in the time that it may take."""


@dataclass(frozen=True)
class Question:
    """What stands before a picture's bytes on their way to the process."""

    min_side: int | None
    seconds: float


@dataclass(frozen=True)
class Answer:
    """What stands before the pixels on their way back, or in their place."""

    refusal: str | None = None
    width: int = 0
    height: int = 0


class Quarantine:
    """The process, started when it is first needed and again after a picture that ended it.

    Used as a context manager it ends with the block. Threads wait for each other.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()  # First, for a thread that still waits inside load().
        with self._lock:
            self._end()

    def load(self, data: bytes, *, min_side: int | None, seconds: float) -> Image.Image:
        """Returns what `images.load()` does, or raises DecoderHung after `seconds`.

        Raises DecoderCrashed, DecoderKilled, and ImageError as `images.load()` does or when the
        picture takes more memory than one of its size may; RuntimeError when the process can't be
        started.
        """
        with self._lock:
            if self._process is None:
                self._start()
            received = self._exchange(_pack(asdict(Question(min_side, seconds)), data), seconds)
        header, pixels = received
        answer = Answer(**header)
        if answer.refusal is not None:
            raise ImageError(answer.refusal)
        return Image.frombytes("RGB", (answer.width, answer.height), pixels)

    def _start(self) -> None:
        limits = conf.current()
        setting = {
            "MAX_IMAGE_BYTES": limits.max_image_bytes,
            "MAX_IMAGE_PIXELS": limits.max_image_pixels,
        }
        self._process = subprocess.Popen(  # noqa: S603
            # -P: what lies in the working directory is no module of ours.
            [sys.executable, "-P", "-m", __name__, json.dumps(setting)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                # Each of numpy's threads would reserve memory that counts.
                "OPENBLAS_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            },
        )
        try:
            self._exchange(b"", START_SECONDS)
        except (DecoderHung, DecoderKilled, DecoderCrashed) as error:
            # No fault of the picture's, which a refusal would be.
            raise RuntimeError(
                "The process that decodes pictures alone can't be started."
            ) from error

    def _exchange(self, message: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise ValueError("The quarantine is closed.")
        with _killed_after(seconds, process) as was_killed:
            with suppress(BrokenPipeError):
                process.stdin.write(message)
                process.stdin.flush()
            received = _receive(process.stdout)
        if received is None:
            ended = self._end()
            if was_killed.is_set() or ended == "SIGXCPU":
                raise DecoderHung(f"The picture isn't decoded after {seconds:g} s.")
            if ended == "SIGKILL":
                raise DecoderKilled("The process that decoded the picture was killed.")
            raise DecoderCrashed(f"The picture ended the process that decoded it: {ended}.")
        return received

    def _end(self) -> str:
        """Ends the process if there is one; returns how it had ended already."""
        process, self._process = self._process, None
        if process is None:
            return ""
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)  # Its output ends a moment before it does.
        code = process.poll()
        process.kill()
        process.communicate()
        if code is None or code >= 0:
            return f"exit code {code}"
        return signal.Signals(-code).name


@contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[bytes]) -> Iterator[Event]:
    killed = Event()

    def kill() -> None:
        killed.set()
        process.kill()

    timer = Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    try:
        yield killed
    finally:
        timer.cancel()


def _pack(header: dict[str, Any], body: bytes) -> bytes:
    head = json.dumps(header).encode()
    return _LENGTHS.pack(len(head), len(body)) + head + body


def _receive(file: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """Returns the next message's header and body; None at the end."""
    lengths = file.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    head_length, body_length = _LENGTHS.unpack(lengths)
    message = file.read(head_length + body_length)
    if len(message) < head_length + body_length:
        return None
    header: dict[str, Any] = json.loads(message[:head_length])
    return header, message[head_length:]


def main() -> None:
    """Answers the questions of the process that started this one, until it closes the line."""
    from django.conf import settings

    from . import decoding  # noqa: F401  What it holds isn't the first picture's.

    settings.configure(CARDIGAN_RECO=json.loads(sys.argv[1]))
    Image.init()
    # A service manager or a terminal may tell a whole group to end, where this process' owner
    # would take the end for the picture's doing. It ends when its owner does.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _bound_memory()
    answers.write(_pack({}, b""))
    answers.flush()
    while (received := _receive(sys.stdin.buffer)) is not None:
        header, data = received
        answers.write(_answer(Question(**header), data))
        answers.flush()


def _answer(question: Question, data: bytes) -> bytes:
    _bound_time(question.seconds)
    try:
        picture = images.load(data, min_side=question.min_side)
        return _pack(asdict(Answer(None, *picture.size)), picture.tobytes())
    except ImageError as error:
        refusal = str(error)
    except MemoryError:
        refusal = "The picture takes more memory than one of its size may. Save it again."
    return _pack(asdict(Answer(refusal)), b"")


def _bound_memory() -> None:
    with suppress(ImportError, OSError):  # Windows and macOS have no such limits.
        import resource

        with open("/proc/self/statm") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
        allowed = taken + SPARE_BYTES + BYTES_PER_PIXEL * conf.current().max_image_pixels
        resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))


def _bound_time(seconds: float) -> None:
    """Ends a decoder that outlives the process that would have killed it."""
    with suppress(ImportError):
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        used = usage.ru_utime + usage.ru_stime
        _soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 2, hard))


if __name__ == "__main__":
    main()
