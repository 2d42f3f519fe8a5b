"""The catalogue file: a CSV with a row for each picture, read into products."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path, PurePosixPath

REQUIRED = "file"
DEFAULT_STOCK = 10
HIGHEST_PRICE = Decimal("99999999.99")
HIGHEST_STOCK = 2_147_483_647
YES_OR_NO = {
    **dict.fromkeys(("", "1", "true", "yes", "y"), True),
    **dict.fromkeys(("0", "false", "no", "n"), False),
}


class CatalogueError(Exception):
    """The catalogue as a whole can't be read. The text says why, and what to do."""


@dataclass(frozen=True)
class BadRow:
    """A row that was left out."""

    line: int
    file: str
    reason: str


@dataclass(frozen=True)
class ListedPicture:
    """A picture as the catalogue file names it."""

    line: int
    file: str
    detail: str
    """What sets it apart from the product's other pictures, such as "back"; may be empty."""


@dataclass
class Listing:
    """A product as the catalogue file describes it, with its pictures in order."""

    reference: str
    name: str
    category: str
    brand: str
    description: str
    colour: str
    material: str
    price: Decimal | None
    stock: int
    published: bool
    pictures: list[ListedPicture] = field(default_factory=list)


def read(file: Path) -> tuple[list[Listing], list[BadRow]]:
    """Returns the products of the CSV and the rows that say nothing usable.

    Only the column `file` is required. Rows with the same `product` are pictures of one product,
    described by the first row; without that column each picture is a product of its own.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            if REQUIRED not in (reader.fieldnames or []):
                found = ", ".join(reader.fieldnames or []) or "none"
                raise CatalogueError(f"{file} has no column 'file'. Its columns are: {found}.")
            return _group((reader.line_num, row) for row in reader)
    except FileNotFoundError as error:
        raise CatalogueError(f"There is no CSV file {file}.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CatalogueError(f"{file} can't be read as a CSV file in UTF-8: {error}.") from error


def _group(
    rows: Iterable[tuple[int, Mapping[str | None, str | list[str] | None]]],
) -> tuple[list[Listing], list[BadRow]]:
    listings: dict[str, Listing] = {}
    lines: dict[tuple[str, str], int] = {}
    bad = []
    for line, raw in rows:
        row = {key: value.strip() for key, value in raw.items() if key and isinstance(value, str)}
        try:
            listing, picture = _parse(line, row)
            first = lines.setdefault((listing.reference, picture.file), line)
            if first != line:
                raise ValueError(f"the product has this picture already, from line {first}")
        except ValueError as error:
            bad.append(BadRow(line, row["file"] if row.get("file") else "-", str(error)))
        else:
            listings.setdefault(listing.reference, listing).pictures.append(picture)
    return list(listings.values()), bad


def _parse(line: int, row: Mapping[str, str]) -> tuple[Listing, ListedPicture]:
    file = row.get("file", "")
    if not file:
        raise ValueError("no file is named")
    if any("\0" in value for value in row.values()):
        raise ValueError("a zero byte in the text")
    reference = row.get("product") or str(PurePosixPath(file).with_suffix(""))
    if len(reference) > 100:
        raise ValueError("the product's key has more than 100 characters")
    listing = Listing(
        reference=reference,
        name=(row.get("name") or _readable(reference))[:200],
        category=row.get("category", "")[:100],
        brand=row.get("brand", "")[:100],
        description=row.get("description", ""),
        colour=_colour(row)[:50],
        material=row.get("material", "")[:100],
        price=_price(row.get("price", "")),
        stock=_stock(row.get("stock", "")),
        published=_published(row.get("published", "")),
    )
    return listing, ListedPicture(line, file, _detail(row))


def _readable(reference: str) -> str:
    text = re.sub(r"\.\w{3,4}$", "", reference.rsplit("/", 1)[-1])
    text = re.sub(r"[\W_]+", " ", text).strip()
    return text[:1].upper() + text[1:] or "Product"


def _colour(row: Mapping[str, str]) -> str:
    # In a row with the view "colour" that column says what sets the picture apart.
    own = "" if row.get("view") == "colour" else row.get("colour", "")
    return own or row.get("base_colour", "")


def _detail(row: Mapping[str, str]) -> str:
    view = row.get("view", "")
    if view in ("", "main"):
        return ""
    if view == "colour":
        return row.get("colour", "").lower()
    return f"picture {view}" if view.isdigit() else view


def _price(text: str) -> Decimal | None:
    if not text:
        return None
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or not 0 <= price <= HIGHEST_PRICE:
        raise ValueError(f"{text!r} is not a price; write it as 12.50")
    return price.quantize(Decimal("0.01"))


def _stock(text: str) -> int:
    if not text:
        return DEFAULT_STOCK
    if not text.isdecimal() or int(text) > HIGHEST_STOCK:
        raise ValueError(f"{text!r} is not a stock; write a whole number")
    return int(text)


def _published(text: str) -> bool:
    try:
        return YES_OR_NO[text.lower()]
    except KeyError:
        raise ValueError(f"published is {text!r}; write yes or no") from None
