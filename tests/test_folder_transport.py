"""The demo's transport of messages: what several write at once is whole."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

from kombu import Connection, Exchange, Queue

from example_shop import folder_transport  # noqa: F401  Makes "folder://" known.
from tests.processes import Broker

DECLARERS, ROUNDS = 8, 25


def test_queues_that_are_declared_at_once_are_all_known(tmp_path: Path) -> None:
    broker = Broker.in_folder(tmp_path)
    connect = partial(Connection, broker.url, transport_options=broker.transport_options)
    starts = threading.Barrier(DECLARERS)
    failures: list[Exception] = []

    def declare(number: int) -> None:
        try:
            with connect() as connection:
                channel = connection.channel()
                for turn in range(ROUNDS):
                    starts.wait(10)
                    Queue(f"{turn}-{number}", Exchange(f"shop-{turn}"), "")(channel).declare()
        except Exception as error:
            starts.abort()
            failures.append(error)

    threads = [threading.Thread(target=declare, args=[number]) for number in range(DECLARERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    with connect() as connection:
        for turn in range(ROUNDS):
            found = {row.queue for row in connection.channel().get_table(f"shop-{turn}")}
            assert found == {f"{turn}-{number}" for number in range(DECLARERS)}
