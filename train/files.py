"""Paths on this machine, files that are written whole or not at all, and JSON that every parser reads."""

import json
import math
import os
import re
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from train.errors import UserError

# A scheme (`gs://`, and `gs:/` as pathlib writes it), `host:/folder` or `user@host:folder`, but not a drive of Windows.
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|[^/:]{2,}:/|[^/:]+@[^/:]+:")


class LocationError(UserError, ValueError):
    """A path that is not on this machine, or a folder that cannot be written."""


def local_path(path: str | os.PathLike[str], what: str) -> Path:
    """Returns a path on this machine, with `~` replaced by the home folder.

    Args:
      path: The path as it was given.
      what: The option that it was given for, such as `--runs`; the message begins with it.

    Raises:
      LocationError: If the path is a URL or another remote address, or if the home folder is unknown.
    """
    text = os.fspath(path)
    remote = _REMOTE.match(text)
    if remote is not None:
        raise LocationError(
            f"{what} is {text}: {remote[0]!r} begins a URL or a remote address, which is not supported. Expected a "
            "path on this machine: copy or mount the data, and pass the local path (an absolute one, if its name has "
            "a colon)."
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise LocationError(f"{what} is {text}: {error} Pass the path without `~`, or set HOME.") from error


def require_writable(folder: Path, what: str) -> None:
    """Checks that a folder can be written, or can be created and written; leaves nothing behind.

    Args:
      folder: The folder, which need not exist.
      what: The option that it was given for; the message begins with it.

    Raises:
      LocationError: If the folder, or the nearest existing folder above it, cannot be written.
    """
    try:
        existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"0")
    except OSError as error:
        raise LocationError(
            f"{what} is {folder}, which cannot be written: {error.strerror}. Check the path, its permissions and the "
            "space left, or name another folder."
        ) from error


def dumps(value: Any) -> str:
    """Strict JSON, one key a line, with null for numbers that are not finite.

    Raises:
      TypeError: for values that JSON has no form for.
    """
    return json.dumps(_plain(value), indent=1, allow_nan=False) + "\n"


def loads(data: bytes) -> Any:
    """The value of strict JSON in UTF-8.

    Raises:
      ValueError: if the bytes are anything else, the bare words NaN and Infinity included.
    """
    try:
        return json.loads(data.decode(), parse_constant=_reject)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a file such that a crash at any moment leaves the old one or the new one whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder to flush it.
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _plain(value: Any) -> Any:
    """The same value of Python's own types, with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _reject(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")
