"""The tables: those of vectors, which a shop declares, of duplicate listings, of comparisons of
encoders, and of operations.
"""

from cardigan_reco.fields import EmbeddingField, EmbeddingIndex

from .comparison import ComparisonVote
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
from .operations import CollectionRevision, EncodingTally, WorkerHeartbeat

__all__ = [
    "CollectionRevision",
    "ComparisonVote",
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
    "EncodingTally",
    "SharedPicture",
    "WorkerHeartbeat",
]
