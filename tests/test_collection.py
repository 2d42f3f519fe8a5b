"""Which collections there are, and where."""

from __future__ import annotations

import json
import os
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker, Settings

from cardigan_reco import collection
from cardigan_reco.models import Embedding
from tests.aliases import alias
from tests.testapp.models import PosterEmbedding, ProductImageEmbedding

pytestmark = pytest.mark.django_db(transaction=True)

OTHER = "postgres"
"""A database of the tests' server without any table."""


class PrimaryRouter:
    """Migrates nothing but the primary, as a shop with replicas does."""

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        return db == "default"


def test_a_replica_has_what_the_primary_has(
    settings: Settings, django_db_blocker: DjangoDbBlocker
) -> None:
    settings.DATABASE_ROUTERS = [PrimaryRouter()]
    with django_db_blocker.unblock(), alias("replica") as replica:
        assert collection.models_in(replica) == (ProductImageEmbedding, PosterEmbedding)


def test_a_database_of_something_else_has_none(
    settings: Settings, django_db_blocker: DjangoDbBlocker
) -> None:
    settings.DATABASE_ROUTERS = [PrimaryRouter()]
    with django_db_blocker.unblock(), alias("elsewhere", NAME=OTHER) as elsewhere:
        assert collection.models_in(elsewhere) == ()
        call_command("encode_images", "--database", elsewhere)


def test_commands_pass_by_what_other_databases_have(
    settings: Settings, django_db_blocker: DjangoDbBlocker
) -> None:
    settings.DATABASE_ROUTERS = [PrimaryRouter()]
    with django_db_blocker.unblock(), alias("elsewhere", NAME=OTHER) as elsewhere:
        for command in ("build_index", "capture_writes", "index_report"):
            output = StringIO()
            call_command(command, "--database", elsewhere, stdout=output)
            assert not output.getvalue().strip()
        with pytest.raises(CommandError, match="No collection of COLLECTIONS is in database 'else"):
            call_command("check_recall", "--database", elsewhere)


class CatalogueElsewhere:
    """Keeps the collections in another database than the default one."""

    def db_for_write(self, model: type, **hints: object) -> str | None:
        return "goods" if issubclass(model, Embedding) else None


def test_without_a_database_commands_go_where_the_routers_say(
    settings: Settings, django_db_blocker: DjangoDbBlocker, silent_doorbell: list[str]
) -> None:
    settings.DATABASE_ROUTERS = [CatalogueElsewhere()]
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": {}}
    with (
        django_db_blocker.unblock(),
        alias("goods"),
        CaptureQueriesContext(connection) as asked_of_default,
    ):
        for command, said in {
            "encode_images": "testapp.PosterEmbedding: 0 encoded",
            "encode_images testapp.ProductImageEmbedding": "0 encoded, 0 unchanged",
            "encode_images --sweep": "testapp.ProductImageEmbedding: 0 sources",
            "capture_writes --status": "testapp.ProductImageEmbedding: not installed",
            "capture_writes similar --status": "testapp.ProductImageEmbedding: not installed",
            "find_duplicates": "0 pictures compared",
            "find_duplicates --within pk=1": "0 pictures compared",
            "duplicate_thresholds": "Nothing was judged yet",
            f"export_duplicate_labels {os.devnull}": "0 triplets",
            "build_index": "testapp.PosterEmbedding: poster_vector_hnsw is there and valid",
            "build_index similar": "product_image_vector_hnsw is there and valid",
            "index_report --json": '"database": "goods"',
            "index_report similar --json": '"database": "goods"',
        }.items():
            output = StringIO()
            call_command(*command.split(), stdout=output, stderr=StringIO())
            assert said in output.getvalue(), command
        said_of_recall = StringIO()
        call_command("check_recall", stderr=said_of_recall)
        assert "testapp.ProductImageEmbedding has no vectors yet" in said_of_recall.getvalue()
        with pytest.raises(SystemExit, match="2"):  # No worker is there.
            call_command("cardigan_status", "--json", stdout=(status := StringIO()))
        assert json.loads(status.getvalue())["database"] == "goods"
    assert not asked_of_default.captured_queries


@pytest.mark.parametrize("command", ["build_index", "index_report", "check_recall"])
def test_the_database_that_cant_be_read_is_named(
    command: str, settings: Settings, django_db_blocker: DjangoDbBlocker
) -> None:
    settings.DATABASE_ROUTERS = [CatalogueElsewhere()]
    with (
        django_db_blocker.unblock(),
        alias("goods", HOST="127.0.0.1", PORT=1, OPTIONS={}),
        pytest.raises(CommandError, match=r"Database 'goods': connection (failed|is bad)"),
    ):
        call_command(command)


def test_tables_that_should_be_there_count(django_db_blocker: DjangoDbBlocker) -> None:
    """So that a command says what is missing, rather than that all is done."""
    with django_db_blocker.unblock(), alias("elsewhere", NAME=OTHER) as elsewhere:
        assert collection.models_in(elsewhere) == collection.models()
