"""The tables: those of vectors, which a shop declares, and those of duplicate listings."""

from cardigan_reco.fields import EmbeddingField, EmbeddingIndex

from .duplicates import (
    CopyDescriptor,
    DuplicateCheck,
    DuplicateGroup,
    DuplicateKind,
    DuplicatePair,
    DuplicateState,
    SharedPicture,
)
from .embeddings import Embedding, EncoderVersion, EncodingRequest

__all__ = [
    "CopyDescriptor",
    "DuplicateCheck",
    "DuplicateGroup",
    "DuplicateKind",
    "DuplicatePair",
    "DuplicateState",
    "Embedding",
    "EmbeddingField",
    "EmbeddingIndex",
    "EncoderVersion",
    "EncodingRequest",
    "SharedPicture",
]
