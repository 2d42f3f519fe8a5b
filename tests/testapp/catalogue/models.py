"""A third-party catalogue in the manner of django-oscar: the plugin may not touch it."""

from django.db import models


class Product(models.Model):
    """A product, or a variant of its parent that borrows the parent's pictures."""

    parent = models.ForeignKey(
        "self", models.CASCADE, null=True, blank=True, related_name="children"
    )
    title = models.CharField(max_length=100)
    is_public = models.BooleanField(default=True)
    shelf = models.IntegerField(default=0, db_index=True)

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return f"/products/{self.pk}/"


class ProductImage(models.Model):
    product = models.ForeignKey(Product, models.CASCADE, related_name="images")
    original = models.ImageField(upload_to="products")
    caption = models.CharField(max_length=100, blank=True)
    display_order = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.product} {self.display_order}"


class PromotedImage(ProductImage):
    """A child model, whose saves reach the parent's table."""

    slogan = models.CharField(max_length=100)
