"""The tables behind vectors: what a shop declares, and the queue and versions."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django.db import models
from django.db.models.fields.files import FieldFile
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from cardigan_reco.encoders import encoders
from cardigan_reco.querysets import EmbeddingQuerySet

from .paths import fields_along


class EncoderVersionQuerySet(models.QuerySet["EncoderVersion"]):
    def current(self, alias: str) -> EncoderVersion:
        """Returns the row of the encoder that `alias` names now, created at its first use.

        It becomes the newest again where the encoder was taken back to it: which state is in use of
        one that can't describe itself, other processes see by that alone.
        """
        encoder = encoders[alias]
        version, _created = self.get_or_create(
            encoder=alias,
            fingerprint=encoder.fingerprint,
            defaults={
                "backend": f"{type(encoder).__module__}.{type(encoder).__qualname__}",
                "dimensions": encoder.dimensions,
            },
        )
        if not encoder.describes_itself and self.newest(alias) != version:
            self.filter(pk=version.pk).update(created_at=Now())
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
    """Or last taken back to, as current() says."""

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
    """Path from the source to its picture: an ImageField's name, such as "image", or one behind
    foreign keys, such as "image__file". Workers open its files by their names alone: an
    `attr_class` of the shop's gets a blank instance."""
    item_field: ClassVar[str | None] = None
    """Path from the source to what is recommended, such as "product"; None: the source itself."""
    ef_search: ClassVar[int | None] = None
    """Candidates that an HNSW search keeps, 1 to 1,000; None: as many as CARDIGAN_RECO["EF_SEARCH"]
    says for all."""

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
    def picture_field(cls) -> models.FileField:
        """Returns the field at the end of the path from the source to its picture."""
        *_keys, (_model, field) = fields_along(cls.source_model(), cls.image_field)
        return cast(models.FileField, field)

    @classmethod
    def picture_of(cls, source: models.Model) -> FieldFile | None:
        """Returns the picture of a source; None where a foreign key on the way to it is empty."""
        found: Any = source
        for name in cls.image_field.split("__"):
            found = None if found is None else getattr(found, name)
        picture: FieldFile | None = found
        return picture

    @classmethod
    def picture_keys(cls) -> str:
        """Returns the foreign keys between a source and its picture, such as "image"; "": none."""
        return cls.image_field.rpartition("__")[0]

    @classmethod
    def with_pictures(cls, sources: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Returns these sources, together with the rows that lead to their pictures."""
        keys = cls.picture_keys()
        return sources.select_related(keys) if keys else sources

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
