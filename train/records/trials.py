"""The results of the trials of tuned arms: one file per arm, or packed, one line per arm in the group's folder."""

from pathlib import Path
from typing import Any

from train import files
from train.errors import RecordError
from train.records.packed import group_dir
from train.records.record import read_bytes

TRIALS = "trials.json"
PACKED = "trials.jsonl"
_ADVICE = "remove it, and run the arm again to write it again"


def write_trials(root: Path, name: str, trials: dict[str, Any]) -> None:
    """Write the results of an arm's trials to `trials.json` in its folder."""
    path = root / name / TRIALS
    path.parent.mkdir(parents=True, exist_ok=True)  # A packed arm has no folder.
    files.write_atomically(path, files.dumps(trials).encode())


def find_trials(root: Path, name: str) -> dict[str, Any] | None:
    """The results of an arm's trials; None if there is no file.

    Raises:
      RecordError: if a file cannot be read, or is damaged.
    """
    path = root / name / TRIALS
    return read_trials(path) if path.exists() else read_packed(group_dir(root, name)).get(name)


def read_trials(path: Path) -> dict[str, Any]:
    """The content of one `trials.json`.

    Raises:
      RecordError: if it cannot be read, or is damaged.
    """
    return _object(read_bytes(path), path)


def read_packed(folder: Path) -> dict[str, dict[str, Any]]:
    """The results of a group's trials, by arm, from its `trials.jsonl`; empty without this file.

    Raises:
      RecordError: if it cannot be read, or is damaged.
    """
    path = folder / PACKED
    found: dict[str, dict[str, Any]] = {}
    if path.exists():
        for number, data in enumerate(read_bytes(path).splitlines(), 1):
            line = _object(data, f"{path}:{number}")
            name = line.pop("name", None)
            if not isinstance(name, str):
                raise RecordError(f"{path}:{number}: `name` is {name!r:.80}, expected an arm; {_ADVICE}")
            found[name] = line
    return found


def write_packed(folder: Path, trials: dict[str, dict[str, Any]]) -> None:
    """Write the results of a group's trials to its `trials.jsonl`, one line per arm."""
    lines = [files.dumps_line({"name": name, **trials[name]}) for name in sorted(trials)]
    files.write_atomically(folder / PACKED, "".join(lines).encode())


def _object(data: bytes, where: Path | str) -> dict[str, Any]:
    try:
        value = files.loads(data)
    except ValueError as error:
        raise RecordError(f"{where}: damaged, not strict JSON: {error}; {_ADVICE}") from error
    if not isinstance(value, dict):
        raise RecordError(f"{where}: no object, but another program's; {_ADVICE}")
    return value
