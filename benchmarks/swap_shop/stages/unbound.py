"""Before the old class goes: PostgreSQL no longer ties the rows of its table to the pictures."""

from django.db import models

from cardigan_reco.models import Embedding, EmbeddingField, EmbeddingIndex


class ProductImageEmbedding(Embedding):
    source = models.OneToOneField(
        "catalogue.ProductImage",
        models.CASCADE,
        primary_key=True,
        related_name="+",
        db_constraint=False,
    )
    vector = EmbeddingField(dimensions=512)

    image_field = "original"
    item_field = "product"

    class Meta(Embedding.Meta):
        indexes = [EmbeddingIndex(name="product_image_vector_hnsw", fields=["vector"])]


class ProductImageEmbeddingV2(Embedding):
    source = models.OneToOneField(
        "catalogue.ProductImage", models.CASCADE, primary_key=True, related_name="+"
    )
    vector = EmbeddingField(dimensions=512)

    encoder = "next"
    image_field = "original"
    item_field = "product"
