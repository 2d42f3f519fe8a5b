"""After: the new table, whose Meta names the index that build_index has built."""

from django.db import models

from cardigan_reco.models import Embedding, EmbeddingField, EmbeddingIndex


class ProductImageEmbeddingV2(Embedding):
    source = models.OneToOneField(
        "catalogue.ProductImage", models.CASCADE, primary_key=True, related_name="+"
    )
    vector = EmbeddingField(dimensions=512)

    encoder = "next"
    image_field = "original"
    item_field = "product"

    class Meta(Embedding.Meta):
        indexes = [EmbeddingIndex(name="product_image_v2_vector_hnsw", fields=["vector"])]
