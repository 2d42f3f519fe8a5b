"""What a shop adds beside its table when it swaps the encoder."""

from __future__ import annotations

from django.db import models

from cardigan_reco.models import Embedding, EmbeddingField
from tests.testapp.catalogue.models import Product
from tests.testapp.models import ProductImageEmbedding


class ProductImageEmbeddingV2(Embedding):
    source = models.OneToOneField(
        "catalogue.ProductImage", models.CASCADE, primary_key=True, related_name="+"
    )
    vector = EmbeddingField(dimensions=8)

    encoder = "next"
    image_field = "original"
    item_field = "product"

    class Meta(Embedding.Meta):
        app_label = "swapping"

    @classmethod
    def candidates(cls) -> models.QuerySet[Product]:
        return ProductImageEmbedding.candidates()

    @classmethod
    def pictured_item(cls, item: models.Model) -> models.Model:
        return ProductImageEmbedding.pictured_item(item)
