"""The admin: the queue, the encoder versions, the comparison of encoders, and the report of
duplicate listings; and EmbeddingAdmin for a shop's own tables.
"""

from .comparison import ComparisonVoteAdmin
from .duplicates import DuplicateGroupAdmin, SharedPictureAdmin
from .embeddings import EmbeddingAdmin
from .requests import EncodingRequestAdmin
from .versions import EncoderVersionAdmin

__all__ = [
    "ComparisonVoteAdmin",
    "DuplicateGroupAdmin",
    "EmbeddingAdmin",
    "EncoderVersionAdmin",
    "EncodingRequestAdmin",
    "SharedPictureAdmin",
]
