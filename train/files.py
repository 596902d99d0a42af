"""Local paths, atomic writes, and strict JSON."""

import json
import math
import os
import re
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from train.errors import LocationError

_TEMPORARY = ".tmp"
_NOT_LITERAL = "[]*?\\"

# A scheme (`gs://`, or `gs:/` as pathlib writes it), `host:/folder` or `user@host:folder`, but no Windows drive.
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:|[^/:]{2,}:/|[^/:]+@[^/:]+:")


def local_path(path: str | os.PathLike[str], what: str) -> Path:
    """Return a path on this machine, with `~` replaced by the home folder.

    Args:
      path: The path that the user gave.
      what: The option of this path, such as `--runs`. The error message begins with it.

    Raises:
      LocationError: If the path is a URL or another remote address, if the home folder is unknown, or if the path is
        not valid UTF-8.
    """
    text = os.fspath(path)
    if not _is_utf8(text):
        raise LocationError(f"{what} is {text!r}: not valid UTF-8. Rename the folder.")
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
        raise LocationError(f"{what} is {text}: {error} Pass a path without `~`, or set HOME.") from error


def require_writable(folder: Path, what: str) -> None:
    """Check that a folder can be written, or created and written. Leaves nothing behind.

    Args:
      folder: The folder, which need not exist.
      what: The option of this folder. The error message begins with it.

    Raises:
      LocationError: If the folder, or the nearest existing folder above it, cannot be written.
    """
    try:
        # A link that leads nowhere exists too: nothing can be created behind it.
        existing = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"0")
    except OSError as error:
        raise LocationError(
            f"{what} is {folder}, which cannot be written: {error.strerror}. Check the path, its permissions and the "
            "space left, or name another folder."
        ) from error


def require_literal(folder: Path, what: str) -> None:
    r"""Check that the libraries that write checkpoints take the path of a folder literally.

    Orbax takes it for a pattern when it completes a checkpoint, and TensorStore takes a backslash for a slash. In such
    a folder a checkpoint would seem to be saved, but could not be restored.

    Args:
      folder: The folder. The folders above it count too, also those of the working directory.
      what: The option of this folder. The error message begins with it.

    Raises:
      LocationError: If the absolute path has one of the characters `[ ] * ? \`, or is not valid UTF-8.
    """
    path = folder.absolute().as_posix()
    found = [character for character in _NOT_LITERAL if character in path]
    if found:
        raise LocationError(
            f"{what} is {path}: checkpoints cannot be restored from a path with {' or '.join(found)} in it. Rename the "
            "folder, or choose another one."
        )
    if not _is_utf8(path):
        raise LocationError(f"{what} is {path!r}: not valid UTF-8. Rename the folder, or choose another one.")


def dumps(value: Any) -> str:
    """Format a value as strict JSON, one key per line, with null for numbers that are not finite.

    Raises:
      TypeError: If JSON cannot represent a value.
    """
    return json.dumps(_plain(value), indent=1, allow_nan=False) + "\n"


def dumps_entries(value: Any, entries: Collection[str]) -> str:
    """Format a value as strict JSON, one entry per line, with null for numbers that are not finite.

    Args:
      value: The value to format.
      entries: Keys. Each key or item of their objects and lists is an entry. Elsewhere an object or list is in one line
        if it contains no further objects or lists. Otherwise each of its keys or items begins a new line.

    Raises:
      TypeError: If JSON cannot represent a value.
    """
    return _laid_out(_plain(value), entries, "\n", in_lines=False) + "\n"


def dumps_line(value: Any) -> str:
    """Format a value as strict JSON in one line, with null for numbers that are not finite.

    Raises:
      TypeError: If JSON cannot represent a value.
    """
    return json.dumps(_plain(value), allow_nan=False) + "\n"


def loads(data: bytes) -> Any:
    """Parse strict JSON in UTF-8.

    Raises:
      ValueError: If the bytes are not strict JSON. The words NaN and Infinity are not allowed.
    """
    try:
        return json.loads(data.decode(), parse_constant=_reject)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file atomically: a crash at any moment leaves either the old file or the new one complete.

    Raises:
      OSError: If the file cannot be written. The error contains its path.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        if hasattr(os, "O_DIRECTORY"):  # Windows cannot open and flush a folder.
            folder = os.open(path.parent, os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        # A failed write to an open file, for example on a full disk, does not name the file.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def files_named(name: str, root: Path) -> list[Path]:
    """Find the files with this name in a folder and in all folders below it, also behind symbolic links; sorted.

    A folder counts once. Its own path takes precedence over a link to it.
    """
    found, seen, links = [], set(), [os.fspath(root)]
    while links:
        for place, folders, names in os.walk(links.pop(0)):
            real = os.path.realpath(place)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            # `os.walk` does not enter links. They come after all real folders.
            links += sorted(path for folder in folders if os.path.islink(path := os.path.join(place, folder)))
            if name in names:
                found.append(Path(place) / name)
    return sorted(found)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed `write_atomically` left in a folder that no other process writes to."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        path.unlink(missing_ok=True)


def _is_utf8(path: str) -> bool:
    """Whether a path can be written in UTF-8. Python decodes other bytes of a file name as surrogates."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _laid_out(value: Any, entries: Collection[str], newline: str, *, in_lines: bool) -> str:
    """Format a plain value. `newline` includes the indentation, and `in_lines` puts each item on its own line."""
    if isinstance(value, dict):
        items = [(f"{json.dumps(key)}: ", key, item) for key, item in value.items()]
    else:
        items = [("", None, item) for item in value] if isinstance(value, list) else []
    if not items or not (in_lines or any(isinstance(item, dict | list) for _, _, item in items)):
        return json.dumps(value, allow_nan=False)
    start, end = "{}" if isinstance(value, dict) else "[]"
    lines = [
        label
        + (
            json.dumps(item, allow_nan=False)
            if in_lines
            else _laid_out(item, entries, f"{newline} ", in_lines=key in entries)
        )
        for label, key, item in items
    ]
    return start + ",".join(f"{newline} {line}" for line in lines) + newline + end


def _plain(value: Any) -> Any:
    """Convert a value to Python's own types, with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _reject(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")
