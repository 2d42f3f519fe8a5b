"""Problems that real catalogues have, planted on purpose: double listings and misleading pictures.

The truth is written beside them. Near twins, which a shop must not take for duplicates, are part
of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import combinations
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from .catalogue import Row, Session, compressed
from .palette import COLOURS

DOUBLES = 32
MISLEADING = 25
FOLDER = "misleading"
SELLERS = ("Hearth & Co", "Nordic Lane", "Loft Living", "Market Hall")
PRAISE = ("Beautiful", "Handmade", "Scandinavian", "Designer", "Classic", "Modern", "Lovely")
Change = Callable[[Image.Image, random.Random], Image.Image]


def _recompressed(image: Image.Image, chance: random.Random) -> Image.Image:
    small = image.resize((image.width * 2 // 3,) * 2, Image.Resampling.LANCZOS)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def _cropped(image: Image.Image, chance: random.Random) -> Image.Image:
    side = round(image.width * chance.uniform(0.78, 0.9))
    left, top = (chance.randint(0, image.width - side) for _ in range(2))
    return image.crop((left, top, left + side, top + side)).resize(image.size)


def _mirrored(image: Image.Image, chance: random.Random) -> Image.Image:
    return ImageOps.mirror(image)


def _watermarked(image: Image.Image, chance: random.Random) -> Image.Image:
    layer = Image.new("RGBA", image.size)
    draw = ImageDraw.Draw(layer)
    for row in range(4):
        draw.text(
            (30 + row % 2 * 60, 40 + row * 100),
            chance.choice(SELLERS),
            font=ImageFont.load_default(40),
            fill=(120, 120, 120, 90),
        )
    marked = image.convert("RGBA")
    marked.alpha_composite(layer.rotate(20))
    return marked.convert("RGB")


def _with_sticker(image: Image.Image, chance: random.Random) -> Image.Image:
    image = image.copy()
    draw = ImageDraw.Draw(image)
    size = image.width // 4
    left = chance.choice((14, image.width - size - 14))
    draw.ellipse((left, 14, left + size, 14 + size), fill="#c8202f")
    text = f"-{chance.choice((10, 20, 30, 50))}%"
    middle = (left + size / 2, 14 + size / 2)
    draw.text(middle, text, font=ImageFont.load_default(size / 3), fill="white", anchor="mm")
    return image


def _brightened(image: Image.Image, chance: random.Random) -> Image.Image:
    return ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(1.15)).enhance(0.85)


def _mirrored_with_sticker(image: Image.Image, chance: random.Random) -> Image.Image:
    return _with_sticker(ImageOps.mirror(image), chance)


def _unchanged(image: Image.Image, chance: random.Random) -> Image.Image:
    return image


COPIES: dict[str, Change] = {
    "recompressed": _recompressed,
    "cropped": _cropped,
    "mirrored": _mirrored,
    "watermarked": _watermarked,
    "price sticker": _with_sticker,
    "brightened": _brightened,
    "mirrored, price sticker": _mirrored_with_sticker,
    "another picture": _unchanged,
}
"""How a double's picture comes from the original's."""


def double(
    sessions: Sequence[Session], rows: Sequence[Row], folder: Path, seed: int
) -> tuple[list[Row], list[Row]]:
    """Lists some products a second time, under another name and price.

    Writes their pictures into the folder; returns their rows of the catalogue and of the truth.
    """
    chance = random.Random(seed)  # noqa: S311
    chosen = chance.sample(list(sessions), DOUBLES)
    fronts = {row["product"]: row for row in rows if row["view"] == "main"}
    doubles, truth = [], []
    for number, session in enumerate(chosen):
        how = list(COPIES)[number % len(COPIES)]
        view = session.views[1 if how == "another picture" else 0]
        front = fronts[session.reference]
        name = f"{chance.choice(PRAISE)} {session.design.kind.name} in {front['colour']}"
        reference = f"double-{number + 1:02d}"
        with Image.open(folder / session.file(view)) as image:
            copy = COPIES[how](image.convert("RGB"), chance)
        file = f"{reference}.jpg"
        (folder / file).write_bytes(compressed(copy, 11_000))
        price = Decimal(front["price"]) * Decimal(str(round(chance.uniform(0.75, 1.3), 2)))
        doubles.append(
            {
                **front,
                "file": file,
                "product": reference,
                "name": name,
                "brand": chance.choice(SELLERS),
                "price": f"{price:.0f}.90",
                "description": f"{name}. New, in its box.",
                "stock": str(chance.randint(1, 9)),
            }
        )
        truth.append(_verdict(reference, session.reference, "duplicate", how))
    return doubles, truth


def near_twins(sessions: Sequence[Session]) -> Iterator[Row]:
    """Yields the truth of pairs that are nearly alike and not the same product."""
    for first, second in combinations(sessions, 2):
        if first.design.family is not second.design.family:
            continue
        one, other = first.design.finish, second.design.finish
        if one.pattern and other.pattern:
            spaced = replace(
                one.pattern,
                spacing=other.pattern.spacing,
                share=other.pattern.share,
                name=other.pattern.name,
            )
            if spaced == other.pattern and one.colour == other.colour:
                yield _verdict(first.reference, second.reference, "different", "spacing")
        elif not one.pattern and not other.pattern and one.material == other.material:
            same = one.colour == other.colour
            how = (
                "size"
                if same and first.design.variant.size != second.design.variant.size
                else ("colourway")
            )
            yield _verdict(first.reference, second.reference, "different", how)


def _verdict(product: str, other: str, verdict: str, how: str) -> Row:
    return {"product": product, "other": other, "verdict": verdict, "how": how}


def mislead(sessions: Sequence[Session], folder: Path, seed: int) -> list[Row]:
    """Writes pictures that say little about the product they stand for; returns their rows."""
    chance = random.Random(seed + 1)  # noqa: S311
    (folder / FOLDER).mkdir(exist_ok=True)
    chosen = chance.sample(list(sessions), MISLEADING)
    backs = [s for s in sessions if any(view.name == "back" for view in s.views)]
    turned = chance.sample(backs, min(len(backs), MISLEADING // 5 + 1))
    rows = []
    for number in range(MISLEADING):
        how = ("text banner", "extreme close-up", "back view", "collage", "blank")[number % 5]
        session = turned[number // 5 % len(turned)] if how == "back view" else chosen[number]
        with Image.open(folder / session.file(session.views[0])) as image:
            front = image.convert("RGB")
        if how == "text banner":
            picture = _banner(front, chance)
        elif how == "extreme close-up":
            middle = front.width // 2
            picture = front.crop((middle, middle, middle + 40, middle + 40)).resize(front.size)
        elif how == "back view":
            back = next(view for view in session.views if view.name == "back")
            with Image.open(folder / session.file(back)) as image:
                picture = image.convert("RGB")
        elif how == "collage":
            others = chance.sample(list(sessions), 3)
            picture = _collage([session, *others], folder)
        else:
            picture = Image.new("RGB", front.size, chance.choice(("white", "#808080", "#f4f2ee")))
        file = f"{FOLDER}/{number + 1:02d}.jpg"
        (folder / file).write_bytes(compressed(picture, 11_000))
        rows.append({"file": file, "product": session.reference, "how": how})
    return rows


def _banner(image: Image.Image, chance: random.Random) -> Image.Image:
    image = image.copy()
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 90, image.width, 330), fill=COLOURS[chance.choice(("navy", "rose", "teal"))])
    lines = ("FREE DELIVERY", f"SAVE {chance.choice((20, 30, 40))} %", "this week only")
    for row, line in enumerate(lines):
        place = (image.width / 2, 140 + row * 70)
        draw.text(place, line, font=ImageFont.load_default(44), fill="white", anchor="mm")
    return image


def _collage(sessions: Sequence[Session], folder: Path) -> Image.Image:
    with Image.open(folder / sessions[0].file(sessions[0].views[0])) as image:
        sheet = Image.new("RGB", image.size, "white")
    half = sheet.width // 2
    for place, session in enumerate(sessions):
        with Image.open(folder / session.file(session.views[0])) as image:
            small = image.convert("RGB").resize((half - 4, half - 4))
        sheet.paste(small, (place % 2 * half + 2, place // 2 * half + 2))
    return sheet
