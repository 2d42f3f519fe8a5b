"""The admin: the queue, the encoder versions, and the report of duplicate listings; and
EmbeddingAdmin for a shop's own tables.
"""

from .duplicates import DuplicateGroupAdmin, SharedPictureAdmin
from .embeddings import EmbeddingAdmin
from .requests import EncodingRequestAdmin
from .versions import EncoderVersionAdmin

__all__ = [
    "DuplicateGroupAdmin",
    "EmbeddingAdmin",
    "EncoderVersionAdmin",
    "EncodingRequestAdmin",
    "SharedPictureAdmin",
]
