"""Real processes and brokers: what a test starts beside itself, on its own database."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from amqp.exceptions import NotFound
from django.conf import settings
from django.db import connection
from kombu import Connection
from kombu.exceptions import KombuError

from tests import postgres

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 90.0


def wait_until(condition: Callable[[], object], what: str, process: Process | None = None) -> None:
    """Returns as soon as the condition holds; fails after a long while, or when the process ends.

    It says what was waited for and what the process had printed.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        ended = process is not None and process.popen.poll() is not None
        if ended or time.monotonic() > deadline:
            printed = process.output() if process else ""
            raise AssertionError(f"Waited in vain until {what}. The process printed:\n{printed}")
        time.sleep(0.02)


@dataclass
class Broker:
    """A Celery broker, as the settings name it."""

    url: str
    transport_options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def in_folder(cls, folder: Path) -> Broker:
        """Returns a broker whose messages are files in a folder."""
        (folder / "messages").mkdir(parents=True)
        (folder / "control").mkdir()
        options = {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
        }
        return cls("folder://", options)

    def messages(self) -> int:
        """Returns how many messages lie in the folder."""
        return len(list(Path(self.transport_options["data_folder_in"]).glob("*.msg")))

    def settings(self) -> dict[str, Any]:
        return {
            "CELERY_BROKER_URL": self.url,
            "CELERY_BROKER_TRANSPORT_OPTIONS": dict(self.transport_options),
        }


class Process:
    """A Python process with the tests' settings, in a process group of its own."""

    def __init__(
        self, *arguments: str, log: Path, environment: dict[str, str] | None = None, **changed: Any
    ) -> None:
        """Starts `python ARGUMENTS`; `changed` are settings that differ from the tests' own."""
        self.log = log
        database = urlsplit(postgres.url())._replace(path=f"/{connection.settings_dict['NAME']}")
        environment = {
            **os.environ,
            "DATABASE_URL": database.geturl(),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "CARDIGAN_TESTS_SETTINGS": json.dumps({"MEDIA_ROOT": settings.MEDIA_ROOT, **changed}),
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self) -> int:
        """Returns the exit code once the process has ended."""
        return self.popen.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """Ends the process and its children as kill -9 does."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        """Asks the process to end, then ends it."""
        if self.popen.poll() is None:
            self.popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(10)
        self.kill()


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def _accepts(port: int) -> bool:
    """Whether somebody takes connections there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class RedisServer:
    """A Redis on a port of its own that keeps nothing; stopped and started at will."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.log = log
        self.start()

    @property
    def is_running(self) -> bool:
        return self.popen.poll() is None

    @property
    def broker(self) -> Broker:
        return Broker(f"redis://127.0.0.1:{self.port}/0")

    def start(self) -> None:
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        options += ["--appendonly", "no", "--dir", str(self.log.parent)]
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                ["redis-server", *options], stdout=output, stderr=subprocess.STDOUT
            )
        wait_until(self._answers, "Redis answers")

    def _answers(self) -> bool:
        if not self.is_running:  # Another may answer on its port.
            raise AssertionError(self.log.read_text(errors="replace"))
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as client:
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        return False

    def stop(self) -> None:
        self.popen.kill()
        self.popen.wait(PATIENCE_SECONDS)


class RabbitServer:
    """A RabbitMQ on ports of its own, with its files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.port, mapper_port = free_port(), free_port()
        self.log = folder / "rabbitmq.log"
        self._environment = {
            **os.environ,
            "PATH": os.pathsep.join(["/usr/lib/rabbitmq/bin", os.environ["PATH"]]),
            "HOME": str(folder),  # Where Erlang keeps its cookie.
            "RABBITMQ_NODENAME": f"cardigan{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }
        with self.log.open("ab") as output:
            # RabbitMQ would start one by itself, which outlives it.
            self._mapper = subprocess.Popen(["epmd"], env=self._environment, stdout=output)
            wait_until(lambda: _accepts(mapper_port), "Erlang's port mapper answers")
            self.popen = subprocess.Popen(
                ["rabbitmq-server"],
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(self._answers, "RabbitMQ answers")
        except BaseException:
            self.stop()
            raise

    @property
    def broker(self) -> Broker:
        return Broker(f"amqp://guest:guest@127.0.0.1:{self.port}//")

    def _answers(self) -> bool:
        if self.popen.poll() is not None:
            raise AssertionError(self.log.read_text(errors="replace"))
        with suppress(OSError, KombuError), Connection(self.broker.url) as connection:
            connection.ensure_connection(max_retries=1, timeout=1)
            return True
        return False

    def messages(self, queue: str) -> int:
        """Returns how many messages wait in a queue."""
        with Connection(self.broker.url) as connection:
            declared = connection.default_channel.queue_declare(queue, passive=True)
            return int(declared.message_count)

    def reset(self) -> None:
        """Empties the queue of the tests' workers."""
        with Connection(self.broker.url) as connection, suppress(NotFound):
            connection.default_channel.queue_delete("cardigan")

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self._mapper.kill()
        for process in (self.popen, self._mapper):
            process.wait(PATIENCE_SECONDS)


class PgBouncer:
    """A PgBouncer in transaction mode in front of the tests' database, with one connection."""

    def __init__(self, program: str, log: Path) -> None:
        self.port = free_port()
        self.log = log
        server = connection.settings_dict
        host = server["HOST"] or server.get("OPTIONS", {}).get("host", "")
        target = {
            "host": host,
            "port": server["PORT"],
            "dbname": server["NAME"],
            "user": server["USER"],
            "password": server["PASSWORD"],
        }
        names = " ".join(f"{name}={value}" for name, value in target.items() if value)
        self._folder = tempfile.TemporaryDirectory()
        settings_file = Path(self._folder.name) / "pgbouncer.ini"
        settings_file.write_text(
            f"[databases]\n{server['NAME']} = {names}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\nunix_socket_dir =\nauth_type = any\n"
            "pool_mode = transaction\ndefault_pool_size = 1\nserver_reset_query =\n"
        )
        self.settings = {**server, "HOST": "127.0.0.1", "PORT": self.port, "OPTIONS": {}}
        # It refuses to be root, and has to reach the server's socket.
        as_other: list[str] = []
        if os.geteuid() == 0:
            owner = Path(host).stat().st_uid if host.startswith("/") else 65534
            as_other = ["setpriv", f"--reuid={owner}", "--clear-groups"]
            Path(self._folder.name).chmod(0o755)
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                [*as_other, program, str(settings_file)],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._answers, "PgBouncer answers")

    def _answers(self) -> bool:
        if self.popen.poll() is not None:
            raise AssertionError(self.log.read_text(errors="replace"))
        return _accepts(self.port)

    def stop(self) -> None:
        self.popen.kill()
        self.popen.wait(PATIENCE_SECONDS)
        self._folder.cleanup()


@contextmanager
def closed_port() -> Iterator[int]:
    """Yields a port that takes no connections, and that nobody else gets meanwhile."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        yield int(silent.getsockname()[1])


@contextmanager
def black_hole() -> Iterator[int]:
    """Yields a port that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield int(listening.getsockname()[1])
