"""What sellers do to a photo that they take over: edits, for pictures to be recognised again."""

from __future__ import annotations

import random
from collections.abc import Callable
from io import BytesIO

from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

Edit = Callable[[Image.Image, random.Random], Image.Image]
"""Returns an edited copy of an RGB picture."""

QUALITY = 90
"""Of the JPEG files, except where the edit is to compress again."""


def reencoded(image: Image.Image, chance: random.Random) -> Image.Image:
    """Compresses it as a JPEG of quality 30 to 90."""
    file = BytesIO()
    image.save(file, "JPEG", quality=chance.randint(30, 90))
    return Image.open(file).convert("RGB")


def rescaled(image: Image.Image, chance: random.Random) -> Image.Image:
    """Makes its sides 0.3 to 2 times as long."""
    # As many halved as doubled.
    factor = chance.uniform(0.3, 1) if chance.random() < 0.5 else chance.uniform(1, 2)
    size = round(image.width * factor), round(image.height * factor)
    return image.resize(size, Image.Resampling.BICUBIC)


def cropped(image: Image.Image, chance: random.Random) -> Image.Image:
    """Keeps 60 to 95% of each side."""
    share = chance.uniform(0.6, 0.95)
    width, height = round(image.width * share), round(image.height * share)
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def padded(image: Image.Image, chance: random.Random) -> Image.Image:
    """Adds white, on each side up to a quarter of the length."""
    left, top, right, bottom = (chance.uniform(0, 0.25) for _ in range(4))
    sheet = Image.new(
        "RGB",
        (round(image.width * (1 + left + right)), round(image.height * (1 + top + bottom))),
        "white",
    )
    sheet.paste(image, (round(image.width * left), round(image.height * top)))
    return sheet


def mirrored(image: Image.Image, chance: random.Random) -> Image.Image:
    """Swaps left and right."""
    return ImageOps.mirror(image)


def watermarked(image: Image.Image, chance: random.Random) -> Image.Image:
    """Writes a shop's name all over it, half transparent."""
    side = 2 * max(image.size)
    layer = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(layer)
    font = ImageFont.load_default(max(10, image.width // 9))
    step = chance.uniform(0.25, 0.5) * image.height
    colour = (*(chance.choice((0, 128, 255)),) * 3, chance.randint(60, 130))
    y = 0.0
    while y < side:
        draw.text((chance.uniform(0, 30), y), "www.best-shop.example  " * 5, colour, font)
        y += step
    layer = layer.rotate(chance.uniform(-40, 40))
    left, top = (side - image.width) // 2, (side - image.height) // 2
    marked = image.convert("RGBA")
    marked.alpha_composite(layer.crop((left, top, left + image.width, top + image.height)))
    return marked.convert("RGB")


def with_sticker(image: Image.Image, chance: random.Random) -> Image.Image:
    """Puts a price sticker on it, a fifth to a third of its width."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    size = round(image.width * chance.uniform(0.2, 0.35))
    left = chance.randint(0, image.width - size)
    top = chance.randint(0, image.height - size)
    colour = chance.choice(("#c8202f", "#f2c400", "#1b7f3b", "#222222"))
    shape = draw.ellipse if chance.random() < 0.5 else draw.rectangle
    shape((left, top, left + size, top + size), fill=colour)
    text = f"-{chance.choice((10, 20, 30, 50))}%"
    middle = (left + size / 2, top + size / 2)
    draw.text(middle, text, "white", ImageFont.load_default(size / 3), anchor="mm")
    return image


def with_banner(image: Image.Image, chance: random.Random) -> Image.Image:
    """Puts a line of text across it, a tenth to a fifth of its height."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    height = round(image.height * chance.uniform(0.1, 0.22))
    top = chance.choice((0, image.height - height, chance.randint(0, image.height - height)))
    colour = chance.choice(("#c8202f", "#1d3f8f", "#111111", "#ffffff", "#f2c400"))
    draw.rectangle((0, top, image.width, top + height), fill=colour)
    text = chance.choice(("SALE  SALE  SALE", "Free delivery", "NEW COLLECTION", "2 for 1"))
    ink = "black" if colour in ("#ffffff", "#f2c400") else "white"
    font = ImageFont.load_default(height * 0.5)
    draw.text((image.width / 2, top + height / 2), text, ink, font, anchor="mm")
    return image


def brightened(image: Image.Image, chance: random.Random) -> Image.Image:
    """Changes brightness and contrast by up to 30%."""
    image = ImageEnhance.Brightness(image).enhance(chance.uniform(0.7, 1.3))
    return ImageEnhance.Contrast(image).enhance(chance.uniform(0.7, 1.3))


def rotated(image: Image.Image, chance: random.Random) -> Image.Image:
    """Turns it by 1 to 8 degrees, on white."""
    degrees = chance.choice((-1, 1)) * chance.uniform(1, 8)
    return image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor="white")


def bordered(image: Image.Image, chance: random.Random) -> Image.Image:
    """Frames it in a colour, 2 to 6% of its width."""
    width = max(2, round(image.width * chance.uniform(0.02, 0.06)))
    colour = chance.choice(("#000000", "#c8202f", "#1d3f8f", "#888888", "#d9b44a"))
    return ImageOps.expand(image, width, colour)


EDITS: dict[str, Edit] = {
    "re-encoded": reencoded,
    "rescaled": rescaled,
    "cropped": cropped,
    "padded": padded,
    "mirrored": mirrored,
    "watermarked": watermarked,
    "price sticker": with_sticker,
    "text banner": with_banner,
    "brightness, contrast": brightened,
    "rotated": rotated,
    "bordered": bordered,
}
TWO = "two at once"
KINDS = (*EDITS, TWO)


def edited(image: Image.Image, kind: str, chance: random.Random) -> Image.Image:
    """Returns an edited copy; for TWO, with two different edits."""
    names = chance.sample(list(EDITS), 2) if kind == TWO else [kind]
    for name in names:
        image = EDITS[name](image, chance)
    return image


def copy(image: Image.Image, seed: str) -> bytes:
    """Returns a copy, edited in one of KINDS, as a JPEG file; a seed repeats."""
    chance = random.Random(seed)  # noqa: S311
    file = BytesIO()
    edited(image, chance.choice(KINDS), chance).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
