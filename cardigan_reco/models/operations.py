"""What the workers leave behind: what became of the pictures, that vectors came, who was seen."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class EncodingTally(models.Model):
    """What became of the pictures of one collection in one minute; see `tallies`."""

    collection = models.CharField(_("collection"), max_length=150)
    minute = models.DateTimeField(_("minute"))
    """Its beginning. What is older than a day is summed up in one row, that of `tallies.BEFORE`."""
    encoded = models.BigIntegerField(_("encoded"), default=0)
    skipped = models.BigIntegerField(_("unchanged"), default=0)
    removed = models.BigIntegerField(_("without picture"), default=0)
    retried = models.BigIntegerField(_("to be tried again"), default=0)
    outdated = models.BigIntegerField(_("changed meanwhile"), default=0)
    missing = models.BigIntegerField(_("file missing"), default=0)
    bad_image = models.BigIntegerField(_("not a usable picture"), default=0)
    dead = models.BigIntegerField(_("given up"), default=0)
    seconds = models.FloatField(_("seconds"), default=0)
    """That its batches took, all together."""
    durations = ArrayField(models.BigIntegerField(), verbose_name=_("durations"))
    """How many batches took as long as each of `tallies.BOUNDS_SECONDS`, and how many longer."""

    class Meta:
        verbose_name = _("encoding tally")
        verbose_name_plural = _("encoding tallies")
        constraints = [
            models.UniqueConstraint(
                fields=["collection", "minute"], name="cardigan_reco_tally_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.collection} {self.minute:%Y-%m-%d %H:%M}"


class CollectionRevision(models.Model):
    """How often the vectors of a collection were written; see `shelves`."""

    collection = models.CharField(_("collection"), max_length=150, primary_key=True)
    revision = models.BigIntegerField(_("revision"), default=1)

    class Meta:
        verbose_name = _("revision of a collection")
        verbose_name_plural = _("revisions of collections")

    def __str__(self) -> str:
        return f"{self.collection} {self.revision}"


class WorkerHeartbeat(models.Model):
    """A worker that was seen: it says so itself every few seconds; see `heartbeats`."""

    name = models.CharField(_("worker"), max_length=255)
    """Celery's name of it, such as "celery@host"."""
    pid = models.PositiveIntegerField(_("process"))
    queues = models.JSONField(_("queues"), default=list)
    """Those of ours that it serves."""
    release = models.CharField(_("release"), max_length=50)
    """Of this package, where the worker runs."""
    started_at = models.DateTimeField(_("started at"), db_default=Now())
    seen_at = models.DateTimeField(_("seen at"), db_default=Now())

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        constraints = [
            models.UniqueConstraint(fields=["name", "pid"], name="cardigan_reco_heartbeat_unique")
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})"
