"""What an HNSW index takes, in memory while it is built and on disk.

The figures are pgvector 0.8.5's on 64 bits, measured at 16 to 512 dimensions and m of 16 and 32:
1,740 bytes of memory and 1,366 of disk a row of 512 dimensions and m = 16.
"""

from __future__ import annotations

import os

from django.db import connections

from cardigan_reco.models import Embedding, EmbeddingField

DEFAULT_M = 16
"""pgvector's own."""
SHARED_MEMORY = "/dev/shm"  # noqa: S108  Where PostgreSQL's parallel workers share memory.


def memory_bytes(rows: int, dimensions: int, m: int = DEFAULT_M) -> int:
    """Returns the maintenance_work_mem with which the graph is built in memory, and so fast."""
    return rows * (2 * dimensions + 32 * m + 204)


def index_bytes(rows: int, dimensions: int, m: int = DEFAULT_M) -> int:
    """Returns about how large a new index is."""
    return rows * (2 * dimensions + 17 * m + 70)


def dimensions(embedding: type[Embedding]) -> int:
    """Returns the length of the embedding's vectors."""
    fields = (field for field in embedding._meta.fields if isinstance(field, EmbeddingField))
    return next((field.dimensions for field in fields if field.dimensions), 0)


def shared_memory_bytes(using: str) -> int | None:
    """Returns how much a parallel build could share; None where it can't be seen from here.

    A container has 64 MiB unless it is started with --shm-size (pgvector #453).
    """
    host = connections[using].settings_dict["HOST"]
    if host and not host.startswith("/") and host not in ("localhost", "127.0.0.1", "::1"):
        return None
    try:
        state = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return state.f_bavail * state.f_frsize
