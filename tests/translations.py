"""Catalogues of translated texts: the package's own, and those that a shop might have.

`python -m tests.translations` brings the package's up to date with its code, and compiles them.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_django import Settings

PACKAGE = Path(__file__).parents[1] / "cardigan_reco"
LANGUAGES = ("de", "es", "fr")


def catalogue(language: str, package: Path = PACKAGE) -> Path:
    """Returns where the texts of a language are; beside them is the .mo."""
    return package / "locale" / language / "LC_MESSAGES" / "django.po"


def collect(package: Path, languages: Sequence[str] = LANGUAGES) -> None:
    """Adds the texts of a package's code to its .po files, and takes away those that are gone."""
    # No folder of the package on sys.path: it has a module `queue`.
    command = [sys.executable, "-P", "-m", "django", "makemessages", "--verbosity=0"]
    command += ["--no-obsolete", "--add-location=file", *(f"--locale={one}" for one in languages)]
    without = {key: text for key, text in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    subprocess.run(command, cwd=package, env=without, check=True)
    for language in languages:
        path = catalogue(language, package)
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        # The date would differ after each run, and so would the compiled file.
        kept = [line for line in lines if not line.startswith('"POT-Creation-Date:')]
        path.write_text("".join(kept), encoding="utf-8", newline="\n")


def update() -> None:
    """Collects the package's texts and compiles what is translated of them."""
    if shutil.which("msgfmt") is None:
        raise SystemExit("GNU gettext is not on the PATH; its package is called gettext.")
    collect(PACKAGE)
    for language in LANGUAGES:
        path = catalogue(language)
        command = ["msgfmt", "--check-format", "--statistics", f"--output={path.stem}.mo"]
        print(f"{language}: ", end="", flush=True)
        subprocess.run([*command, path.name], cwd=path.parent, check=True)


def speak(settings: Settings, folder: Path, texts: Mapping[str, str]) -> None:
    """Makes the site a German one, for which our texts are translated as in `texts`."""
    path = folder / "de" / "LC_MESSAGES" / "django.mo"
    path.parent.mkdir(parents=True)
    path.write_bytes(_compiled({"": "Content-Type: text/plain; charset=UTF-8\n", **texts}))
    settings.LOCALE_PATHS = [folder]
    settings.LANGUAGE_CODE = "de"


def _compiled(texts: Mapping[str, str]) -> bytes:
    """Returns them as GNU gettext has them: two tables of lengths and places, and the texts."""
    ordered = sorted((key.encode(), text.encode()) for key, text in texts.items())
    count = len(ordered)
    tables, words = b"", b""
    for side in zip(*ordered, strict=True):
        for word in side:
            tables += struct.pack("<2I", len(word), 28 + 16 * count + len(words))
            words += word + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0) + tables + words


if __name__ == "__main__":
    update()
