"""How well a photo from a home finds the product in it: R@1, R@5 and R@10.

`python benchmarks/street_photos.py` loads the example shop's catalogue into a database of its own,
and searches by its street photos: the whole photo, the given box, and the box with a quarter more
around it. A photo shows one main product, framed by the box, and up to three others; the main one
counts, or one that is listed under the same name. It needs the extras [torch] and [embedded], or a
DATABASE_URL.
"""

from __future__ import annotations

import csv

import home

from cardigan_reco import search
from cardigan_reco.images import Crop
from example_shop import folders
from example_shop.models import Product

FIRST = (1, 5, 10)
MARGIN = 0.125


def main() -> None:
    with home.loaded():
        with (folders.CATALOGUE / "street.csv").open(encoding="utf-8") as lines:
            photos = list(csv.DictReader(lines))
        header = "".join(f"{f'R@{first}':>8}" for first in FIRST)
        print(f"{len(photos)} photos among {Product.objects.published().count()} products")
        print(f"{'':<18}{header}")
        line("whole photo", [place(photo, None) for photo in photos])
        line("given box", [place(photo, box(photo, 0)) for photo in photos])
        line("box and a margin", [place(photo, box(photo, MARGIN)) for photo in photos])


def box(photo: dict[str, str], margin: float) -> Crop:
    left, top, right, bottom = (float(photo[side]) for side in ("left", "top", "right", "bottom"))
    wide, high = margin * (right - left), margin * (bottom - top)
    return (
        max(0.0, left - wide),
        max(0.0, top - high),
        min(1.0, right + wide),
        min(1.0, bottom + high),
    )


def place(photo: dict[str, str], crop: Crop | None) -> int | None:
    """Returns the place, from 1, of the photo's product among the first ones; None: beyond."""
    wanted = Product.objects.get(reference=photo["product"]).name
    found = search.by_image(
        (folders.CATALOGUE / photo["file"]).read_bytes(),
        within=Product.objects.published(),
        limit=max(FIRST),
        crop=crop,
    )
    places = [place for place, item in enumerate(found, 1) if item.name == wanted]
    return min(places, default=None)


def line(title: str, places: list[int | None]) -> None:
    shares = [sum(p is not None and p <= first for p in places) / len(places) for first in FIRST]
    print(f"{title:<18}" + "".join(f"{share:>8.3f}" for share in shares))


if __name__ == "__main__":
    main()
