"""Which indexes an embedding should have."""

from __future__ import annotations

from cardigan_reco.exceptions import IndexProblem
from cardigan_reco.fields import EmbeddingIndex
from cardigan_reco.models import Embedding

from .health import declared, health


def chosen(
    embedding: type[Embedding],
    *,
    using: str,
    name: str | None = None,
    m: int | None = None,
    ef_construction: int | None = None,
) -> list[EmbeddingIndex]:
    """Returns the indexes that the embedding should have: those in its Meta.

    A model without any, because its encoder is only being introduced, gets one by these options of
    EmbeddingIndex; without a name it is the one that serves already, or named as Django does.

    Raises IndexProblem for options beside a Meta.
    """
    options = {"name": name, "m": m, "ef_construction": ef_construction}
    given = [option for option, value in options.items() if value is not None]
    if own := declared(embedding):
        if given:
            raise IndexProblem(
                f"{embedding._meta.label} declares {', '.join(index.name for index in own)} in its "
                f"Meta, which leaves no choice of {', '.join(given)}. Change it there."
            )
        return own
    if name is None:
        built = health(embedding, using=using).serving
        name = built.name if built is not None else _name(embedding)
    return [EmbeddingIndex(fields=["vector"], name=name, m=m, ef_construction=ef_construction)]


def _name(embedding: type[Embedding]) -> str:
    """Returns a name as Django makes them for other indexes."""
    index = EmbeddingIndex(fields=["vector"], name="unnamed")
    index.set_name_with_model(embedding)
    return str(index.name)
