"""One run over pictures: chunk by chunk they are compared with all the others, and what is found is
stored with the note that they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction

from . import candidates, descriptors, matching, orphans, pairs, pending, shared, variants
from .candidates import Neighbours, Sources
from .matching import Match
from .pairs import Stored
from .pending import Picture
from .pictures import Pictures


class Run:
    """Compares chunks of pictures, each in a transaction of its own."""

    def __init__(self, pictures: Pictures, min_probability: float, max_listings: int) -> None:
        self.pictures = pictures
        self.again: set[Any] = set()
        """Sources that what was found makes worth comparing again."""
        self._min_probability = min_probability
        self._max_listings = max_listings
        self._are_few: dict[Any, bool] = {}

    def compare(self, chunk: Sequence[Picture]) -> tuple[list[Picture], Stored]:
        """Returns which of the pictures were still to be compared, and what became of the pairs.

        Those whose descriptor another process deleted meanwhile stay to be compared.
        """
        if not chunk:
            return [], Stored()
        with self._turn():
            was = {(picture.source, picture.digest) for picture in chunk}
            current = pending.among(self.pictures, [picture.source for picture in chunk])
            described = descriptors.stored({one.digest for one in chunk}, self.pictures.using)
            compared = [
                one
                for one in current
                if (one.source, one.digest) in was and one.digest in described
            ]
            if not compared:
                return [], Stored()
            pending.record(self.pictures, compared)
            item_pks = {str(picture.item) for picture in compared}
            item_pks |= {one.former_item for one in compared if one.former_item is not None}
            return compared, self._settle(item_pks, self._matches(compared, item_pks))

    def remove_orphans(self) -> Stored:
        """Removes what is left of pictures and listings that are gone, in bounded steps."""
        stored = Stored()
        check: int | None = 0
        while check is not None:
            with self._turn():
                check, item_pks = orphans.remove_checks(self.pictures, check)
                if item_pks:
                    stored += self._settle(item_pks, self._matches([], item_pks))
        pair: int | None = 0
        while pair is not None:
            with self._turn():
                pair = orphans.remove_pairs(self.pictures, pair)
        digest: str | None = ""
        while digest is not None:
            with self._turn():
                digest = orphans.remove_descriptors(self.pictures, digest)
        return stored

    def recount(self) -> int:
        """Gives up shared pictures that few listings carry by now; returns how many."""
        with self._turn():
            return shared.recount(self.pictures, max_listings=self._max_listings)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Opens a transaction, once no other process compares pictures of the collection."""
        using = self.pictures.using
        with transaction.atomic(using=using):
            with connections[using].cursor() as cursor:
                cursor.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
                    [f"cardigan_reco.find {self.pictures.collection}"],
                )
            candidates.prepare(self.pictures)
            yield

    def _matches(self, compared: Sequence[Picture], item_pks: set[str]) -> list[Match]:
        """Returns which pictures match the compared ones, and which of the listings matched before
        and still do.
        """
        pictures = self.pictures
        alone = self._without_shared(compared)
        sources = [picture.source for picture in alone]
        around = self._around(alone)
        pending.set_levels(pictures, {source: of.level for source, of in around.items()})
        known = self._remembered(item_pks)
        others = [
            *candidates.by_digest(pictures, sources),
            *candidates.by_hash(pictures, sources, limit=matching.CONSIDERED),
            *known,
        ]
        wanted = matching.sources(around, others)
        matches = self._compare(wanted, known)
        likely = {str(pk) for one in matches if one.is_likely for pk in one.candidate.items}
        known |= self._remembered(likely - item_pks)
        matches += self._compare(matching.next_to(sources, matches, known) - wanted, known)
        return self._without_crowds(matches, alone)

    def _compare(self, wanted: set[Sources], known: Mapping[Sources, str]) -> list[Match]:
        pairs = {sources: known.get(sources) for sources in wanted}
        return matching.compare(self.pictures, candidates.resolve(self.pictures, pairs))

    def _remembered(self, item_pks: set[str]) -> dict[Sources, str]:
        pictures = self.pictures
        touching = pairs.touching(pictures.collection, item_pks, pictures.using)
        return matching.remembered(pictures, touching)

    def _without_shared(self, compared: Sequence[Picture]) -> list[Picture]:
        """Returns the pictures that not too many listings carry, and marks the others."""
        if not compared:
            return []
        pictures = self.pictures
        found = shared.known(pictures, compared)
        rest = [picture for picture in compared if picture.source not in found]
        crowds = shared.crowds(pictures, rest, max_listings=self._max_listings)
        found |= shared.record(pictures, crowds)
        self.again |= shared.mark(pictures, [picture.source for picture in compared], found)
        return [picture for picture in compared if picture.source not in found]

    def _without_crowds(self, matches: list[Match], compared: Sequence[Picture]) -> list[Match]:
        """Returns the matches of pictures that, by their look, not too many listings carry."""
        crowds = matching.crowds(matches, compared, max_listings=self._max_listings)
        if not crowds:
            return matches
        found = shared.record(self.pictures, crowds)
        self.again |= shared.mark(self.pictures, [one.source for one in compared], found)
        # What looks like one of the crowd is measured by its example, now that there is one.
        beside = matching.beside(matches, found) - found.keys()
        pending.forget(self.pictures, map(str, beside))
        self.again |= beside
        return [match for match in matches if not found.keys() & match.candidate.sources]

    def _around(self, alone: Sequence[Picture]) -> dict[Any, Neighbours]:
        tenants = {picture.tenant for picture in alone}
        if new := tenants - self._are_few.keys():
            self._are_few |= candidates.are_few(self.pictures, new)
        found: dict[Any, Neighbours] = {}
        for exactly in (False, True):
            sources = [one.source for one in alone if self._are_few[one.tenant] is exactly]
            if sources:
                found |= candidates.by_vector(self.pictures, sources, exactly=exactly)
        return found

    def _settle(self, item_pks: set[str], matches: Sequence[Match]) -> Stored:
        """Stores what is thought of these listings. What that rules out, or no longer rules out, of
        others is compared again.
        """
        pictures = self.pictures
        findings = matching.judge(pictures, matches)
        lost = variants.ruled_out(pictures, findings, item_pks, self._min_probability)
        stored = pairs.store(
            pictures.collection,
            item_pks,
            {key: finding for key, finding in findings.items() if key not in lost},
            min_probability=self._min_probability,
            using=pictures.using,
        )
        others = {pk for key in lost - findings.keys() for pk in key} | stored.left
        self.again |= pending.forget_items(pictures, others - item_pks)
        return stored
