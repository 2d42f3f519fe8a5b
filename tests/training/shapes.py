"""A small world to learn: shapes in colours, on white, a few pictures of each."""

from __future__ import annotations

import csv
from pathlib import Path

from PIL import Image, ImageDraw

SHAPES = ("disc", "square", "bar", "ring")
COLOURS = {"red": (200, 40, 40), "green": (40, 150, 60), "blue": (40, 70, 190)}


def draw(shape: str, colour: str, number: int) -> Image.Image:
    """Returns a picture of 64 pixels; `number` moves and sizes the shape."""
    image = Image.new("RGB", (64, 64), "white")
    pen = ImageDraw.Draw(image)
    reach = 14 + number * 3 % 10
    x, y = 32 + number * 7 % 9 - 4, 32 + number * 5 % 9 - 4
    fill = COLOURS[colour]
    box = (x - reach, y - reach, x + reach, y + reach)
    match shape:
        case "disc":
            pen.ellipse(box, fill=fill)
        case "square":
            pen.rectangle(box, fill=fill)
        case "bar":
            pen.rectangle((x - reach, y - 5, x + reach, y + 5), fill=fill)
        case _:
            pen.ellipse(box, outline=fill, width=5)
    return image


def write(folder: Path, *, each: int = 10, validation: int = 2) -> Path:
    """Writes `each` pictures of every shape and colour, and a CSV; returns its path.

    Columns: shape, colour; the group is both. The last ones are for validation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "shapes.csv"
    with file.open("w", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["picture", "group", "split", "shape", "colour"])
        for shape in SHAPES:
            for colour in COLOURS:
                for number in range(each):
                    name = f"{shape}-{colour}-{number}.png"
                    draw(shape, colour, number).save(folder / name)
                    split = "val" if number >= each - validation else "train"
                    table.writerow([name, f"{shape} {colour}", split, shape, colour])
    return file
