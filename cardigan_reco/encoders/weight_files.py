"""Safetensors files: their header without torch, their tensors with it, never a pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..exceptions import EncoderError, MissingExtra

if TYPE_CHECKING:
    from torch import Tensor

_MAX_HEADER_BYTES = 100_000_000
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class WeightFile:
    """A safetensors file that has been read and checked once."""

    path: Path
    sha256: str
    """Of the whole file, in hexadecimal digits."""
    metadata: Mapping[str, str]
    """What its writer added beside the tensors."""

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors by name, on the CPU, in the precision of the file.

        Raises EncoderError if the file is no longer the one that was read, MissingExtra without
        torch or safetensors.
        """
        try:
            from safetensors import SafetensorError
            from safetensors.torch import load
        except ModuleNotFoundError as error:
            raise MissingExtra("Loading weights", "torch") from error
        data = _read(self.path)
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise EncoderError(
                f"The weights {self.path} have been replaced since this process read them. Restart "
                "the process, or restore the file."
            )
        try:
            return dict(load(data))
        except SafetensorError as error:
            raise _damaged(self.path, str(error)) from error


def open_weights(path: str | Path, *, sha256: str | None = None) -> WeightFile:
    """Returns the checked header of a safetensors file.

    Raises EncoderError when it is missing, a pickle, damaged, or has another hash than `sha256`.
    """
    path = Path(path)
    data = _read(path)
    if sha256 is not None:
        _check_sha256(path, data, sha256)
    metadata = _header(path, data).get("__metadata__", {})
    if not isinstance(metadata, dict):
        raise _damaged(path, "its metadata is no JSON object")
    return WeightFile(path, hashlib.sha256(data).hexdigest(), metadata)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EncoderError(
            f"The weights {path.absolute()} can't be read ({error.strerror}). Give the path of a "
            ".safetensors file that this process may read."
        ) from error


def _check_sha256(path: Path, data: bytes, wanted: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != wanted.lower():
        raise EncoderError(
            f"The weights {path} have the SHA-256 {found}, but {wanted} is wanted. Restore the "
            "file, or change the hash if the new file is meant."
        )


def _header(path: Path, data: bytes) -> dict[str, object]:
    # The length of a header may begin with the same bytes; then the header's brace follows it.
    if data.startswith(_PICKLES) and data[8:9] != b"{":
        raise EncoderError(
            f"The weights {path} are a pickle, as torch.save() writes it, which can run any "
            "code when it is read. Save them with safetensors.torch.save_file() instead."
        )
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MAX_HEADER_BYTES, len(data) - 8):
        raise _damaged(path, "its header ends outside the file")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is no JSON") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no JSON object")
    end = max(
        (_end(path, name, header[name]) for name in header.keys() - {"__metadata__"}), default=0
    )
    if 8 + length + end != len(data):
        raise _damaged(path, f"it has {len(data)} bytes where its header says {8 + length + end}")
    return header


def _end(path: Path, name: str, entry: object) -> int:
    match entry:
        case {"data_offsets": [int(start), int(end)]} if 0 <= start <= end:
            return end
        case _:
            raise _damaged(path, f"its entry {name!r} has no valid data_offsets")


def _damaged(path: Path, reason: str) -> EncoderError:
    return EncoderError(
        f"The weights {path} are no whole safetensors file: {reason}. Copy or download them again."
    )
