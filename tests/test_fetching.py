"""Fetching sources: rows as Django itself would give them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, models
from django.test.utils import isolate_apps
from pytest_django import DjangoAssertNumQueries

from cardigan_reco import fetching
from cardigan_reco.models import DuplicatePair, Embedding
from tests.testapp.catalogue.models import Product, ProductImage, PromotedImage
from tests.testapp.models import Poster, PosterEmbedding, ProductImageEmbedding

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    with isolate_apps("tests.testapp"):
        yield


@pytest.fixture
def product() -> Product:
    parent = Product.objects.create(title="parent")
    return Product.objects.create(title="product", parent=parent)


def of(source_model: type[models.Model], item: str | None = None) -> type[Embedding]:
    """Returns an embedding model of these sources; its table is not looked at."""

    class Fetched(Embedding):
        source = models.OneToOneField(
            source_model, models.CASCADE, primary_key=True, related_name="+"
        )
        item_field = item

        class Meta(Embedding.Meta):
            app_label = "testapp"

    return Fetched


def fields(row: models.Model) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


@pytest.mark.django_db(transaction=True)
def test_rows_are_whole(
    product: Product, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    images = [
        ProductImage.objects.create(product=product, original="a.jpg", display_order=order)
        for order in range(3)
    ]
    with django_assert_num_queries(1):
        found = fetching.sources(ProductImageEmbedding, [images[0].pk, images[2].pk], "default")
        assert {pk: fields(source.row) for pk, source in found.items()} == {
            image.pk: fields(image) for image in (images[0], images[2])
        }
    assert {source.item_pk for source in found.values()} == {product.pk}
    row = found[images[0].pk].row
    assert row == images[0]
    assert not row._state.adding
    row.caption = "changed"  # type: ignore[attr-defined]
    row.save()
    images[0].refresh_from_db()
    assert images[0].caption == "changed"


def test_those_that_are_gone_are_left_out(product: Product) -> None:
    image = ProductImage.objects.create(product=product, original="a.jpg")
    pk = image.pk
    image.delete()
    assert fetching.sources(ProductImageEmbedding, [pk], "default") == {}
    assert fetching.sources(ProductImageEmbedding, [], "default") == {}


def test_rows_of_a_child_model_have_those_of_the_parent(product: Product) -> None:
    image = PromotedImage.objects.create(product=product, original="a.jpg", slogan="new")
    [source] = fetching.sources(of(PromotedImage, "product"), [image.pk], "default").values()
    assert fields(source.row) == fields(image)
    assert source.item_pk == product.pk


def test_an_item_may_be_further_away_or_nowhere(product: Product) -> None:
    near = ProductImage.objects.create(product=product, original="a.jpg")
    apart = ProductImage.objects.create(product=product.parent, original="b.jpg")
    embedding = of(ProductImage, "product__parent")
    found = fetching.sources(embedding, [near.pk, apart.pk], "default")
    assert {pk: source.item_pk for pk, source in found.items()} == {
        near.pk: product.parent_id,
        apart.pk: None,
    }


def test_a_source_may_be_its_own_item() -> None:
    poster = Poster.objects.create(id=uuid.uuid4(), title="poster", image="a.jpg")
    [source] = fetching.sources(PosterEmbedding, [poster.pk], "default").values()
    assert (source.row, source.item_pk) == (poster, poster.pk)


def test_values_are_converted_as_the_fields_say() -> None:
    evidence = {"pictures": [1, 2], "words": None}
    pair = DuplicatePair.objects.create(
        collection="c", first_pk="1", second_pk="2", kind="exact", probability=1, evidence=evidence
    )
    [source] = fetching.sources(of(DuplicatePair), [pair.pk], "default").values()
    assert source.row.evidence == evidence  # type: ignore[attr-defined]


def test_a_shops_own_base_manager_is_used(product: Product) -> None:
    class Loud(models.Manager[Any]):
        def get_queryset(self) -> models.QuerySet[Any]:
            return super().get_queryset().annotate(loud=models.functions.Upper("caption"))

    class LoudImage(ProductImage):
        objects = Loud()

        class Meta:
            proxy = True
            app_label = "testapp"
            base_manager_name = "objects"

    image = ProductImage.objects.create(product=product, original="a.jpg", caption="sale")
    [source] = fetching.sources(of(LoudImage, "product"), [image.pk], "default").values()
    assert source.row.loud == "SALE"  # type: ignore[attr-defined]
    assert source.item_pk == product.pk


class TestItems:
    """Objects as the queryset itself gives them, whatever it does."""

    @pytest.fixture
    def products(self, product: Product) -> list[Product]:
        for order in range(2):
            ProductImage.objects.create(product=product, original="a.jpg", display_order=order)
        return [product.parent, product]

    def fetched(self, within: models.QuerySet[Any], *pks: int) -> list[Any]:
        selected = fetching.items(within, "= key.key")
        assert selected is not None
        rows = []
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT item.* FROM unnest(%s) AS key CROSS JOIN LATERAL "
                f"({selected.sql} LIMIT 1) AS item",
                [list(pks), *selected.parameters],
            )
            rows = cursor.fetchall()
        return selected.objects(rows)

    def test_plain_ones(self, products: list[Product]) -> None:
        first, second = products
        found = self.fetched(Product.objects.filter(title__contains="p"), second.pk, first.pk)
        assert [fields(row) for row in found] == [fields(second), fields(first)]
        assert not found[0]._state.adding
        assert self.fetched(Product.objects.filter(title="parent"), second.pk) == []

    def test_what_they_bring_along(
        self, products: list[Product], django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        parent, child = products
        within = (
            Product.objects.select_related("parent")
            .prefetch_related("images")
            .annotate(pictures=models.Count("images"), loud=models.functions.Upper("title"))
            .order_by("-title")
        )
        with django_assert_num_queries(2):
            found = self.fetched(within, child.pk, parent.pk)
            assert [one.pictures for one in found] == [2, 0]
            assert [one.loud for one in found] == ["PRODUCT", "PARENT"]
            assert [one.parent for one in found] == [parent, None]
            assert [len(one.images.all()) for one in found] == [2, 0]

    def test_some_of_their_columns(
        self, products: list[Product], django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_num_queries(1):
            [found] = self.fetched(Product.objects.only("title"), products[1].pk)
            assert found.title == "product"
        assert found.get_deferred_fields() >= {"is_public", "parent_id"}
        with django_assert_num_queries(1):
            assert found.parent_id == products[0].pk

    def test_those_of_somebody_know_whose_they_are(
        self, products: list[Product], django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        parent, child = products
        with django_assert_num_queries(1):
            [found] = self.fetched(parent.children.all(), child.pk)
            assert found.parent is parent

    def test_one_that_fits_several_times_comes_once(self, products: list[Product]) -> None:
        within = Product.objects.filter(images__original="a.jpg")
        assert within.count() == 2
        assert self.fetched(within, products[1].pk) == [products[1]]

    def test_those_of_a_child_model_have_the_parents_columns(self, product: Product) -> None:
        first, second = (
            PromotedImage.objects.create(product=product, original="a.jpg", slogan=slogan)
            for slogan in ("new", "sale")
        )
        [found] = self.fetched(PromotedImage.objects.filter(slogan="sale"), second.pk)
        assert fields(found) == fields(second)
        assert self.fetched(PromotedImage.objects.filter(caption="none"), first.pk) == []

    def test_those_of_a_proxy_are_its_objects(self, product: Product) -> None:
        class Offer(Product):
            class Meta:
                proxy = True
                app_label = "testapp"

        [found] = self.fetched(Offer.objects.filter(title="product"), product.pk)
        assert type(found) is Offer
        assert fields(found) == fields(product)

    @pytest.mark.parametrize(
        "within",
        [
            lambda: Product.objects.filter(title="product").order_by("-title"),
            lambda: Product.objects.only("title").exclude(parent=None),
            lambda: Product.objects.filter(images__original="a.jpg", title__contains="%"),
            lambda: PromotedImage.objects.filter(caption=""),
        ],
    )
    def test_the_keys_of_all_come_from_the_same_statement(
        self, products: list[Product], within: Callable[[], models.QuerySet[Any]]
    ) -> None:
        PromotedImage.objects.create(product=products[0], original="b.jpg", slogan="new")
        Product.objects.filter(title="product").update(title="100 %")
        selected = fetching.items(within(), "= 1")
        assert selected is not None
        assert selected.keys is not None
        with connection.cursor() as cursor:
            cursor.execute(selected.keys, selected.parameters)
            found = [pk for (pk,) in cursor.fetchall()]
        assert sorted(found) == sorted(within().values_list("pk", flat=True))

    @pytest.mark.parametrize(
        "within",
        [
            lambda: Product.objects.select_related("parent"),
            lambda: Product.objects.annotate(pictures=models.Count("images")),
            lambda: Product.objects.distinct(),
        ],
    )
    def test_what_costs_more_than_keys_gives_none(
        self, within: Callable[[], models.QuerySet[Any]]
    ) -> None:
        selected = fetching.items(within(), "= 1")
        assert selected is not None
        assert selected.keys is None

    @pytest.mark.parametrize(
        "within",
        [
            lambda: Product.objects.annotate(place=models.Window(models.functions.RowNumber())),
            lambda: Product.objects.order_by("shelf", "title").distinct("shelf"),
            lambda: Product.objects.filter(pk=1).union(Product.objects.filter(pk=2)),
            lambda: Product.objects.select_for_update(),
            lambda: Product.objects.values(),
            lambda: _Counted(Product),
        ],
    )
    def test_querysets_that_do_more_are_asked_themselves(
        self, within: Callable[[], models.QuerySet[Any]]
    ) -> None:
        assert fetching.items(within(), "= 1") is None


class _Counted(models.QuerySet[Any]):
    """A shop's own, which does something when it is read."""

    def _fetch_all(self) -> None:
        super()._fetch_all()  # type: ignore[misc]
