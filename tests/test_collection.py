"""Which collections there are, and where."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import DjangoDbBlocker, Settings

from cardigan_reco import collection
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


def test_tables_that_should_be_there_count(django_db_blocker: DjangoDbBlocker) -> None:
    """So that a command says what is missing, rather than that all is done."""
    with django_db_blocker.unblock(), alias("elsewhere", NAME=OTHER) as elsewhere:
        assert collection.models_in(elsewhere) == collection.models()
