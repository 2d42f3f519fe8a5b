"""The memory and the parallel workers that a build gets from the server."""

from __future__ import annotations

from django.db import DatabaseError

from . import needs
from .health import Health
from .session import Listener, Session

DEFAULT_MEMORY_BYTES = 2**30
"""What a build takes at most unless it is told otherwise."""
OUT_OF_SPACE = "53100"


def memory_bytes(health: Health, m: int, session: Session, listener: Listener) -> int:
    """Returns what the graph needs, up to 1 GiB, or the server's own setting if that is more."""
    [(own,)] = session.ask("SELECT pg_size_bytes(current_setting('maintenance_work_mem'))")
    needed = needs.memory_bytes(health.rows, health.dimensions, m) * 11 // 10
    most = max(int(own), DEFAULT_MEMORY_BYTES)
    if needed > most:
        listener.note(
            f"The graph needs about {mebibytes(needed)} and gets {mebibytes(most)}; a build that "
            "doesn't fit takes several times as long. If the server has the memory, say so with "
            "--memory."
        )
    return max(int(own), min(needed, most))


def workers(wanted: int | None, memory: int, session: Session, listener: Listener) -> int:
    """Returns how many parallel workers there can be; `wanted`: None stands for the server's.

    They share the memory, so that there are none where it is seen to be too little.
    """
    if wanted is None:
        [(text,)] = session.ask("SHOW max_parallel_maintenance_workers")
        wanted = int(text)
    shared = needs.shared_memory_bytes(session.using)
    if wanted and shared is not None and shared < memory:
        listener.note(
            f"{needs.SHARED_MEMORY} has {mebibytes(shared)} left, and parallel workers would share "
            f"{mebibytes(memory)}. Building without them, which takes longer; containers get more "
            "by --shm-size."
        )
        return 0
    return wanted


def is_lack_of_shared_memory(error: DatabaseError) -> bool:
    """Whether parallel workers found too little where it can't be seen from here.

    The server's messages may be in any language; the name of a segment is in all of them.
    """
    is_full = getattr(error.__cause__, "sqlstate", None) == OUT_OF_SPACE
    return is_full and '"/PostgreSQL.' in str(error)


def mebibytes(count: int) -> str:
    """Returns a size for people to read."""
    return f"{count / 2**20:,.0f} MiB"
