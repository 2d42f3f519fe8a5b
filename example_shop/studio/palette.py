"""The range's colours, by the names that the shop uses."""

from __future__ import annotations

COLOURS = {
    "white": "#f4f2ee",
    "ivory": "#e9dfc8",
    "sand": "#cdb48f",
    "oat": "#d8cbb2",
    "blush": "#dba99a",
    "rose": "#b8606b",
    "red": "#a3262a",
    "terracotta": "#b2573a",
    "rust": "#8c3f22",
    "mustard": "#cf9a2c",
    "lemon": "#e6cc5a",
    "olive": "#76763c",
    "sage": "#94a58a",
    "mint": "#a9cfbb",
    "forest": "#2c5240",
    "teal": "#1f6a6f",
    "sky": "#97b9cf",
    "ocean": "#2d5f8c",
    "navy": "#1e2b4a",
    "lilac": "#ab9cc4",
    "plum": "#5b2f4c",
    "brown": "#5d4032",
    "grey": "#8c8b87",
    "charcoal": "#37373a",
    "black": "#19191b",
    # Materials that bring their own.
    "oak": "#c39a68",
    "walnut": "#5e3d29",
    "ash": "#d9c19a",
    "natural": "#c2a271",
    "honey": "#a97b45",
    "brass": "#c99a4e",
    "copper": "#b8704f",
    "steel": "#a9abad",
    "marble": "#e8e6e2",
    "clear": "#eef3f2",
    "amber": "#b5651d",
    "cognac": "#8a4a22",
}
Colour = tuple[float, float, float, float]


def linear(name: str) -> Colour:
    """Returns the colour as linear RGBA, as a renderer mixes it; KeyError for an unknown name."""
    code = COLOURS[name]
    red, green, blue = (int(code[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return _linear(red), _linear(green), _linear(blue), 1.0


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
