"""The cards of groups, filled from the shop's tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import F, Model, Q, Window
from django.db.models.functions import RowNumber
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from cardigan_reco.duplicates import reasons
from cardigan_reco.duplicates.listings import Listings
from cardigan_reco.models import DuplicateGroup, DuplicatePair

from . import differences, fields
from .cards import Card, Fact, Listing, Match, PairOfListings, Picture
from .differences import Part

MAX_PICTURES = 6
"""Pictures that are shown of a listing, those that match first."""


def of(groups: Iterable[DuplicateGroup], shop: Listings, *, site: str) -> list[Card]:
    """Returns the cards of groups, with a number of queries that doesn't depend on theirs.

    `site`: name of the admin site that they link to.
    """
    groups = list(groups)
    using = groups[0]._state.db if groups else None
    pairs: dict[int | None, list[DuplicatePair]] = defaultdict(list)
    rows = DuplicatePair.objects.using(using).filter(group__in=[group.pk for group in groups])
    for pair in rows.order_by("-probability", "pk"):
        pairs[pair.group_id].append(pair)
    known = _Known(shop, [pair for those in pairs.values() for pair in those], site)
    return [known.card(group, pairs[group.pk]) for group in groups]


class _Known:
    """What the shop's tables hold of the listings of some pairs."""

    def __init__(self, shop: Listings, pairs: Sequence[DuplicatePair], site: str) -> None:
        self._shop = shop
        self._site = site
        self._embedding = shop.embedding
        self._model = shop.embedding.item_model()
        self._using = router.db_for_read(self._model)
        keys = self._keys(
            self._model, (pk for one in pairs for pk in (one.first_pk, one.second_pk))
        )
        self._items = self._find(keys)
        self._fields = fields.of(shop)
        self._values = self._read(list(self._items.values()))
        self._matched = self._keys(
            shop.embedding.source_model(),
            (
                picture[side]
                for pair in pairs
                for picture in pair.evidence.get("pictures", ())
                for side in ("first", "second")
            ),
        )
        self._sources: dict[str, Model] = {}
        self._of_item: dict[str, list[str]] = defaultdict(list)
        self._find_sources(list(keys.values()))
        self._digests = {
            str(pk): digest
            for pk, digest in self._embedding._base_manager.using(self._using)
            .filter(pk__in=list(self._matched.values()))
            .values_list("pk", "digest")
        }

    def card(self, group: DuplicateGroup, pairs: Sequence[DuplicatePair]) -> Card:
        to_python = self._model._meta.pk.to_python
        item_pks = {pk for pair in pairs for pk in (pair.first_pk, pair.second_pk)}
        try:
            ordered = sorted(item_pks, key=to_python)
        except ValidationError:  # The items' keys were of another type then.
            ordered = sorted(item_pks)
        listings = [
            self._listing(number, pk, group, pairs) for number, pk in enumerate(ordered, start=1)
        ]
        self._mark(listings)
        by_pk = {listing.pk: listing for listing in listings}
        return Card(
            group=group,
            url=reverse(f"{self._site}:cardigan_reco_duplicategroup_change", args=[group.pk]),
            listings=listings,
            pairs=[
                PairOfListings(
                    pair=pair,
                    first=by_pk[pair.first_pk],
                    second=by_pk[pair.second_pk],
                    reasons=reasons.sentences(pair.evidence),
                    matches=[
                        self._match(picture, by_pk[pair.first_pk], by_pk[pair.second_pk])
                        for picture in pair.evidence.get("pictures", ())
                    ],
                )
                for pair in pairs
            ],
        )

    def _listing(
        self, number: int, pk: str, group: DuplicateGroup, pairs: Sequence[DuplicatePair]
    ) -> Listing:
        survives = bool(group.survivor_pk) and group.survivor_pk == pk
        item = self._items.get(pk)
        if item is None:
            name = _("Listing %s, which is no longer there") % pk
            return Listing(number, pk, name, is_gone=True, is_survivor=survives)
        title = self._shop.title_field
        name = str((title and self._values.get(pk, {}).get(title)) or item)
        return Listing(
            number=number,
            pk=pk,
            name=name,
            admin_url=self._admin_url(item),
            shop_url=_shop_url(item),
            pictures=self._pictures(pk, name, pairs),
            is_survivor=survives,
        )

    def _mark(self, listings: Sequence[Listing]) -> None:
        """Sets names and facts, with what differs among the listings that are there."""
        there = [listing for listing in listings if not listing.is_gone]
        for listing in listings:
            listing.name_parts = [Part(listing.name, False)]
        for listing, parts in zip(
            there, differences.words([listing.name for listing in there]), strict=True
        ):
            listing.name_parts = parts
        for lookup, field in self._fields.items():
            if lookup == self._shop.title_field:
                continue
            texts = [field.write(self._values[listing.pk][lookup]) for listing in there]
            marked = differences.words(texts) if field.holds_words else differences.wholes(texts)
            for listing, parts in zip(there, marked, strict=True):
                listing.facts.append(Fact(field.label, parts, len(set(texts)) > 1))

    def _pictures(self, pk: str, name: str, pairs: Sequence[DuplicatePair]) -> list[Picture]:
        """Returns those that match first, the surest of them before all."""
        matching: dict[str, str] = {}
        for pair in pairs:
            side = {pair.first_pk: "first", pair.second_pk: "second"}.get(pk)
            for picture in pair.evidence.get("pictures", ()) if side else ():
                matching.setdefault(picture[side], picture[f"{side}_digest"])
        others = [source for source in self._of_item[pk] if source not in matching]
        shown = [self._picture(source, name, digest) for source, digest in matching.items()]
        return [*shown, *(self._picture(source, name) for source in others)][:MAX_PICTURES]

    def _picture(self, source_pk: str, name: str, digest: str | None = None) -> Picture:
        """Returns a picture; `digest` is of the file that was compared."""
        source = self._sources.get(source_pk)
        file = self._embedding.picture_of(source) if source else None
        if not file:
            return Picture(None, name, _("This picture is no longer there."))
        try:
            url = file.url
        except (NotImplementedError, ValueError):  # A storage whose files have no address.
            return Picture(None, name, _("The pictures’ storage has no addresses to show."))
        if digest is not None and self._digests.get(source_pk, digest) != digest:
            return Picture(url, name, _("This picture has changed since it was compared."))
        return Picture(url, name)

    def _match(self, picture: Mapping[str, Any], first: Listing, second: Listing) -> Match:
        return Match(
            first=self._picture(picture["first"], first.name, picture["first_digest"]),
            second=self._picture(picture["second"], second.name, picture["second_digest"]),
            words=", ".join(reasons.phrases(picture.get("reasons", ()))),
            is_mirrored=any(one["code"] == "mirrored" for one in picture.get("reasons", ())),
        )

    def _keys(self, model: type[Model], texts: Iterable[str]) -> dict[str, Any]:
        """Returns primary keys by their text, without those that can't be keys of the model."""
        keys = {}
        for text in texts:
            try:
                keys[text] = model._meta.pk.to_python(text)
            except ValidationError:
                continue
        return keys

    def _find(self, keys: Mapping[str, Any]) -> dict[str, Any]:
        items = self._model._base_manager.using(self._using).filter(pk__in=list(keys.values()))
        return {str(item.pk): item for item in items}

    def _read(self, items: Collection[Any]) -> dict[str, dict[str, Any]]:
        """Returns the fields that are shown of each listing."""
        lookups = list(self._fields)
        if not lookups:
            return {}
        rows = self._model._base_manager.using(self._using).filter(pk__in=[one.pk for one in items])
        return {
            str(pk): dict(zip(lookups, values, strict=True))
            for pk, *values in rows.values_list("pk", *lookups)
        }

    def _find_sources(self, item_pks: Sequence[Any]) -> None:
        """Reads the sources that match, and the first few of each item."""
        model, path = self._embedding.source_model(), self._embedding.item_field
        sources = self._embedding.with_pictures(model._base_manager.using(self._using))
        matched = list(self._matched.values())
        if path is None:
            rows: Any = sources.filter(Q(pk__in=matched) | Q(pk__in=item_pks))
        else:
            order: Any = model._meta.ordering or "pk"
            place = Window(RowNumber(), partition_by=F(path), order_by=order)
            # The key by a name of its own: beside a window, that of a model with a parent is lost.
            rows = (
                sources.filter(Q(pk__in=matched) | Q(**{f"{path}__in": item_pks}))
                .annotate(cardigan_pk=F("pk"), cardigan_item=F(path), cardigan_place=place)
                .filter(Q(cardigan_place__lte=MAX_PICTURES) | Q(cardigan_pk__in=matched))
                .order_by("cardigan_place")
            )
        for source in rows:
            self._sources[str(source.pk)] = source
            item = source.pk if path is None else source.cardigan_item
            self._of_item[str(item)].append(str(source.pk))

    def _admin_url(self, item: Any) -> str | None:
        meta = item._meta
        try:
            name = f"{self._site}:{meta.app_label}_{meta.model_name}_change"
            return reverse(name, args=[item.pk])
        except NoReverseMatch:
            return None


def _shop_url(item: Any) -> str | None:
    """Returns the address of the item's page, if the shop's model tells."""
    try:
        return str(item.get_absolute_url()) or None
    except (AttributeError, NoReverseMatch):
        return None
