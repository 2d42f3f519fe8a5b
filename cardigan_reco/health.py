"""Health for load balancers and monitors: path("visual/health/", include("cardigan_reco.health")).

| address | says | 503 when |
|---|---|---|
| `live/` | this process answers | it encodes photos, and its accelerator failed: restart it |
| `ready/` | it can serve: database, pgvector, migrations | one of them fails |
| `` | and pictures are encoded: queue, workers | also when they aren't |

Nothing is asked of a database more than once a second a process, however often a page is read.
"""

from __future__ import annotations

import logging
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from django.contrib.auth.decorators import login_not_required
from django.db import Error, connections, transaction
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_safe

from . import backlog, collection, conf, database, heartbeats, photos
from .lookout import Lookout

HOLDS_SECONDS = 1.0
"""How long what was seen is told again."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """What a look at the databases has shown; None: it couldn't be found out."""

    database: bool
    extension: bool | None = None
    migrations: bool | None = None
    overdue_seconds: float | None = None
    workers: int | None = None

    def checks(self, *, with_encoding: bool) -> dict[str, bool | None]:
        """Returns what is well, by name."""
        checks = {
            "database": self.database,
            "extension": self.extension,
            "migrations": self.migrations,
        }
        if with_encoding:
            healthy = conf.current().healthy
            overdue, workers = self.overdue_seconds, self.workers
            checks["queue"] = None if overdue is None else overdue < healthy.overdue_seconds
            checks["workers"] = None if workers is None else workers >= healthy.workers
        return checks


def look() -> Seen:
    """Looks at each database with vectors; several count together."""
    all_seen = [_look_at(using) for using in collection.databases()]
    if not all(seen.database for seen in all_seen):
        return Seen(database=False)
    overdue = [seen.overdue_seconds for seen in all_seen if seen.overdue_seconds is not None]
    workers = [seen.workers for seen in all_seen if seen.workers is not None]
    is_complete = len(overdue) == len(all_seen)
    return Seen(
        database=True,
        extension=all(seen.extension for seen in all_seen),
        migrations=all(seen.migrations for seen in all_seen),
        overdue_seconds=max(overdue, default=0.0) if is_complete else None,
        workers=min(workers, default=0) if is_complete else None,
    )


def _look_at(using: str) -> Seen:
    try:
        with database.hurried(using, conf.current().healthy.timeout_seconds):
            with connections[using].cursor() as cursor:
                cursor.execute(_FOUNDATIONS)
                extension, has_history = cursor.fetchone()
            if not (extension and has_history and _is_migrated(using)):
                return Seen(True, extension, False)
            queue = conf.current().celery_queue
            seen = heartbeats.seen(using=using)
            return Seen(
                True,
                True,
                True,
                backlog.overdue_seconds(collection.models(), using=using),
                sum(worker.is_there and queue in worker.queues for worker in seen),
            )
    except Error as error:  # It may name hosts and users, which are nobody's business.
        logger.error("Database %r isn't well: %s", using, error, extra={"database": using})
        return Seen(database=False)


def _is_migrated(using: str) -> bool:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT name FROM django_migrations WHERE app = 'cardigan_reco'")
        return _migrations() <= {row[0] for row in cursor.fetchall()}


@cache
def _migrations() -> frozenset[str]:
    """Returns the names of the package's migrations; none where a shop has switched them off."""
    name, _is_explicit = MigrationLoader.migrations_module("cardigan_reco")
    if name is None:
        return frozenset()
    found = pkgutil.iter_modules(import_module(name).__path__)
    return frozenset(module.name for module in found if module.name[0] not in "_~")


_FOUNDATIONS = """
    SELECT
        EXISTS (SELECT FROM pg_extension WHERE extname = 'vector'),
        to_regclass('django_migrations') IS NOT NULL
    """
_lookout = Lookout(look, "cardigan-health", HOLDS_SECONDS)

View = Callable[[HttpRequest], HttpResponse]


def _public(view: View) -> View:
    """Lets a view answer whoever asks, and without the database."""
    return transaction.non_atomic_requests(login_not_required(require_safe(view)))


@_public
def live(request: HttpRequest) -> HttpResponse:
    """Says whether this process should be restarted; it asks nobody."""
    if photos.has_lost_device():
        return _uncached({"status": "failing", "checks": {"device": False}}, 503)
    return _uncached({"status": "ok"}, 200)


@_public
def ready(request: HttpRequest) -> HttpResponse:
    """Says whether this process can serve."""
    return _told(with_encoding=False)


@_public
def health(request: HttpRequest) -> HttpResponse:
    """Says whether this process can serve, and pictures are encoded."""
    return _told(with_encoding=True)


def _told(*, with_encoding: bool) -> HttpResponse:
    try:
        seen = _lookout.ask(conf.current().healthy.timeout_seconds + 1)
    except TimeoutError:
        seen = Seen(database=False)
    checks = seen.checks(with_encoding=with_encoding)
    is_well = all(checks.values())
    answer: dict[str, object] = {"status": "ok" if is_well else "failing", "checks": checks}
    if with_encoding:
        overdue = seen.overdue_seconds
        answer["overdue_seconds"] = None if overdue is None else round(overdue, 1)
        answer["workers"] = seen.workers
    return _uncached(answer, 200 if is_well else 503)


def _uncached(answer: dict[str, object], status: int) -> HttpResponse:
    return JsonResponse(answer, status=status, headers={"Cache-Control": "no-store"})


app_name = "cardigan_reco_health"
urlpatterns = [
    path("", health, name="health"),
    path("live/", live, name="live"),
    path("ready/", ready, name="ready"),
]
