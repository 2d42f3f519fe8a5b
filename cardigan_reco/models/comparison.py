"""What people say of two encoders' shelves."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class ComparisonVote(models.Model):
    """Which of two encoders' shelves somebody finds better for an item.

    Encoders are held as text, so that a vote outlives its tables and versions. The two stand in the
    order of the alphabet, whichever is the older, so that any two have one tally.
    """

    class Choice(models.TextChoices):
        FIRST = "first", _("the first")
        SECOND = "second", _("the second")
        BOTH = "both", _("equally good")
        NEITHER = "neither", _("neither")

    items = models.CharField(_("items"), max_length=150)
    """Label of the items' model, such as "catalogue.product"."""
    item_pk = models.CharField(_("item"), max_length=255)
    """The item's primary key as text."""
    first = models.CharField(_("first encoder"), max_length=165)
    """Alias and fingerprint, such as "default 3fa9…", as `comparison.versions()` writes them."""
    second = models.CharField(_("second encoder"), max_length=165)
    choice = models.CharField(_("vote"), max_length=16, choices=Choice.choices)
    is_blind = models.BooleanField(_("blind"))
    """Whether the voter didn't know which shelf was whose."""
    voter = models.CharField(_("voter"), max_length=255)
    voted_at = models.DateTimeField(_("voted at"), db_default=Now())

    class Meta:
        verbose_name = _("comparison of encoders")
        verbose_name_plural = _("comparisons of encoders")
        default_permissions = ["view"]
        permissions = [("vote_comparisonvote", "Can vote in comparisons of encoders")]
        constraints = [
            models.UniqueConstraint(
                fields=["items", "first", "second", "voter", "item_pk"],
                name="cardigan_reco_vote_unique",
            )
        ]

    def __str__(self) -> str:
        return f"{self.items} {self.item_pk}"
