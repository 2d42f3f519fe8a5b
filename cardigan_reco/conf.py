"""The setting CARDIGAN_RECO: its keys and defaults."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

from .rules import RULES

SETTING = "CARDIGAN_RECO"
BUNDLED = {"default": {"BACKEND": "cardigan_reco.encoders.torch.TorchEncoder"}}
EMPTY: Mapping[str, Any] = MappingProxyType({})


# Every process imports these, and Python makes a named tuple in a sixth of a dataclass' time.
class PhotoSearch(NamedTuple):
    """How photos are searched by: the keys of CARDIGAN_RECO["SEARCH"]."""

    encode_in: str = "process"
    """Where photos are encoded: "process", the one that serves the request, or "worker", Celery."""
    queue: str = "cardigan-search"
    """The Celery queue of photos."""
    concurrent: int = 2
    """Photos that one process decodes and encodes at a time."""
    wait_seconds: float = 1.0
    """How long a photo waits for its turn before the answer is "busy"."""
    deadline_seconds: float = 5.0
    """How long a worker may take."""


class Duplicates(NamedTuple):
    """How listings entered twice are found: the keys of CARDIGAN_RECO["DUPLICATES"]."""

    collection: str = "similar"
    """The purpose in CARDIGAN_RECO["COLLECTIONS"] whose pictures are compared."""
    listings: str = "cardigan_reco.duplicates.listings.Listings"
    """Dotted path of the class that says how the shop's listings are read, compared and merged."""
    min_probability: float = 0.5
    """Pairs that are less probable aren't reported."""
    max_listings_per_picture: int = 10
    """A picture that more listings carry says nothing of them, and is reported by itself."""
    check_on_encode: bool = True
    """Whether each new picture is compared as soon as it is encoded."""


class Health(NamedTuple):
    """What counts as well: the keys of CARDIGAN_RECO["HEALTH"]."""

    overdue_seconds: float = 300.0
    """How long a picture may wait that a worker could take."""
    workers: int = 1
    """How many workers should be there; 0 for shops without, where cron encodes."""
    silent_seconds: float = 60.0
    """After which a worker that doesn't say that it is there counts as lost."""
    timeout_seconds: float = 2.0
    """How long the database may take to answer."""


class Settings(NamedTuple):
    """The values in force. Each field is the key of the same name in capitals."""

    encoders: Mapping[str, Mapping[str, Any]] = BUNDLED
    """Alias -> {"BACKEND": dotted path, "OPTIONS": keyword arguments}."""
    collections: Mapping[str, str] = EMPTY
    """Purpose -> label of the embedding model that serves it now."""
    celery_queue: str = "cardigan"
    """The Celery queue that encoding tasks are sent to."""
    capture: str = "signals"
    """What marks pictures that are saved: Django's "signals", or "triggers" in PostgreSQL."""
    batch_size: int = 32
    """Pictures that are claimed, decoded and encoded together."""
    decode_threads: int = 4
    """Threads that read and decode the pictures of a batch."""
    read_seconds: float = 10
    """How long a storage may take for one picture before it is tried again later."""
    decode_seconds: float = 10
    """How long the decoding of one picture may take before it is killed."""
    lease_seconds: int = 60
    """How long a worker may hold a batch before others take it over."""
    max_attempts: int = 3
    """Crashes or passing failures of one picture before it is given up as dead or missing."""
    retry_seconds: int = 10
    """Wait before the first retry of a passing failure; doubles each time."""
    poll_seconds: int = 10
    """How often a Celery worker looks at the queue without being woken."""
    max_image_bytes: int = 10 * 1024 * 1024
    """Largest picture file that is opened."""
    max_image_pixels: int = 25_000_000
    """Largest picture, width times height, that is decoded."""
    ef_search: int = 50
    """Candidates that an HNSW search keeps; more raises recall and time."""
    exact_rows: int = 12_000
    """Filters that leave so many pictures at most, and few of all, are searched without index."""
    prepared_searches: int = 50
    """Searches that a connection keeps prepared at most; 0: none."""
    shelf_cache: str | None = None
    """The alias in CACHES that keeps what is near an item; None: each shelf is searched."""
    shelf_seconds: float = 0.0
    """How long a shelf in the cache may do without vectors that were written since."""
    search_timeout_seconds: float = 2.0
    """Time after which PostgreSQL cancels a search."""
    search: Mapping[str, Any] = EMPTY
    """Keys of PhotoSearch, in capitals."""
    duplicates: Mapping[str, Any] | None = None
    """Keys of Duplicates, in capitals; None: no listings are compared."""
    health: Mapping[str, Any] = EMPTY
    """Keys of Health, in capitals."""
    metrics: bool = False
    """Whether searches are measured for Prometheus."""

    @property
    def preparation_seconds(self) -> float:
        """What reading and decoding a batch may take; the lease's other half is the encoder's."""
        return self.lease_seconds / 2

    @property
    def photo_search(self) -> PhotoSearch:
        """How photos are searched by."""
        return PhotoSearch(**{key.lower(): value for key, value in self.search.items()})

    @property
    def duplicate_listings(self) -> Duplicates | None:
        """How listings entered twice are found; None where the shop doesn't look for them."""
        if self.duplicates is None:
            return None
        return Duplicates(**{key.lower(): value for key, value in self.duplicates.items()})

    @property
    def healthy(self) -> Health:
        """What counts as well."""
        return Health(**{key.lower(): value for key, value in self.health.items()})


class Problem(NamedTuple):
    """One thing that is wrong with the setting. `code` is the number of its system check."""

    code: str
    message: str
    hint: str

    @property
    def is_fatal(self) -> bool:
        """Whether the setting can't be used, rather than having a key too many."""
        return self.code != "E001"


def current() -> Settings:
    """Returns the settings in force; raises ImproperlyConfigured for a bad value."""
    return _read()


def problems() -> list[Problem]:
    """Returns all that is wrong with the setting, for the system checks."""
    return _examine(getattr(django_settings, SETTING, {}))


@lru_cache(maxsize=1)
def _read() -> Settings:
    given = getattr(django_settings, SETTING, {})
    if bad := [problem for problem in _examine(given) if problem.is_fatal]:
        raise ImproperlyConfigured(f"{bad[0].message} {bad[0].hint}")
    return Settings(**{key.lower(): given[key] for key in given if key in RULES})


@receiver(setting_changed)
def _reread(*, setting: str, **kwargs: object) -> None:
    if setting in (SETTING, "CACHES"):
        _read.cache_clear()


def _examine(given: object) -> list[Problem]:
    if not isinstance(given, Mapping):
        message = f"{SETTING} is a {type(given).__name__}."
        return [Problem("E002", message, "It must be a dict; see the README's settings.")]
    found = []
    for key, value in given.items():
        if key not in RULES:
            close = difflib.get_close_matches(str(key).upper(), RULES, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Choices are: {', '.join(RULES)}."
            found.append(Problem("E001", f"{SETTING} has an unknown key {key!r}.", hint))
        elif wanted := RULES[key](value):
            message = f"{SETTING}[{key!r}] is {value!r}."
            found.append(Problem("E002", message, f"It must be {wanted}."))
    return found
