"""Catalogues of translated texts, as compilemessages writes them."""

from __future__ import annotations

import struct
from pathlib import Path

from pytest_django import Settings


def speak(settings: Settings, folder: Path, texts: dict[str, str]) -> None:
    """Makes the site a German one, for which our texts are translated as in `texts`."""
    path = folder / "de" / "LC_MESSAGES" / "django.mo"
    path.parent.mkdir(parents=True)
    path.write_bytes(_compiled({"": "Content-Type: text/plain; charset=UTF-8\n", **texts}))
    settings.LOCALE_PATHS = [folder]
    settings.LANGUAGE_CODE = "de"


def _compiled(texts: dict[str, str]) -> bytes:
    """Returns them as GNU gettext has them: two tables of lengths and places, and the texts."""
    ordered = sorted((key.encode(), text.encode()) for key, text in texts.items())
    count = len(ordered)
    tables, words = b"", b""
    for side in zip(*ordered, strict=True):
        for word in side:
            tables += struct.pack("<2I", len(word), 28 + 16 * count + len(words))
            words += word + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0) + tables + words
