from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from cardigan_reco.admin.pictures import NOTHING, admin_link, thumbnail
from cardigan_reco.admin.readonly import ReadOnlyAdmin
from cardigan_reco.duplicates import listings
from cardigan_reco.models import Embedding, SharedPicture

Example = tuple[type[Embedding], Model]


class SharedPictures(ChangeList):
    """A page of shared pictures with their examples, which take one query a collection."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        found = examples(self.result_list)
        for shared in self.result_list:
            shared.example_found = found.get(shared.pk)
        if not any(shared.tenant for shared in self.result_list):
            self.list_display = [name for name in self.list_display if name != "tenant"]


@admin.register(SharedPicture)
class SharedPictureAdmin(ReadOnlyAdmin):
    """Pictures that too many listings carry to say anything of one: placeholders and the like."""

    # The tenant last, as it isn't always shown and columns are sorted by their places.
    list_display = ["picture", "listings", "example", "found_at", "tenant"]
    list_display_links = None
    list_filter = ["collection"]
    list_per_page = 50
    list_max_show_all = 50
    show_full_result_count = False
    ordering = ["-listings", "pk"]
    actions = None
    readonly_fields = ["large_picture", "example"]
    fields = ["large_picture", "listings", "example", "tenant", "digest", "collection", "found_at"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SharedPictures

    @admin.display(description=_("picture"))
    def picture(self, shared: SharedPicture) -> SafeString | str:
        return _picture(shared, 120)

    @admin.display(description=_("picture"))
    def large_picture(self, shared: SharedPicture) -> SafeString | str:
        return _picture(shared, 240)

    @admin.display(description=_("one of its listings"))
    def example(self, shared: SharedPicture) -> SafeString | str:
        found = _example(shared)
        return admin_link(_item(*found)) if found else NOTHING


def examples(rows: Iterable[SharedPicture]) -> dict[int, Example]:
    """Returns for each shared picture a source that has it, by the primary key of its row.

    Those whose source or collection is gone are left out.
    """
    by_name: dict[str, list[SharedPicture]] = defaultdict(list)
    for shared in rows:
        by_name[shared.collection].append(shared)
    found: dict[int, Example] = {}
    for name, those in by_name.items():
        try:
            embedding = listings.embedding_of(name)
        except LookupError:
            continue
        key = embedding.source_model()._meta.pk
        wanted = {}
        for shared in those:
            try:
                wanted[key.to_python(shared.example_source_pk)] = shared.pk
            except ValidationError:  # The source's key was of another type then.
                continue
        manager = embedding.source_model()._base_manager.using(those[0]._state.db)
        sources = embedding.with_pictures(manager.all())
        if embedding.item_field:
            sources = sources.select_related(embedding.item_field)
        for source in sources.filter(pk__in=wanted):
            found[wanted[source.pk]] = (embedding, source)
    return found


def _example(shared: Any) -> Example | None:
    if not hasattr(shared, "example_found"):
        shared.example_found = examples([shared]).get(shared.pk)
    found: Example | None = shared.example_found
    return found


def _item(embedding: type[Embedding], source: Model) -> Any:
    item: Any = source
    for name in (embedding.item_field or "").split("__"):
        item = getattr(item, name) if name and item is not None else item
    return item or source


def _picture(shared: SharedPicture, side: int) -> SafeString | str:
    found = _example(shared)
    if found is None:
        return NOTHING
    return thumbnail(*found, side, name=_item(*found))
