"""Batches: claimed sources in the hands of this process, which writes them or gives them back."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured
from django.db import (
    DatabaseError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    connections,
)

from . import preparation, queue
from .encoders import encoders
from .encoders.base import Encoder
from .exceptions import CardiganError
from .models import Embedding, EncoderVersion
from .preparation import Underway
from .quarantine import Quarantine
from .queue import Claim

_unreturned: list[tuple[str, Sequence[Claim]]] = []
"""Claims, with their database, that couldn't be given back since it was away."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Claims of one lease, whose pictures are decoded in the background."""

    claims: Sequence[Claim]
    encoder: Encoder
    version: EncoderVersion
    pictures: Underway
    using: str

    @contextmanager
    def held(self, *, is_to_blame: bool = True) -> Iterator[None]:
        """Gives the claims back when the block raises.

        Mostly free, for others to take. But where a picture of them may be to blame for the
        exception, as after a crash: each is tried alone, and none waits for the lease to end.
        """
        with _held(self.claims, self.using, is_to_blame):
            yield

    def release(self) -> None:
        """Gives the claims back as if they had never been made; the pictures are left unread."""
        self.pictures.end()
        _release(self.claims, self.using)


def take(embedding: type[Embedding], size: int, quarantine: Quarantine, using: str) -> Batch | None:
    """Claims up to `size` sources and begins to decode their pictures; None when none can be."""
    claims = queue.claim(embedding, limit=size, using=using)
    if not claims:
        return None
    with _held(claims, using):
        encoder = encoders[embedding.encoder]
        version = EncoderVersion.objects.using(using).current(embedding.encoder)
        pictures = preparation.begin(embedding, claims, version, encoder, quarantine, using)
        return Batch(claims, encoder, version, pictures, using)


def return_what_is_left(using: str) -> None:
    """Releases the claims of batches that a database broke off, without charging an attempt."""
    for entry in [entry for entry in _unreturned if entry[0] == using]:
        queue.release(entry[1], using=using)
        with suppress(ValueError):  # Another thread has returned it as well.
            _unreturned.remove(entry)


@contextmanager
def _held(claims: Sequence[Claim], using: str, is_to_blame: bool = True) -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError):  # Restarting, full, or gone.
        if connections[using].in_atomic_block:
            _unreturned.append((using, claims))
        else:
            connections[using].close()
            _release(claims, using)
        raise
    except (ProgrammingError, NotSupportedError) as error:  # Code that is ahead of its tables.
        _release(claims, using)
        logger.error(
            "Database %r can't do what this code asks of it, so its pictures wait. Run manage.py "
            "migrate, and see what cardigan_status says: %s",
            using,
            str(error).partition("\n")[0],
            extra={"database": using},
        )
        raise
    except (CardiganError, ImproperlyConfigured):  # An encoder that can't be built.
        _release(claims, using)
        raise
    except Exception as error:
        if is_to_blame:
            queue.abandon(claims, f"{type(error).__name__}: {error}", using=using)
        else:
            _release(claims, using)
        raise
    except BaseException:  # An orderly end.
        _release(claims, using)
        raise


def _release(claims: Sequence[Claim], using: str) -> None:
    """Releases claims now, or as soon as their database is back."""
    _unreturned.append((using, claims))
    with suppress(DatabaseError, InterfaceError):
        return_what_is_left(using)
