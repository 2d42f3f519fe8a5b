"""Gathers what the bundled encoder learns from into one folder and one CSV.

`python benchmarks/training_data.py FOLDER --data ../shared/data` unpacks the training splits of the
fashion, grocery and phone pictures, adds the example shop's catalogue and street photos, and writes
`FOLDER/training.csv` for `train_encoder`. Validation rows keep their split. Standard library alone.
"""

from __future__ import annotations

import csv
import re
import shutil
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

CATALOGUE = Path(__file__).parent.parent / "example_shop" / "catalogue"
COLUMNS = (
    *("picture", "source", "split", "group", "item", "left", "top", "right", "bottom"),
    *("kind", "colour", "design", "words"),
)
GARMENTS = {
    "Blazer": "Blazers",
    "Blouse": "Tops",
    "Dress": "Dresses",
    "Hat": "Caps",
    "Hoodie": "Sweatshirts",
    "Outwear": "Jackets",
    "Pants": "Trousers",
    "Polo": "Tshirts",
    "Shirt": "Shirts",
    "Shorts": "Shorts",
    "Skirt": "Skirts",
    "T-Shirt": "Tshirts",
    "Top": "Tops",
    "Undershirt": "Innerwear Vests",
}
"""The labels of the phone photos in fashion's words; those without one are left as they are."""
NO_GARMENT = {"Not sure", "Other", "Skip"}
MIN_COUNT = 10
"""Words of fewer names than this are left out."""

Row = dict[str, str]


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="Folder of the zip files.")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in ("fashion", "fashion_thumbs", "grocery", "phone_photos"):
        with ZipFile(options.data / f"{name}.zip") as archive:
            archive.extractall(options.folder / name)
    shutil.copytree(CATALOGUE, options.folder / "home", dirs_exist_ok=True)
    found = [*fashion(options.data), *grocery(options.data), *phones(options.data), *home()]
    sizes = Counter(row["group"] for row in found if row["split"] == "train")
    for row in found:
        row["design"] = row["group"] if sizes[row["group"]] > 1 else ""
    with (options.folder / "training.csv").open("w", encoding="utf-8", newline="") as lines:
        table = csv.DictWriter(lines, COLUMNS, restval="")
        table.writeheader()
        table.writerows(found)
    for (source, split), count in sorted(Counter((r["source"], r["split"]) for r in found).items()):
        print(f"{count:>6} {source}, {split}")


def fashion(data: Path) -> Iterator[Row]:
    rows = read(data / "fashion.csv")
    known = {row["base_colour"].lower() for row in rows}
    known |= {word for row in rows for word in row["brand"].lower().split()}
    known |= {"men", "women", "boys", "girls", "unisex", "kids", "and", "of", "with", "for", "the"}
    words = {row["id"]: set(re.findall(r"[a-z]{3,}", row["name"].lower())) - known for row in rows}
    counts = Counter(
        word for row in rows if row["split"] == "train" for word in sorted(words[row["id"]])
    )
    colours = {row["photo_group"]: row["colour_group"] for row in rows if row["colour_group"]}
    colours.pop("", None)
    for row in rows:
        photo = row["photo_group"] and f"photo {row['photo_group']}"
        group = row["colour_group"] or colours.get(row["photo_group"], "")
        yield {
            "picture": f"{'fashion' if row['large'] == '1' else 'fashion_thumbs'}/{row['id']}.jpg",
            "source": "fashion" if row["large"] == "1" else "thumbs",
            "split": row["split"],
            "group": f"fashion {group}" if group else photo,
            "item": photo,
            "kind": row["article_type"],
            "colour": row["base_colour"],
            "words": "|".join(sorted(w for w in words[row["id"]] if counts[w] >= MIN_COUNT)),
        }


def grocery(data: Path) -> Iterator[Row]:
    for row in read(data / "grocery.csv"):
        yield {
            "picture": f"grocery/{row['file']}",
            "source": "grocery" if row["kind"] == "natural" else "iconic",
            "split": "val" if row["split"] == "val" else "train",
            "group": f"sku {row['sku']}",
            "item": f"sku {row['sku']}",
            "kind": row["sku_name"],
        }


def phones(data: Path) -> Iterator[Row]:
    for row in read(data / "phone_photos.csv"):
        label = "" if row["label"] in NO_GARMENT else row["label"]
        picture = f"phone_photos/{row['file']}"
        kind = GARMENTS.get(label, label)
        yield {
            "picture": picture,
            "source": "phone",
            "split": "train",
            "group": "",
            "kind": kind,
        }


def home() -> Iterator[Row]:
    products = {}
    for row in read(CATALOGUE / "catalogue.csv"):
        own = {
            "source": "home",
            "split": "train",
            "group": f"{row['family']} {row['kind']}",
            # A planted double shows what its original shows.
            "item": row["name"],
            "kind": row["kind"],
            "colour": row["colour"],
        }
        products.setdefault(row["product"], own)
        yield {"picture": f"home/{row['file']}", **own}
    for row in read(CATALOGUE / "street.csv"):
        box = {edge: row[edge] for edge in ("left", "top", "right", "bottom")}
        own = {**products[row["product"]], "source": "street"}
        yield {"picture": f"home/{row['file']}", **own, **box}


def read(file: Path) -> list[Row]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


if __name__ == "__main__":
    main()
