"""The admin as a shop has it: its own models plainly, the embeddings with the plugin's pages."""

from django.contrib import admin

from cardigan_reco.admin import EmbeddingAdmin
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import Poster, PosterEmbedding, ProductImageEmbedding

admin.site.register([Product, ProductImage, Poster])
admin.site.register([ProductImageEmbedding, PosterEmbedding], EmbeddingAdmin)
