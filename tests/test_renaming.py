"""Renaming models and fields: the bookkeeping goes along, as docs/operations.md says it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, migrations, models
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import MigrationWriter
from django.utils import timezone

from cardigan_reco.models import (
    ComparisonVote,
    DuplicateCheck,
    DuplicateGroup,
    DuplicatePair,
    EncoderVersion,
    EncodingTally,
    SharedPicture,
)
from cardigan_reco.operations import LABELLED, RenameLabel

pytestmark = pytest.mark.django_db(transaction=True)
DOCS = Path(__file__).parent.parent / "docs" / "operations.md"
PICTURES = ["duplicatecheck", "duplicategroup", "duplicatepair", "sharedpicture"]
VECTORS = ["encodingrequest", "encodingtally", "collectionrevision"]


def documented() -> list[RenameLabel]:
    """Returns the operations of the documentation's own migration."""
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if "RenameLabel" in block]
    found: dict[str, Any] = {"migrations": migrations}
    exec(block, found)
    operations: list[Any] = found["Migration"].operations
    return [operation for operation in operations if isinstance(operation, RenameLabel)]


def migrate(*operations: RenameLabel, backwards: bool = False) -> None:
    state = ProjectState()
    with connection.schema_editor() as editor:
        for operation in reversed(operations) if backwards else operations:
            if backwards:
                operation.database_backwards("catalogue", editor, state, state)
            else:
                operation.database_forwards("catalogue", editor, state, state)


def fill(model: type[models.Model], label: str) -> None:
    """Stores a row of that label, with whatever else it needs."""
    needs: dict[str, Any] = {}
    if model is EncodingTally:
        needs = {"minute": timezone.now(), "durations": []}
    elif model is DuplicateCheck:
        version, _created = EncoderVersion.objects.get_or_create(dimensions=16)
        needs = {"encoder_version": version}
    elif model is SharedPicture:
        needs = {"listings": 3}
    elif model is DuplicateGroup:
        needs = {"probability": 0.9, "listings": 2}
    elif model is DuplicatePair:
        needs = {"probability": 0.9}
    elif model is ComparisonVote:
        needs = {"is_blind": True}
    model._base_manager.create(**{LABELLED[model]: label}, **needs)


def labels() -> dict[str, list[str]]:
    return {
        model._meta.model_name or "": sorted(
            model._base_manager.values_list(field, flat=True).order_by(field)
        )
        for model, field in LABELLED.items()
    }


def test_the_documented_migration_takes_all_of_it_along_and_back() -> None:
    was = {
        **dict.fromkeys(VECTORS, "catalogue.productimageembedding"),
        **dict.fromkeys(PICTURES, "catalogue.productimage.image"),
        "comparisonvote": "catalogue.product",
    }
    for model in LABELLED:
        fill(model, was[model._meta.model_name or ""])
        fill(model, "catalogue.productother.image")
    before = labels()
    migrate(*documented())
    becomes = {
        **dict.fromkeys(VECTORS, "catalogue.pictureembedding"),
        **dict.fromkeys(PICTURES, "catalogue.picture.file"),
        "comparisonvote": "catalogue.article",
    }
    other = "catalogue.productother.image"
    assert labels() == {name: sorted([label, other]) for name, label in becomes.items()}
    migrate(*documented(), backwards=True)
    assert labels() == before


def test_no_table_that_holds_labels_is_forgotten() -> None:
    labelled = {
        model: name
        for model in apps.get_app_config("cardigan_reco").get_models()
        for name in ("collection", "items")
        if name in {field.name for field in model._meta.get_fields()}
    }
    assert labelled == LABELLED


def test_a_whole_app() -> None:
    ComparisonVote.objects.create(items="catalogue.product", is_blind=True)
    ComparisonVote.objects.create(items="catalogues.product", is_blind=True)
    migrate(RenameLabel("catalogue", "goods"))
    found = set(ComparisonVote.objects.values_list("items", flat=True))
    assert found == {"goods.product", "catalogues.product"}


def test_an_app_and_a_field_keep_their_capitals() -> None:
    ComparisonVote.objects.create(items="Shop.mug.frontView", is_blind=True)
    migrate(RenameLabel("Shop.Mug.frontView", "Shop.Cup.sideView"))
    assert ComparisonVote.objects.get().items == "Shop.cup.sideView"


def test_a_new_database_has_none_of_the_tables_yet() -> None:
    table = EncodingTally._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
    try:
        migrate(RenameLabel("catalogue", "goods"))
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE away RENAME TO {table}")


def test_it_can_be_written_into_a_migration() -> None:
    operation = RenameLabel("shop.Mug", "shop.Cup")
    written, imports = MigrationWriter.serialize(operation)
    assert written == (
        "cardigan_reco.operations.RenameLabel(\n    old='shop.Mug',\n    new='shop.Cup',\n)"
    )
    assert imports == {"import cardigan_reco.operations"}
    assert operation.describe() == (
        "Rename shop.Mug to shop.Cup in the bookkeeping of cardigan-reco"
    )
    assert operation.migration_name_fragment == "rename_label_shop_mug"
