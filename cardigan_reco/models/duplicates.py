"""The tables behind the report of listings that were entered twice."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from .embeddings import EncoderVersion


class CopyDescriptor(models.Model):
    """What tells whether two pictures are one photo, edited: one row for each picture file."""

    digest = models.CharField(_("digest"), max_length=64, primary_key=True)
    """SHA-256 of the picture's bytes."""
    bits = models.BigIntegerField(_("perceptual hash"))
    mirrored_bits = models.BigIntegerField(_("perceptual hash of the mirrored picture"))
    data = models.BinaryField(_("details"))
    """What `copies.compare()` reads; see there."""
    made_at = models.DateTimeField(_("made at"), db_default=Now())

    class Meta:
        verbose_name = _("copy descriptor")
        verbose_name_plural = _("copy descriptors")
        # Hashes that differ in up to three bits agree in one of these bands. What else a search
        # reads is beside them, since the rows themselves are long.
        indexes = [
            models.Index(
                models.F("bits").bitrightshift(16 * band).bitand(65535),
                name=f"cardigan_reco_copy_band{band}",
                include=["bits", "digest"],
            )
            for band in range(4)
        ]

    def __str__(self) -> str:
        return self.digest[:8]


class DuplicateCheck(models.Model):
    """The state in which a source was last compared with the others: what a run can skip."""

    collection = models.CharField(_("collection"), max_length=150)
    source_pk = models.CharField(_("source"), max_length=255)
    item_pk = models.CharField(_("listing"), max_length=255)
    digest = models.CharField(_("digest"), max_length=64)
    encoder_version = models.ForeignKey(
        EncoderVersion, models.CASCADE, related_name="+", verbose_name=_("encoder version")
    )
    level = models.FloatField(_("level"), null=True)
    """Mean similarity of the pictures around it; None: there are none."""
    shared = models.ForeignKey(
        "SharedPicture",
        models.SET_NULL,
        null=True,
        related_name="checks",
        verbose_name=_("shared picture"),
    )
    """None: the picture speaks for its listing."""
    checked_at = models.DateTimeField(_("checked at"), null=True, db_default=Now())
    """None: it is to be compared again."""

    class Meta:
        verbose_name = _("duplicate check")
        verbose_name_plural = _("duplicate checks")
        constraints = [
            models.UniqueConstraint(
                fields=["collection", "source_pk"], name="cardigan_reco_check_unique"
            )
        ]
        indexes = [
            models.Index(fields=["collection", "digest"], name="cardigan_reco_check_digest"),
            models.Index(fields=["collection", "item_pk"], name="cardigan_reco_check_item"),
        ]

    def __str__(self) -> str:
        return f"{self.collection} {self.source_pk}"


class SharedPicture(models.Model):
    """A picture that so many listings carry that it says nothing of them: a placeholder, or the
    photo of a supplier.
    """

    collection = models.CharField(_("collection"), max_length=150)
    digest = models.CharField(_("digest"), max_length=64)
    """Of one of the files, where they differ in their bytes."""
    tenant = models.CharField(_("tenant"), max_length=255, blank=True, default="")
    """Whose listings carry it, as text; empty where the shop has no tenants."""
    listings = models.PositiveIntegerField(_("listings"))
    example_source_pk = models.CharField(_("example"), max_length=255)
    found_at = models.DateTimeField(_("found at"), db_default=Now())

    class Meta:
        verbose_name = _("shared picture")
        verbose_name_plural = _("shared pictures")
        constraints = [
            models.UniqueConstraint(
                fields=["collection", "digest", "tenant"], name="cardigan_reco_shared_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.digest[:8]} ({self.listings})"


class DuplicateKind(models.TextChoices):
    EXACT = "exact", _("same file")
    SAME_PHOTO = "same_photo", _("same photo, edited")
    SAME_ITEM = "same_item", _("same thing in another photo")


class DuplicateState(models.TextChoices):
    OPEN = "open", _("open")
    CONFIRMED = "confirmed", _("confirmed")
    DISMISSED = "dismissed", _("dismissed")
    MERGED = "merged", _("merged")


class DuplicateGroup(models.Model):
    """Listings that are likely one thing, and each of which has evidence of its own for it.

    What the report shows and sorts by is kept here, so that a page of it is one indexed read.
    """

    Kind = DuplicateKind
    State = DuplicateState

    collection = models.CharField(_("collection"), max_length=150)
    state = models.CharField(
        _("state"), max_length=16, choices=DuplicateState.choices, default=DuplicateState.OPEN
    )
    """Open while one of its pairs is."""
    kind = models.CharField(_("kind"), max_length=16, choices=DuplicateKind.choices)
    """Of its most probable pair."""
    probability = models.FloatField(_("probability"))
    """Of its most probable pair, 0 to 1."""
    listings = models.PositiveIntegerField(_("listings"))
    category = models.CharField(_("category"), max_length=255, blank=True)
    """Of the first of its listings, in the shop's words."""
    survivor_pk = models.CharField(_("survivor"), max_length=255, blank=True)
    """The listing that stays when the others are merged into it; empty: not chosen yet."""
    version = models.BigIntegerField(_("version"), default=1)
    """Grows with each change, so that two people can't overwrite each other."""
    found_at = models.DateTimeField(_("found at"), db_default=Now())
    changed_at = models.DateTimeField(_("changed at"), db_default=Now())

    class Meta:
        verbose_name = _("duplicate listing")
        verbose_name_plural = _("duplicate listings")
        permissions = [("merge_duplicategroup", "Can merge duplicate listings")]
        indexes = [
            models.Index(
                fields=["collection", "state", "-probability", "id"],
                name="cardigan_reco_group_report",
            ),
            models.Index(fields=["collection", "category"], name="cardigan_reco_group_category"),
        ]

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"


class DuplicatePair(models.Model):
    """Two listings that are likely one thing, why, and what a person said to it."""

    Kind = DuplicateKind
    State = DuplicateState

    collection = models.CharField(_("collection"), max_length=150)
    group = models.ForeignKey(
        DuplicateGroup,
        models.SET_NULL,
        null=True,
        related_name="pairs",
        verbose_name=_("group"),
    )
    """Dismissed pairs have groups of their own, apart from the others. None: not grouped yet."""
    first_pk = models.CharField(_("first listing"), max_length=255)
    second_pk = models.CharField(_("second listing"), max_length=255)
    """The items' primary keys as text, the first before the second in the order of the keys."""
    kind = models.CharField(_("kind"), max_length=16, choices=DuplicateKind.choices)
    probability = models.FloatField(_("probability"))
    """That a person would confirm the pair, 0 to 1."""
    evidence = models.JSONField(_("evidence"), default=dict)
    """The pictures that match, best first, and the words that do; see `duplicates.Evidence`."""
    state = models.CharField(
        _("state"), max_length=16, choices=DuplicateState.choices, default=DuplicateState.OPEN
    )
    judged = models.JSONField(_("judged pictures"), default=list)
    """What the verdict was given on: the "digest:digest" of each two pictures that matched, and of
    each picture "digest:" where the first listing had it, ":digest" where the second had.
    """
    reviewer = models.CharField(_("reviewer"), max_length=255, blank=True)
    """The user's name, which outlives the account."""
    note = models.TextField(_("note"), blank=True)
    version = models.BigIntegerField(_("version"), default=1)
    """Grows with each change, so that two people can't overwrite each other."""
    found_at = models.DateTimeField(_("found at"), db_default=Now())
    reviewed_at = models.DateTimeField(_("reviewed at"), null=True, blank=True)

    class Meta:
        verbose_name = _("duplicate pair")
        verbose_name_plural = _("duplicate pairs")
        constraints = [
            models.UniqueConstraint(
                fields=["collection", "first_pk", "second_pk"], name="cardigan_reco_pair_unique"
            )
        ]
        indexes = [
            models.Index(fields=["collection", "second_pk"], name="cardigan_reco_pair_second"),
            models.Index(
                fields=["collection", "state", "-probability", "id"],
                name="cardigan_reco_pair_report",
            ),
            models.Index(
                fields=["reviewed_at"],
                condition=models.Q(reviewed_at__isnull=False),
                name="cardigan_reco_pair_reviewed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.first_pk} = {self.second_pk}"
