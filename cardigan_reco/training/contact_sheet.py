"""Queries beside their nearest neighbours, as HTML that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO

from PIL import Image

SIDE = 96
"""Pixels of a thumbnail's longer side."""
_QUALITY = 80

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1b1b; --quiet: #666; --rule: #ddd;
  --right: #157347; --wrong: #b02a37; --line-0: #1f5fa8; --line-1: #b4532a; --line-2: #2d7d46;
  --line-3: #8a4f9e; --line-4: #7a6a00; --line-5: #555; }
@media (prefers-color-scheme: dark) { :root { --paper: #151515; --ink: #eee; --quiet: #a5a5a5;
  --rule: #3a3a3a; --right: #6fcf97; --wrong: #ff8a8a; --line-0: #7db4f0; --line-1: #f0a27d;
  --line-2: #82d49c; --line-3: #d1a3e0; --line-4: #e0cf70; --line-5: #bbb; } }
body { margin: 0 auto; max-width: 78rem; padding: 1rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid var(--rule); }
td { font-variant-numeric: tabular-nums; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); }
.chart { margin: 0; } .chart svg { width: 100%; height: auto; } .chart ul { padding: 0;
  margin: 0; list-style: none; display: flex; flex-wrap: wrap; gap: 0 1rem; font-size: .85rem; }
.chart li svg { width: 28px; height: 8px; } polyline, line { fill: none; stroke-width: 1.8; }
.axes { fill: none; stroke: var(--quiet); } text { font-size: 11px; fill: var(--quiet); }
text.y { text-anchor: end; dominant-baseline: middle; } text.x { text-anchor: middle; }
.row { display: flex; gap: .5rem; overflow-x: auto; padding: .5rem 0; align-items: flex-start; }
.row + .row { border-top: 1px solid var(--rule); }
.tile { margin: 0; width: 96px; flex: none; font-size: .75rem; line-height: 1.3; }
.tile img { width: 96px; height: 96px; object-fit: contain; background: #fff; display: block;
  border: 3px solid var(--rule); box-sizing: border-box; }
.tile figcaption { overflow-wrap: anywhere; max-height: 2.6em; overflow: hidden; }
.right img { border-color: var(--right); } .wrong img { border: 3px dashed var(--wrong); }
.right b { color: var(--right); } .wrong b { color: var(--wrong); }
.query { margin-right: .75rem; } .query img { border-color: var(--ink); }
"""


@dataclass(frozen=True)
class Tile:
    """A picture on the sheet."""

    image: Image.Image
    caption: str = ""
    right: bool | None = None
    """Whether a neighbour is one that belongs; None: nothing is known."""


@dataclass(frozen=True)
class Row:
    """A query and its neighbours, nearest first."""

    query: Tile
    neighbours: Sequence[Tile]


def section(title: str, rows: Sequence[Row]) -> str:
    """Returns the rows as HTML under a heading, to be put into a page()."""
    return f"<h2>{escape(title)}</h2>" + "".join(map(_row, rows))


def page(title: str, *sections: str) -> str:
    """Returns a whole HTML page; the sections are HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{''.join(sections)}</body></html>\n"
    )


def _row(row: Row) -> str:
    return (
        f'<div class="row" tabindex="0" role="group" aria-label="{escape(row.query.caption)}">'
        f"{_tile(row.query, 'query')}{''.join(_tile(tile, '') for tile in row.neighbours)}</div>"
    )


def _tile(tile: Tile, kind: str) -> str:
    mark = {True: "<b>✓ </b>", False: "<b>✗ </b>", None: ""}[tile.right]
    judged = {True: "right", False: "wrong", None: ""}[tile.right]
    return (
        f'<figure class="tile {kind}{judged}"><img src="{_url(tile.image)}" alt="" width="96" '
        f'height="96"><figcaption>{mark}{escape(tile.caption)}</figcaption></figure>'
    )


def _url(image: Image.Image) -> str:
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    data = BytesIO()
    small.save(data, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
