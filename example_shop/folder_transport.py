"""Celery's messages as files: kombu's filesystem transport, with whole files only.

kombu's own creates a file and then fills it; a worker that looks in between dies of the empty
message (https://github.com/celery/kombu/issues/1551), and so does who declares a queue, of the
empty table of queues. Importing this module makes "folder://" known.
"""

from __future__ import annotations

import os
import time
import uuid
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils import json

URL = "folder://"
TRANSPORT_ALIASES["folder"] = f"{__name__}:Transport"


class Channel(filesystem.Channel):
    # kombu's base classes don't agree on the name of the second argument.
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        name = f"{time.monotonic_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        path = os.path.join(self.data_folder_out, name)
        # A name that ends otherwise is no message of any queue.
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            file.write(json.dumps(payload))  # type: ignore[no-untyped-call]
        os.replace(f"{path}.part", path)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        self.control_folder.mkdir(exist_ok=True)
        path = self.control_folder / f"{exchange}.exchange"
        with open(f"{path}.lock", "w", encoding="utf-8") as turn:
            # Until it is closed.
            filesystem.lock(turn, filesystem.LOCK_EX)  # type: ignore[no-untyped-call]
            table = [list(row) for row in self.get_table(exchange)]  # type: ignore[no-untyped-call]
            row = [routing_key or "", pattern or "", queue or ""]
            if row not in table:
                with open(f"{path}.part", "w", encoding="utf-8") as file:
                    file.write(json.dumps([row, *table]))  # type: ignore[no-untyped-call]
                os.replace(f"{path}.part", path)


class Transport(filesystem.Transport):
    Channel = Channel
    polling_interval = 0.2

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        # A worker that is asked to end sits out two of Celery's timeouts, of two seconds each.
        timeout = timeout and min(timeout, self.polling_interval)
        super().drain_events(connection, timeout)  # type: ignore[no-untyped-call]
