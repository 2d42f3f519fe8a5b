"""The tables: what a shop declares, and the queue and versions behind it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from .encoders import encoders
from .fields import EmbeddingField, EmbeddingIndex
from .querysets import EmbeddingQuerySet

__all__ = [
    "CopyDescriptor",
    "DuplicateCheck",
    "DuplicateGroup",
    "DuplicatePair",
    "Embedding",
    "EmbeddingField",
    "EmbeddingIndex",
    "EncoderVersion",
    "EncodingRequest",
    "SharedPicture",
]


class EncoderVersionQuerySet(models.QuerySet["EncoderVersion"]):
    def current(self, alias: str) -> EncoderVersion:
        """Returns the row of the encoder that `alias` names now, created at its first use."""
        encoder = encoders[alias]
        version, _created = self.get_or_create(
            encoder=alias,
            fingerprint=encoder.fingerprint,
            defaults={
                "backend": f"{type(encoder).__module__}.{type(encoder).__qualname__}",
                "dimensions": encoder.dimensions,
            },
        )
        return version

    def newest(self, alias: str) -> EncoderVersion | None:
        """Returns the version that `alias` names now, as far as any process has used it.

        Unlike current(), it never imports torch.
        """
        versions = self.filter(encoder=alias).order_by("-created_at", "-pk")
        encoder = encoders[alias]
        if encoder.describes_itself:
            versions = versions.filter(fingerprint=encoder.fingerprint)
        return versions.first()


class EncoderVersion(models.Model):
    """One state of an encoder. Vectors of different versions are never compared."""

    encoder = models.CharField(_("encoder"), max_length=100)
    """The alias in CARDIGAN_RECO["ENCODERS"]."""
    fingerprint = models.CharField(_("fingerprint"), max_length=64)
    """SHA-256 of all that shapes a vector: weights, network, preprocessing."""
    backend = models.CharField(_("backend"), max_length=255)
    dimensions = models.PositiveIntegerField(_("dimensions"))
    created_at = models.DateTimeField(_("first used"), db_default=Now())

    objects = EncoderVersionQuerySet.as_manager()

    class Meta:
        verbose_name = _("encoder version")
        verbose_name_plural = _("encoder versions")
        constraints = [
            models.UniqueConstraint(
                fields=["encoder", "fingerprint"], name="cardigan_reco_version_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.encoder} {self.fingerprint[:8]}"


class Embedding(models.Model):
    """Base of a shop's embedding tables: one row for each source that has a picture.

    A subclass declares `source`, a OneToOneField to the model that owns the picture, as its
    primary key, and `vector`, an EmbeddingField.
    """

    source: Any
    vector: Any

    encoder: ClassVar[str] = "default"
    """Alias in CARDIGAN_RECO["ENCODERS"]."""
    image_field: ClassVar[str] = "image"
    """Name of the ImageField on the source."""
    item_field: ClassVar[str | None] = None
    """Path from the source to what is recommended, such as "product"; None: the source itself."""

    digest = models.CharField(_("digest"), max_length=64, editable=False)
    """SHA-256 of the bytes of the picture that was encoded."""
    encoder_version = models.ForeignKey(
        EncoderVersion,
        models.PROTECT,
        related_name="+",
        editable=False,
        verbose_name=_("encoder version"),
    )
    encoded_at = models.DateTimeField(_("encoded at"), editable=False, db_default=Now())

    objects = EmbeddingQuerySet.as_manager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self._meta.verbose_name} {self.pk}"

    @classmethod
    def candidates(cls) -> models.QuerySet[Any]:
        """Returns the items that may be shown; a shop narrows it to what is published."""
        return cls.item_model()._default_manager.all()

    @classmethod
    def pictured_item(cls, item: models.Model) -> models.Model:
        """Returns the item whose pictures stand for `item`; override it for variants that borrow
        their parent's pictures. Neither of the two is recommended for the other.
        """
        return item

    @classmethod
    def source_model(cls) -> type[models.Model]:
        return cls._related_model(cls, "source")

    @classmethod
    def item_model(cls) -> type[models.Model]:
        model: type[models.Model] = cls
        for name in cls.item_path().split("__"):
            model = cls._related_model(model, name)
        return model

    @classmethod
    def item_path(cls) -> str:
        """Returns the lookup path from an embedding to its item, such as "source__product"."""
        return f"source__{cls.item_field}" if cls.item_field else "source"

    @staticmethod
    def _related_model(model: type[models.Model], name: str) -> type[models.Model]:
        related = model._meta.get_field(name).related_model
        if not isinstance(related, type):
            raise TypeError(f"{model._meta.label}.{name} is not a relation to another model.")
        return related


class EncodingRequest(models.Model):
    """A source that waits to be encoded: the queue, one row a source, however often it is saved."""

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        LEASED = "leased", _("being encoded")
        MISSING = "missing", _("file missing")
        BAD_IMAGE = "bad_image", _("not a usable picture")
        DEAD = "dead", _("given up")

    collection = models.CharField(_("collection"), max_length=150)
    """Label of the embedding model, such as "shop.productimageembedding"."""
    source_pk = models.CharField(_("source"), max_length=255)
    """The source's primary key as text."""
    version = models.BigIntegerField(_("version"), default=1)
    """Grows with each save, so that a result for an older picture is recognised."""
    state = models.CharField(
        _("state"), max_length=16, choices=State.choices, default=State.WAITING
    )
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    requested_at = models.DateTimeField(_("requested at"), db_default=Now())
    available_at = models.DateTimeField(_("not before"), db_default=Now())
    lease_token = models.UUIDField(_("lease"), null=True, blank=True)
    lease_expires_at = models.DateTimeField(_("leased until"), null=True, blank=True)
    error = models.TextField(_("last error"), blank=True)

    class Meta:
        verbose_name = _("encoding request")
        verbose_name_plural = _("encoding requests")
        constraints = [
            models.UniqueConstraint(
                fields=["collection", "source_pk"], name="cardigan_reco_request_unique"
            )
        ]
        indexes = [
            models.Index(
                fields=["collection", "available_at", "id"],
                condition=models.Q(state="waiting"),
                name="cardigan_reco_waiting",
            ),
            models.Index(
                fields=["collection", "lease_expires_at"],
                condition=models.Q(state="leased"),
                name="cardigan_reco_leased",
            ),
            models.Index(fields=["state", "requested_at"], name="cardigan_reco_state"),
        ]

    def __str__(self) -> str:
        return f"{self.collection} {self.source_pk}"


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
    listings = models.PositiveIntegerField(_("listings"))
    example_source_pk = models.CharField(_("example"), max_length=255)
    found_at = models.DateTimeField(_("found at"), db_default=Now())

    class Meta:
        verbose_name = _("shared picture")
        verbose_name_plural = _("shared pictures")
        constraints = [
            models.UniqueConstraint(
                fields=["collection", "digest"], name="cardigan_reco_shared_unique"
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
    """The "digest:digest" of each pair of pictures that the verdict was given on."""
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
