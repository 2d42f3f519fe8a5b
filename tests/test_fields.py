"""The vector's column: what it refuses, what it stores, and what migrations see of it."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.db import connection, models, transaction
from django.db.migrations.writer import MigrationWriter
from django.forms import modelform_factory
from numpy.typing import NDArray
from pgvector import HalfVector

from cardigan_reco.fields import EmbeddingField, EmbeddingIndex
from cardigan_reco.models import EncoderVersion
from tests.testapp.models import Poster, PosterEmbedding, ProductImageEmbedding

DIMENSIONS = 16


def unit(*head: float) -> list[float]:
    """Returns a unit vector that begins in the direction `head`."""
    vector = np.zeros(DIMENSIONS)
    vector[: len(head)] = head
    return [float(number) for number in vector / np.linalg.norm(vector)]


Save = Callable[[Any], PosterEmbedding]


@pytest.fixture
def save(db: None) -> Save:
    """Returns a function that stores a vector and returns the row as it was stored."""
    version = EncoderVersion.objects.create(
        encoder="default", fingerprint="0" * 64, dimensions=DIMENSIONS
    )

    def store(vector: Any) -> PosterEmbedding:
        row = PosterEmbedding.objects.create(
            source=Poster.objects.create(title="A"),
            vector=vector,
            digest="1" * 64,
            encoder_version=version,
        )
        return PosterEmbedding.objects.get(pk=row.pk)

    return store


def numbers(row: PosterEmbedding) -> NDArray[np.float16]:
    """Returns the row's vector; pgvector gives a HalfVector before 0.5, a list since."""
    vector = row.vector
    return np.asarray(vector if isinstance(vector, list) else vector.to_list(), np.float16)


class TestSaving:
    @pytest.mark.parametrize(
        ("vector", "problem"),
        [
            ([math.nan, *unit(1)[1:]], "takes finite numbers, got NaN or infinity."),
            ([math.inf, *unit(1)[1:]], "takes finite numbers, got NaN or infinity."),
            ([-math.inf, *unit(1)[1:]], "takes finite numbers, got NaN or infinity."),
            ([0.0] * DIMENSIONS, "takes a vector of length 1, got 0.000: normalise it."),
            ([2 * number for number in unit(3, 4)], "length 1, got 2.000: normalise it."),
            ([1.02 * number for number in unit(3, 4)], "length 1, got 1.020: normalise it."),
            ([0.98 * number for number in unit(3, 4)], "length 1, got 0.980: normalise it."),
            (unit(1)[:-1], "takes a vector of shape (16,), got (15,)."),
            ([*unit(1), 0.0], "takes a vector of shape (16,), got (17,)."),
            ([unit(1)], "takes a vector of shape (16,), got (1, 16)."),
            ([], "takes a vector of shape (16,), got (0,)."),
        ],
    )
    def test_what_would_spoil_the_search_is_refused(
        self, save: Save, vector: Sequence[Any], problem: str
    ) -> None:
        with pytest.raises(ValueError) as raised, transaction.atomic():  # noqa: PT011
            save(vector)
        assert str(raised.value).startswith("testapp.PosterEmbedding.vector takes")
        assert str(raised.value).endswith(problem)
        assert not PosterEmbedding.objects.exists()

    def test_the_rows_of_bulk_create_are_validated_too(self, save: Save) -> None:
        good = save(unit(1))
        poster = Poster.objects.create(title="B")
        bad = PosterEmbedding(
            source=poster,
            vector=[0.0] * DIMENSIONS,
            digest="1" * 64,
            encoder_version=good.encoder_version,
        )
        with pytest.raises(ValueError, match="length 1, got 0"):
            PosterEmbedding.objects.bulk_create([bad])

    @pytest.mark.parametrize("factor", [0.995, 1.0, 1.005])
    def test_rounding_is_forgiven(self, save: Save, factor: float) -> None:
        save([factor * number for number in unit(3, 4)])

    @pytest.mark.parametrize(
        "convert",
        [
            list,
            tuple,
            HalfVector,
            lambda vector: np.asarray(vector, np.float32),
            lambda vector: np.asarray(vector, np.float16),
        ],
    )
    def test_a_vector_comes_back_in_half_precision(
        self, save: Save, convert: Callable[[list[float]], Any]
    ) -> None:
        vector = unit(3, 4, -12, 0.001)
        expected = np.asarray(vector, np.float16)
        assert (numbers(save(convert(vector))) == expected).all()

    def test_a_stored_vector_can_be_saved_again(self, save: Save) -> None:
        row = save(unit(3, 4))
        before = numbers(row)
        row.save()
        row.refresh_from_db()
        assert (numbers(row) == before).all()


class TestForms:
    def test_there_is_no_form_field(self) -> None:
        form = modelform_factory(PosterEmbedding, fields="__all__")
        assert list(form.base_fields) == ["source"]

    def test_editable_cannot_be_switched_on(self) -> None:
        assert EmbeddingField(dimensions=3, editable=True).editable is False


class TestDatabase:
    def test_the_column_is_a_halfvec(self, db: None) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
                "WHERE attrelid = %s::regclass AND attname = 'vector'",
                [PosterEmbedding._meta.db_table],
            )
            assert cursor.fetchone() == ("halfvec(16)", True)

    @pytest.mark.parametrize("model", [PosterEmbedding, ProductImageEmbedding])
    def test_the_index_is_hnsw_by_inner_product(self, db: None, model: type[models.Model]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT indexdef FROM pg_indexes WHERE indexname = %s",
                [model._meta.indexes[0].name],
            )
            (definition,) = cursor.fetchone()
        assert definition.endswith(
            "USING hnsw (vector halfvec_ip_ops) WITH (ef_construction='128')"
        )

    def test_the_parameters_of_the_index_reach_the_database(self) -> None:
        index = EmbeddingIndex(name="fine", fields=["vector"], m=24, ef_construction=128)
        statement = str(index.create_sql(PosterEmbedding, connection.schema_editor()))
        assert statement.endswith('("vector" halfvec_ip_ops) WITH (m = 24, ef_construction = 128)')

    def test_more_links_want_more_candidates_while_building(self) -> None:
        index = EmbeddingIndex(name="fine", fields=["vector"], m=100)
        statement = str(index.create_sql(PosterEmbedding, connection.schema_editor()))
        assert statement.endswith(" WITH (m = 100, ef_construction = 200)")
        assert "ef_construction" not in index.deconstruct()[2]

    def test_it_takes_at_most_055_of_a_float32_column(self, db: None) -> None:
        rows, dimensions = 1_000, 512
        random = np.random.default_rng(1).normal(size=(rows, dimensions))
        texts = [str([round(float(number), 4) for number in row]) for row in random]
        sizes = {}
        with connection.cursor() as cursor:
            for kind in ("halfvec", "vector"):
                cursor.execute(f"CREATE TEMP TABLE of_{kind} (vector {kind}({dimensions}))")
                cursor.execute(
                    f"INSERT INTO of_{kind} SELECT text::{kind} FROM unnest(%s::text[]) AS text",
                    [texts],
                )
                cursor.execute(
                    f"SELECT pg_total_relation_size('of_{kind}'), "
                    f"(SELECT sum(pg_column_size(vector)) FROM of_{kind})"
                )
                sizes[kind] = cursor.fetchone()
        table, column = (half / full for half, full in zip(*sizes.values(), strict=True))
        assert table <= 0.55
        assert column <= 0.51


class TestMigrations:
    def test_deconstruction_builds_an_equal_field(self) -> None:
        field = EmbeddingField("thing", dimensions=512, null=True)
        _name, path, args, kwargs = field.deconstruct()
        assert path == "cardigan_reco.fields.EmbeddingField"
        assert kwargs == {"verbose_name": "thing", "dimensions": 512, "null": True}
        assert EmbeddingField(*args, **kwargs).deconstruct() == field.deconstruct()

    def test_a_migration_names_field_and_index(self) -> None:
        field, imports = MigrationWriter.serialize(EmbeddingField(dimensions=512))
        assert field == "cardigan_reco.fields.EmbeddingField(dimensions=512)"
        assert imports == {"import cardigan_reco.fields"}
        index, imports = MigrationWriter.serialize(
            EmbeddingIndex(name="fine", fields=["vector"], m=24)
        )
        assert index == (
            "cardigan_reco.fields.EmbeddingIndex(fields=['vector'], m=24, name='fine', "
            "opclasses=['halfvec_ip_ops'])"
        )
        assert imports == {"import cardigan_reco.fields"}

    def test_nothing_waits_for_a_migration(self, db: None) -> None:
        output = io.StringIO()
        call_command("makemigrations", check=True, dry_run=True, stdout=output)
        assert output.getvalue() == "No changes detected\n"
