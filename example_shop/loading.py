"""Brings a catalogue into the shop: products, categories and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.text import slugify
from tqdm import tqdm

from cardigan_reco import containers, images
from cardigan_reco.exceptions import ImageError
from cardigan_reco.signals import paused

from . import listings
from .listings import BadRow, CatalogueError, ListedPicture, Listing
from .models import Category, Product, ProductImage
from .pictures import Pictures, PictureUnusable, open_pictures

PRODUCTS_AT_ONCE = 50
"""Products that are read, then written in one transaction."""
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}


@dataclass
class Outcome:
    """What came of a catalogue."""

    products: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("new", "changed", "unchanged", "removed", "unpublished"), 0
        )
    )
    pictures: dict[str, int] = field(
        default_factory=lambda: {"new": 0, "changed": 0, "unchanged": 0, "removed": 0}
    )
    bad_rows: list[BadRow] = field(default_factory=list)


@dataclass(frozen=True)
class ReadPicture:
    """A picture of the catalogue that can be shown."""

    listed: ListedPicture
    data: bytes

    @property
    def suffix(self) -> str:
        return SUFFIXES[containers.examine(self.data).format]


def load(source: Path, csv_file: Path, *, replace: bool = False, quiet: bool = False) -> Outcome:
    """Brings in the pictures of `source`, a folder or zip file, as `csv_file` lists them.

    Can be repeated: products are matched by their key, pictures by their place in the product,
    and what is equal isn't saved again. Products that were merged, and those that they were merged
    into, stay as they are. With `replace`, products of former catalogues are removed, or
    unpublished if they were ordered; those made by hand stay. Bad rows are left out and returned.

    Raises CatalogueError when the catalogue as a whole can't be read.
    """
    outcome = Outcome()
    try:
        opened = open_pictures(source)
    except FileNotFoundError as error:
        raise CatalogueError(f"There is no folder or zip file {source}.") from error
    except (OSError, BadZipFile) as error:
        raise CatalogueError(f"{source} is neither a folder nor a zip file: {error}.") from error
    with opened as pictures, paused():
        found, outcome.bad_rows = listings.read(csv_file)
        if not found:
            reasons = [f"Line {row.line}: {row.reason}." for row in outcome.bad_rows[:1]]
            raise CatalogueError(" ".join([f"{csv_file} lists no picture.", *reasons]))
        references = {listing.reference for listing in found}
        going = _others(references) if replace else Product.objects.none()
        merged = _merged(going)
        total = sum(len(listing.pictures) for listing in found)
        with tqdm(total=total, desc="Loading", unit="picture", disable=quiet) as progress:
            for start in range(0, len(found), PRODUCTS_AT_ONCE):
                chunk = found[start : start + PRODUCTS_AT_ONCE]
                ready = []
                for listing in chunk:
                    if usable := list(_usable(listing, pictures, outcome)):
                        ready.append((listing, usable))
                    progress.update(len(listing.pictures))
                with transaction.atomic():
                    _save(ready, merged, outcome)
        if replace:
            _remove(going, outcome)
    outcome.bad_rows.sort(key=lambda row: row.line)
    return outcome


def _usable(listing: Listing, pictures: Pictures, outcome: Outcome) -> Iterator[ReadPicture]:
    for listed in listing.pictures:
        try:
            data = pictures.read(listed.file)
            images.load(data)
        except (PictureUnusable, ImageError) as error:
            outcome.bad_rows.append(BadRow(listed.line, listed.file, str(error)))
        else:
            yield ReadPicture(listed, data)


def _others(references: set[str]) -> QuerySet[Product]:
    return Product.objects.filter(reference__isnull=False).exclude(reference__in=references)


def _merged(going: QuerySet[Product]) -> set[str | None]:
    """Returns the keys of products that were merged, or that others were merged into.

    Without those that were merged into one that is `going`: they are for sale again.
    """
    merged = Product.objects.filter(Q(replaced_by__isnull=False) | Q(replaces__isnull=False))
    return set(merged.exclude(replaced_by__in=going).values_list("reference", flat=True))


def _save(
    ready: list[tuple[Listing, list[ReadPicture]]], merged: set[str | None], outcome: Outcome
) -> None:
    references = [listing.reference for listing, _usable_pictures in ready]
    known = {
        product.reference: product
        for product in Product.objects.filter(reference__in=references).prefetch_related("images")
    }
    categories = _categories({listing.category for listing, _usable_pictures in ready} - {""})
    for listing, usable in ready:
        # The report knows them as merged for good: what is put back would be a double unseen.
        if listing.reference in merged:
            outcome.products["unchanged"] += 1
            outcome.pictures["unchanged"] += len(usable)
            continue
        product = known.get(listing.reference) or Product(reference=listing.reference)
        outcome.products[_save_product(product, listing, categories.get(listing.category))] += 1
        _save_pictures(product, usable, outcome)


def _categories(names: set[str]) -> dict[str, Category]:
    known = {category.name: category for category in Category.objects.filter(name__in=names)}
    for name in sorted(names - set(known)):
        slug = _free_slug(Category.objects.all(), name, fallback="category")
        known[name] = Category.objects.create(name=name, slug=slug)
    return known


def _save_product(product: Product, listing: Listing, category: Category | None) -> str:
    wanted = {
        "name": listing.name,
        "brand": listing.brand,
        "description": listing.description,
        "colour": listing.colour,
        "material": listing.material,
        "price": listing.price,
        "stock": listing.stock,
        "published": listing.published,
        "category": category,
    }
    if product.pk and all(getattr(product, name) == value for name, value in wanted.items()):
        return "unchanged"
    state = "changed" if product.pk else "new"
    for name, value in wanted.items():
        setattr(product, name, value)
    product.slug = product.slug or _free_slug(Product.objects.all(), listing.name, "product")
    product.save()
    return state


def _save_pictures(product: Product, usable: list[ReadPicture], outcome: Outcome) -> None:
    stored = list(product.images.all())
    for position, picture in enumerate(usable):
        image = stored[position] if position < len(stored) else ProductImage(product=product)
        outcome.pictures[_save_picture(image, picture, position)] += 1
    for image in stored[len(usable) :]:
        image.delete()
        _delete_on_commit(image.original.name)
        outcome.pictures["removed"] += 1


def _save_picture(image: ProductImage, picture: ReadPicture, position: int) -> str:
    detail = picture.listed.detail
    alt_text = f"{image.product.name}, {detail}"[:250] if detail else ""
    state = "changed" if image.pk else "new"
    if image.pk and _bytes(image) == picture.data:
        if (image.alt_text, image.position) != (alt_text, position):
            image.alt_text, image.position = alt_text, position
            image.save(update_fields=["alt_text", "position"])
        return "unchanged"
    former = image.original.name
    image.alt_text, image.position = alt_text, position
    name = f"{image.product.slug[:80]}-{position + 1}{picture.suffix}"
    # Django measures only content that has a name.
    image.original.save(name, ContentFile(picture.data, name), save=False)
    image.save()
    if former and former != image.original.name:
        _delete_on_commit(former)
    return state


def _bytes(image: ProductImage) -> bytes | None:
    try:
        with image.original.open("rb") as file:
            data: bytes = file.read()
            return data
    except FileNotFoundError:
        return None


def _delete_on_commit(name: str | None) -> None:
    if name:
        transaction.on_commit(partial(default_storage.delete, name), robust=True)


def _remove(going: QuerySet[Product], outcome: Outcome) -> None:
    ordered = Product.objects.filter(pk__in=going.filter(order_lines__isnull=False))
    with transaction.atomic():
        shown = ordered.exclude(published=False, stock=0)
        outcome.products["unpublished"] = shown.update(published=False, stock=0)
        Product.objects.filter(replaced_by__in=ordered).update(replaced_by=None)
        going = going.filter(order_lines=None)
        for image in ProductImage.objects.filter(product__in=going):
            _delete_on_commit(image.original.name)
            outcome.pictures["removed"] += 1
        outcome.products["removed"] = going.count()
        going.delete()
        Category.objects.filter(products=None).delete()


def _free_slug(rows: QuerySet[Product] | QuerySet[Category], name: str, fallback: str) -> str:
    base = slugify(name)[:100].strip("-") or fallback
    taken = set(
        rows.filter(Q(slug=base) | Q(slug__startswith=f"{base}-")).values_list("slug", flat=True)
    )
    number, slug = 1, base
    while slug in taken:
        number += 1
        slug = f"{base}-{number}"
    return slug
