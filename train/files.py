"""Files that are written whole or not at all, and JSON that every parser reads."""

import json
import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

import numpy as np


def dumps(value: Any) -> str:
    """Strict JSON, one key a line, with null for numbers that are not finite.

    Raises:
      TypeError: for values that JSON has no form for.
    """
    return json.dumps(_plain(value), indent=1, allow_nan=False) + "\n"


def dumps_entries(value: Any, entries: Collection[str]) -> str:
    """Strict JSON for many entries, an entry a line, with null for numbers that are not finite.

    Args:
      value: What to write.
      entries: The keys whose objects and lists hold the entries. Elsewhere there is a key or an item per line, but
        what holds no further objects or lists is in one line.

    Raises:
      TypeError: for values that JSON has no form for.
    """
    return _laid_out(_plain(value), entries, "\n", in_lines=False) + "\n"


def dumps_line(value: Any) -> str:
    """Strict JSON in one line, with null for numbers that are not finite.

    Raises:
      TypeError: for values that JSON has no form for.
    """
    return json.dumps(_plain(value), allow_nan=False) + "\n"


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


def _laid_out(value: Any, entries: Collection[str], newline: str, *, in_lines: bool) -> str:
    """The JSON of a plain value; `newline` is followed by its indentation, `in_lines` gives each item one line."""
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
