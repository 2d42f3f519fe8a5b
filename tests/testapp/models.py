"""The shop's side: embeddings of a third-party app's pictures, and a model with its own picture."""

from __future__ import annotations

import uuid

from django.db import models

from cardigan_reco.models import Embedding, EmbeddingField, EmbeddingIndex
from tests.testapp.catalogue.models import Product


class ProductImageEmbedding(Embedding):
    source = models.OneToOneField(
        "catalogue.ProductImage", models.CASCADE, primary_key=True, related_name="+"
    )
    vector = EmbeddingField(dimensions=16)

    image_field = "original"
    item_field = "product"

    class Meta(Embedding.Meta):
        indexes = [EmbeddingIndex(name="product_image_vector_hnsw", fields=["vector"])]

    @classmethod
    def candidates(cls) -> models.QuerySet[Product]:
        return Product.objects.filter(is_public=True, parent=None)

    @classmethod
    def pictured_item(cls, item: models.Model) -> models.Model:
        return getattr(item, "parent", None) or item


class Poster(models.Model):
    """A row that is source and item at once, with a key that is no number."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=100)
    image = models.ImageField(upload_to="posters", blank=True)

    def __str__(self) -> str:
        return self.title


class PosterEmbedding(Embedding):
    source = models.OneToOneField(Poster, models.CASCADE, primary_key=True, related_name="+")
    vector = EmbeddingField(dimensions=16)

    class Meta(Embedding.Meta):
        indexes = [EmbeddingIndex(name="poster_vector_hnsw", fields=["vector"])]
