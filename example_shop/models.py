"""The shop's tables. All that serves the recommendations is ProductImageEmbedding."""

from __future__ import annotations

from django.db import models
from django.urls import reverse

from cardigan_reco.models import Embedding, EmbeddingField, EmbeddingIndex


class Category(models.Model):
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=120, unique=True)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "categories"

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("category", args=[self.slug])


class ProductQuerySet(models.QuerySet["Product"]):
    def published(self) -> ProductQuerySet:
        """Keeps the products that have a page."""
        return self.filter(published=True)

    def available(self) -> ProductQuerySet:
        """Keeps the products that can be bought now."""
        return self.published().filter(stock__gt=0)


class Product(models.Model):
    reference = models.CharField(
        max_length=100,
        unique=True,
        null=True,
        blank=True,
        help_text="The product's key in the catalogue file; empty for one that was made by hand.",
    )
    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=220, unique=True)
    brand = models.CharField(max_length=100, blank=True)
    category = models.ForeignKey(
        Category, models.SET_NULL, null=True, blank=True, related_name="products"
    )
    description = models.TextField(blank=True)
    colour = models.CharField(max_length=50, blank=True)
    material = models.CharField(max_length=100, blank=True)
    price = models.DecimalField(
        max_digits=10, decimal_places=2, null=True, blank=True, help_text="Empty: on request."
    )
    stock = models.PositiveIntegerField(default=0)
    published = models.BooleanField(default=True, help_text="Unpublished products have no page.")
    replaced_by = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="replaces",
        help_text="The product that this one was merged into: its page leads there.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ProductQuerySet.as_manager()

    class Meta:
        ordering = ["name", "pk"]
        indexes = [models.Index(fields=["published", "stock"], name="shop_product_available")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("product", args=[self.slug])

    @property
    def cover(self) -> ProductImage | None:
        """The first picture. Prefetch `images` before asking many products."""
        return next(iter(self.images.all()), None)


class ProductImage(models.Model):
    product = models.ForeignKey(Product, models.CASCADE, related_name="images")
    original = models.ImageField(
        "picture", upload_to="products", width_field="width", height_field="height"
    )
    # A browser that knows the size keeps the room free, and the page doesn't jump.
    width = models.PositiveIntegerField(null=True, editable=False)
    height = models.PositiveIntegerField(null=True, editable=False)
    position = models.PositiveIntegerField(default=0)
    alt_text = models.CharField(
        max_length=250, blank=True, help_text="What the picture shows. Empty: the product's name."
    )

    class Meta:
        ordering = ["position", "pk"]
        verbose_name = "picture"

    def __str__(self) -> str:
        return self.alternative

    @property
    def alternative(self) -> str:
        """The text for those who can't see the picture."""
        return self.alt_text or self.product.name


class Order(models.Model):
    number = models.CharField(max_length=30, unique=True)
    customer = models.CharField(max_length=200)
    placed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-placed_at", "-pk"]

    def __str__(self) -> str:
        return self.number


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.PROTECT, related_name="order_lines")
    quantity = models.PositiveIntegerField(default=1)
    price = models.DecimalField(max_digits=10, decimal_places=2, help_text="Of one, when bought.")

    class Meta:
        verbose_name = "line"

    def __str__(self) -> str:
        return f"{self.quantity} × {self.product}"


class ProductImageEmbedding(Embedding):
    source = models.OneToOneField(ProductImage, models.CASCADE, primary_key=True, related_name="+")
    vector = EmbeddingField(dimensions=512)

    encoder = "default"
    image_field = "original"
    item_field = "product"

    class Meta(Embedding.Meta):
        indexes = [EmbeddingIndex(name="product_image_vector_hnsw", fields=["vector"])]

    @classmethod
    def candidates(cls) -> models.QuerySet[Product]:
        return Product.objects.available()
