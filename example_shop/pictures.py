"""The pictures of a catalogue: files in a folder or in a zip file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Protocol, Self

from cardigan_reco import images
from cardigan_reco.exceptions import ImageError

BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Of others, such as bzip2, zipfile unpacks a whole picture at once, however large it is."""


class PictureUnusable(Exception):
    """The file is missing, too large or outside of the catalogue. The text is the reason."""


class Pictures(Protocol):
    def read(self, name: str) -> bytes:
        """Returns the bytes of the file `name`; raises PictureUnusable."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_pictures(source: Path) -> Pictures:
    """Opens a folder or a zip file; raises OSError or zipfile.BadZipFile."""
    return FolderPictures(source) if source.is_dir() else ZippedPictures(source)


class FolderPictures:
    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def read(self, name: str) -> bytes:
        # Resolved, so that a link out of the folder is refused as well.
        file = (self.folder / _inside(name)).resolve()
        if not file.is_relative_to(self.folder):
            raise PictureUnusable("the path leads out of the catalogue")
        if not file.is_file():
            raise PictureUnusable("no such file")
        try:
            with file.open("rb") as opened:
                return images.read(opened)
        except OSError as error:
            raise PictureUnusable(f"can't be read: {error.strerror}") from error
        except ImageError as error:
            raise PictureUnusable(str(error)) from error


class ZippedPictures:
    def __init__(self, file: Path) -> None:
        self.archive = zipfile.ZipFile(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.archive.close()

    def read(self, name: str) -> bytes:
        try:
            entry = self.archive.getinfo(str(_inside(name)))
        except KeyError:
            raise PictureUnusable("no such file") from None
        if entry.compress_type not in BOUNDED:
            raise PictureUnusable("packed in an unusual way; pack the zip file with deflate")
        try:
            with self.archive.open(entry) as opened:
                return images.read(opened)
        except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError) as error:
            # RuntimeError: encrypted.
            raise PictureUnusable(f"can't be read: {error}") from error
        except ImageError as error:
            raise PictureUnusable(str(error)) from error


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name.split("/")[0]:
        raise PictureUnusable("the path leads out of the catalogue")
    return path
