"""Operations for a shop's migrations."""

from __future__ import annotations

from typing import Any

from django.db import router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from . import capture
from .capture import Feed


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
