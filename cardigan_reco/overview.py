"""How far a collection is encoded, at a glance."""

from __future__ import annotations

from typing import NamedTuple

from . import queue
from .models import Embedding, EncoderVersion


class Overview(NamedTuple):
    """How far a collection is encoded, in pictures."""

    collection: str
    label: str
    encoder: str
    encoded: int
    stale: int
    """Encoded by another state of the encoder than today's."""
    waiting: int
    leased: int
    given_up: list[tuple[str, str, int]]
    """State, its name, and how many; only those that occur."""


def of(embedding: type[Embedding], *, using: str) -> Overview:
    """Counts what is done, waits and failed, without loading a network."""
    counts = queue.counts(embedding, using=using)
    rows = embedding._base_manager.using(using)
    current = EncoderVersion.objects.using(using).newest(embedding.encoder)
    return Overview(
        collection=embedding._meta.label,
        label=embedding._meta.label_lower,
        encoder=embedding.encoder,
        encoded=rows.count(),
        stale=rows.exclude(encoder_version=current).count(),
        waiting=counts[queue.State.WAITING],
        leased=counts[queue.State.LEASED],
        given_up=[
            (state.value, str(queue.State(state).label), counts[state])
            for state in queue.Failure
            if counts[state]
        ],
    )
