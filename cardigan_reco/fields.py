"""The column that holds a vector, and the index that searches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.ddl_references import Statement
from django.db.models import Model
from pgvector import HalfVector
from pgvector.django import HalfVectorField, HnswIndex

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_INDEXED_DIMENSIONS = 4000
"""pgvector's limit for an HNSW index on halfvec."""
OPERATOR_CLASS = "halfvec_ip_ops"
EF_CONSTRUCTION = 128
"""Twice pgvector's own: an index takes longer to build, and a search finds as much among fewer."""


class EmbeddingField(HalfVectorField):
    """A unit vector in half precision (pgvector's halfvec), 2 bytes a dimension.

    Saving raises ValueError for a vector of another length, with a value that is not finite, or
    whose length differs from 1 by more than `norm_tolerance`: such rows vanish from the index or
    spoil the order.
    """

    description = "Unit vector of %(dimensions)s dimensions"
    norm_tolerance = 0.01

    def __init__(self, *args: Any, dimensions: int | None = None, **kwargs: Any) -> None:
        kwargs["editable"] = False
        super().__init__(*args, dimensions=dimensions, **kwargs)

    def deconstruct(self) -> tuple[Any, Any, Any, Any]:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["editable"]
        return name, path, args, kwargs

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        return [*super().check(**kwargs), *self._check_dimensions()]

    def _check_dimensions(self) -> list[checks.CheckMessage]:
        if self.dimensions is None:
            problem = "EmbeddingField needs dimensions=, the length of the encoder's vectors."
        elif not 0 < self.dimensions <= MAX_INDEXED_DIMENSIONS:
            problem = f"EmbeddingField(dimensions={self.dimensions}) can't be indexed."
        else:
            return []
        hint = f"Choose 1 to {MAX_INDEXED_DIMENSIONS}; the bundled encoder has 512."
        return [checks.Error(problem, hint=hint, obj=self, id="cardigan_reco.E010")]

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if value is None or hasattr(value, "resolve_expression"):
            return super().get_db_prep_save(value, connection)
        return as_text(self._validated(value))

    def _validated(self, value: Any) -> NDArray[np.float32]:
        import numpy as np  # Web processes store no vectors, and needn't hold it.

        if isinstance(value, HalfVector):
            value = value.to_list()
        vector = np.asarray(value, dtype=np.float32)
        if vector.shape != (self.dimensions,):
            raise ValueError(
                f"{self} takes a vector of shape ({self.dimensions},), got {vector.shape}."
            )
        if not np.isfinite(vector).all():
            raise ValueError(f"{self} takes finite numbers, got NaN or infinity.")
        norm = float(np.linalg.norm(vector))
        if abs(norm - 1) > self.norm_tolerance:
            raise ValueError(f"{self} takes a vector of length 1, got {norm:.3f}: normalise it.")
        return vector


def as_text(vector: NDArray[np.float32]) -> str:
    """Returns a vector (dimensions,) as PostgreSQL reads it, rounded to half precision.

    Five digits tell any two halves apart. The up to seventeen of str() take longer to write and to
    read, which is a good part of what storing a vector takes.
    """
    halves = vector.astype("float16").tolist()
    return "[" + ("%.5g," * len(halves))[:-1] % tuple(halves) + "]"


class EmbeddingIndex(HnswIndex):
    """An HNSW index for an EmbeddingField, by inner product.

    Source: Malkov and Yashunin, arXiv 1603.09320; `m` and `ef_construction` are theirs, by default
    16 and EF_CONSTRUCTION.
    """

    def __init__(self, *expressions: Any, **kwargs: Any) -> None:
        kwargs.setdefault("opclasses", [OPERATOR_CLASS])
        super().__init__(*expressions, **kwargs)

    def get_with_params(self) -> list[str]:
        """Returns the storage parameters."""
        parameters: list[str] = super().get_with_params()
        if self.ef_construction is None:
            # pgvector wants twice the links at least.
            parameters.append(f"ef_construction = {max(EF_CONSTRUCTION, 2 * (self.m or 0))}")
        return parameters

    def create_sql(
        self, model: type[Model], schema_editor: Any, using: str = "", **kwargs: Any
    ) -> Statement:
        """Returns the statement that creates the index.

        That of a migration passes over an index of this name that is there: `build_index` has
        built it, without the lock that a migration takes.
        """
        statement: Statement = super().create_sql(model, schema_editor, using, **kwargs)
        if not kwargs.get("concurrently"):
            statement.template = statement.template.replace(
                "CREATE INDEX", "CREATE INDEX IF NOT EXISTS", 1
            )
        return statement
