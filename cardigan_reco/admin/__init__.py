"""The admin: the queue and the encoder versions; and EmbeddingAdmin for a shop's own tables."""

from .embeddings import EmbeddingAdmin
from .requests import EncodingRequestAdmin
from .versions import EncoderVersionAdmin

__all__ = ["EmbeddingAdmin", "EncoderVersionAdmin", "EncodingRequestAdmin"]
