"""Files that are written whole or not at all, and JSON that every parser reads."""

import json
import math
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

_TEMPORARY = ".tmp"


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
    """Replace a file such that a crash at any moment leaves the old one or the new one whole.

    Raises:
      OSError: With the path in it, if the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        if hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder to flush it.
            folder = os.open(path.parent, os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        # A write to an open file, such as one to a full disk, fails without a name.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a kill during `write_atomically` left in a folder that nobody else writes to."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        path.unlink(missing_ok=True)


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
