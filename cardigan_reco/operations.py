"""Operations for a shop's migrations."""

from __future__ import annotations

from typing import Any

from django.db import models, router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import Q, Value
from django.db.models.functions import Concat, Substr

from . import capture
from .capture import Feed
from .models import (
    CollectionRevision,
    ComparisonVote,
    DuplicateCheck,
    DuplicateGroup,
    DuplicatePair,
    EncodingRequest,
    EncodingTally,
    SharedPicture,
)

LABELLED: dict[type[models.Model], str] = {
    EncodingRequest: "collection",
    EncodingTally: "collection",
    CollectionRevision: "collection",
    DuplicateCheck: "collection",
    DuplicateGroup: "collection",
    DuplicatePair: "collection",
    SharedPicture: "collection",
    ComparisonVote: "items",
}
"""The bookkeeping, and its fields that hold a model's label, or such a one and an image field."""


class CaptureWrites(Operation):
    """Installs the triggers that mark what is written to the source of an embedding model.

    `CaptureWrites("shop.ProductImageEmbedding")` goes after the operation that creates the model.
    `image_field` is that of the model, since migrations don't know it.
    """

    reduces_to_sql = False  # It asks the database where the tables are.
    reversible = True

    def __init__(self, collection: str, image_field: str = "image") -> None:
        self.collection = collection
        self.image_field = image_field

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Changes nothing of the models."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        if (feed := self._feed(schema_editor, to_state)) is not None:
            capture.install(feed, using=schema_editor.connection.alias, lock_seconds=None)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        if (feed := self._feed(schema_editor, to_state)) is not None:
            using = schema_editor.connection.alias
            capture.remove(feed.collection, using=using, lock_seconds=None)

    def describe(self) -> str:
        return f"Capture writes for {self.collection} by triggers"

    @property
    def migration_name_fragment(self) -> str:
        return f"capture_writes_{self.collection.rpartition('.')[2].lower()}"

    def _feed(self, schema_editor: BaseDatabaseSchemaEditor, state: ProjectState) -> Feed | None:
        embedding: Any = state.apps.get_model(self.collection)
        connection = schema_editor.connection
        if connection.vendor != "postgresql":
            return None
        if not router.allow_migrate_model(connection.alias, embedding):
            return None
        source = embedding._meta.get_field("source").related_model
        return Feed(embedding._meta.label_lower, source, self.image_field)


class RenameLabel(Operation):
    """Takes the bookkeeping along when a model gets another name: what waits, verdicts and votes.

    `RenameLabel("shop.ProductImage", "shop.Picture")` goes into the migration with the RenameModel,
    for embedding models, the models of pictures and those of items. "shop.Picture.image", with the
    value of `image_field`, is for a picture's field, and "shop" for a whole app.
    """

    reduces_to_sql = False  # It asks the database which tables are there.
    reversible = True

    def __init__(self, old: str, new: str) -> None:
        self.old = old
        self.new = new

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Changes nothing of the models."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        _rename(_in_lower_case(self.old), _in_lower_case(self.new), schema_editor)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        _rename(_in_lower_case(self.new), _in_lower_case(self.old), schema_editor)

    def describe(self) -> str:
        return f"Rename {self.old} to {self.new} in the bookkeeping of cardigan-reco"

    @property
    def migration_name_fragment(self) -> str:
        return f"rename_label_{self.old.replace('.', '_').lower()}"


def _in_lower_case(label: str) -> str:
    # As Options.label_lower, which leaves the app as it is.
    app, *model = label.split(".", 2)
    return ".".join([app, *(name.lower() for name in model[:1]), *model[1:]])


def _rename(old: str, new: str, schema_editor: BaseDatabaseSchemaEditor) -> None:
    # In a new database the shop's migrations may come first, and nothing is there to be renamed.
    there = schema_editor.connection.introspection.table_names()
    for model, field in LABELLED.items():
        if model._meta.db_table in there:
            rows = model._base_manager.using(schema_editor.connection.alias)
            named = rows.filter(Q(**{field: old}) | Q(**{f"{field}__startswith": f"{old}."}))
            named.update(**{field: Concat(Value(new), Substr(field, len(old) + 1))})
