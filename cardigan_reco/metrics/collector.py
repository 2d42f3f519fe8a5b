"""What the database knows, asked when Prometheus does: it is the same in each process."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.db import Error

from cardigan_reco import backlog, collection, conf, database, heartbeats, tallies
from cardigan_reco.backlog import Backlog
from cardigan_reco.exceptions import CardiganError
from cardigan_reco.heartbeats import Worker
from cardigan_reco.lookout import Lookout, side_by_side
from cardigan_reco.models import Embedding, EncoderVersion
from cardigan_reco.tallies import Total

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

PATIENCE = 2
"""How many statements may take as long as PostgreSQL lets them, until nobody waits any more."""

logger = logging.getLogger(__name__)


class Collector:
    """The queue, the workers and what became of the pictures, for a registry of prometheus-client.

    Of a database that doesn't answer in time there is `cardigan_up` 0 and nothing else.
    """

    def collect(self) -> Iterable[Metric]:
        """Asks all databases at once, and waits for none of them for long."""
        families = _Families()
        patience_seconds = PATIENCE * conf.current().healthy.timeout_seconds + 1
        lookouts = {using: _lookout(using) for using in collection.databases()}
        for using, answer in side_by_side(lookouts, patience_seconds):
            try:
                families.add(using, answer())
            except TimeoutError:
                _lose(families, using, f"no answer in {patience_seconds:g} s")
            except Error as error:
                _lose(families, using, str(error))
        return families

    def describe(self) -> Iterable[Metric]:
        """Returns nothing, which keeps a registry from asking the database when it is made."""
        return []


@dataclass(frozen=True)
class _Found:
    backlogs: Mapping[str, Backlog]
    workers: Sequence[Worker]
    totals: Sequence[Total]
    versions: Mapping[type[Embedding], EncoderVersion | None]


@cache
def _lookout(using: str) -> Lookout[_Found]:
    return Lookout(partial(_read, using), "cardigan-metrics")


def _read(using: str) -> _Found:
    with database.hurried(using, conf.current().healthy.timeout_seconds):
        return _Found(
            backlog.of_all(using=using),
            heartbeats.seen(using=using),
            tallies.totals(using=using),
            {embedding: _version(embedding, using) for embedding in collection.models()},
        )


def _lose(families: _Families, using: str, reason: str) -> None:
    families.lose(using)
    logger.error("Database %r gives no metrics: %s", using, reason, extra={"database": using})


def _version(embedding: type[Embedding], using: str) -> EncoderVersion | None:
    # Web servers may lack what an encoder needs to say who it is.
    with suppress(CardiganError, ImproperlyConfigured):
        return EncoderVersion.objects.using(using).newest(embedding.encoder)
    return None


class _Families:
    """All that is told, empty at first."""

    def __init__(self) -> None:
        from prometheus_client.metrics_core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        place = ["database", "collection"]
        self.up = GaugeMetricFamily(
            "cardigan_up", "Whether the database answers.", labels=["database"]
        )
        self.requests = GaugeMetricFamily(
            "cardigan_requests", "Pictures in the queue, by state.", labels=[*place, "state"]
        )
        self.oldest = GaugeMetricFamily(
            "cardigan_oldest_seconds",
            "Since the picture that waits for the longest time was saved.",
            labels=place,
        )
        self.overdue = GaugeMetricFamily(
            "cardigan_overdue_seconds",
            "How long a worker could have taken a picture that none has taken.",
            labels=place,
        )
        self.workers = GaugeMetricFamily(
            "cardigan_workers", "Workers that are there.", labels=["database", "queue"]
        )
        self.encoders = GaugeMetricFamily(
            "cardigan_encoder_info",
            "Always 1; the labels tell which state of the encoder is in use.",
            labels=[*place, "encoder", "fingerprint"],
        )
        self.pictures = CounterMetricFamily(
            "cardigan_pictures",
            "What became of pictures that workers took.",
            labels=[*place, "result"],
        )
        self.batches = HistogramMetricFamily(
            "cardigan_batch_seconds",
            "How long batches take, from the claim or the batch before to the commit.",
            labels=place,
        )

    def __iter__(self) -> Iterator[Metric]:
        return iter(vars(self).values())

    def lose(self, using: str) -> None:
        """Notes that a database doesn't answer."""
        self.up.add_metric([using], 0)

    def add(self, using: str, found: _Found) -> None:
        """Notes what a database knows."""
        self.up.add_metric([using], 1)
        for embedding, version in found.versions.items():
            label = embedding._meta.label_lower
            self._add_backlog([using, label], found.backlogs.get(label, Backlog()))
            if version is not None:
                in_use = [using, label, embedding.encoder, version.fingerprint]
                self.encoders.add_metric(in_use, 1)
        for queue in (conf.current().celery_queue, conf.current().photo_search.queue):
            there = [worker for worker in found.workers if worker.is_there]
            serving = [worker for worker in there if queue in worker.queues]
            self.workers.add_metric([using, queue], len(serving))
        for total in found.totals:
            self._add_total([using, total.collection], total)

    def _add_backlog(self, place: list[str], found: Backlog) -> None:
        for state in backlog.COUNTED:
            self.requests.add_metric([*place, state], getattr(found, state))
        self.oldest.add_metric(place, found.oldest_seconds)
        self.overdue.add_metric(place, found.overdue_seconds)

    def _add_total(self, place: list[str], total: Total) -> None:
        for result, count in total.results.items():
            self.pictures.add_metric([*place, result], count)
        batches = 0
        buckets = []
        bounds = [*map(str, tallies.BOUNDS_SECONDS), "+Inf"]
        for bound, count in zip(bounds, total.durations, strict=True):
            batches += count
            buckets.append((bound, float(batches)))
        self.batches.add_metric(place, buckets, total.seconds)
