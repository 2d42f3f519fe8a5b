"""The broker of the Celery workers: whether it answers, asked without waiting for long."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from queue import Empty, Queue

from .exceptions import MissingExtra


@dataclass(frozen=True)
class Broker:
    """What a look at the broker has shown."""

    url: str
    """Without its password."""
    answers: bool
    error: str = ""
    """Why it doesn't."""


def look(timeout_seconds: float) -> Broker:
    """Returns whether a connection to the broker can be made in that time.

    Raises MissingExtra without Celery.
    """
    try:
        from celery import current_app as app
    except ModuleNotFoundError as error:
        raise MissingExtra("Asking the broker", "celery") from error
    try:
        connection = app.connection_for_write(connect_timeout=timeout_seconds)
        url = connection.as_uri()
    except Exception as error:  # Of a transport that is unknown, or whose client isn't installed.
        return Broker("BROKER_URL", False, f"{type(error).__name__}: {error}")
    found: Queue[str] = Queue()

    def connect() -> None:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_max=0)
            found.put("")
        except Exception as error:  # Brokers raise what their client libraries raise.
            found.put(f"{type(error).__name__}: {error}")
        finally:
            connection.release()

    # One that swallows packets may hold a thread for minutes, whatever the timeout says.
    threading.Thread(target=connect, name="cardigan-broker", daemon=True).start()
    try:
        problem = found.get(timeout=timeout_seconds)
    except Empty:
        problem = f"No answer in {timeout_seconds:g} s."
    return Broker(url, not problem, problem)
