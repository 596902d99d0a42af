"""The packed form of a group: two files in the group's folder instead of one folder per run.

* `runs.jsonl`, one run per line: the content of its `result.json`, with the history as columns;
* `steps.npz`: the arrays of all runs, under names such as `<arm>/seed-<n>/loss`.

A line has `arrays_sha256`, the checksum of the bytes of the run's `loss`, `momentum` and `below` in this order. It
replaces `steps_sha256`, the checksum of a compressed file.
"""

import functools
import hashlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from train import files
from train.errors import RecordError
from train.records import schema
from train.records.metrics import StepMetrics
from train.records.record import STEPS, Record, from_json, read_bytes
from train.records.steps import decode

RUNS = "runs.jsonl"
CHECKSUM = "arrays_sha256"
# Fields that may be missing in rows of the history. In a column, null means missing.
_OPTIONAL = ("skipped_steps",)


def group_dir(root: Path, name: str) -> Path:
    """The folder where the runs of an arm are packed.

    Args:
      root: folder of all runs.
      name: of the arm. The part before the slash is its group.
    """
    return root / name.partition("/")[0]


def array_prefix(name: str, seed: int) -> str:
    """The prefix of the names of a run's arrays."""
    return f"{name}/seed-{seed}/"


def checksum(steps: StepMetrics) -> str:
    """SHA-256 over the bytes of the arrays."""
    return hashlib.sha256(b"".join(np.asarray(values).tobytes() for values in steps)).hexdigest()


def to_line(result: dict[str, Any], steps: StepMetrics) -> dict[str, Any]:
    """The packed form of a record's JSON value."""
    rows = result["history"]
    columns = {key: [row.get(key) for row in rows] for key in dict.fromkeys(key for row in rows for key in row)}
    line = {key: value for key, value in result.items() if key != "steps_sha256"}
    return line | {"history": columns, CHECKSUM: checksum(steps)}


def from_line(line: dict[str, Any], path: Path | str) -> dict[str, Any]:
    """The JSON value of the record in a line, with the history as rows.

    Raises:
      RecordError: if the history is not an object of lists of equal length.
    """
    columns = line.get("history")
    if not isinstance(columns, dict) or not all(isinstance(column, list) for column in columns.values()):
        raise RecordError(f"{path}: `history` is {columns!r:.80}, expected an object of lists; {schema.ADVICE}")
    if len({len(column) for column in columns.values()}) > 1:
        raise RecordError(f"{path}: the lists of `history` are of different lengths; {schema.ADVICE}")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    present = [{k: v for k, v in row.items() if not (v is None and k in _OPTIONAL)} for row in rows]
    return line | {"history": present}


def lines_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """The position of each line of a `runs.jsonl`, for messages, and its bytes.

    Raises:
      RecordError: if the file cannot be read.
    """
    for number, line in enumerate(read_bytes(path).splitlines(), 1):
        yield f"{path}:{number}", line


def record_of(where: str, data: bytes, folder: Path) -> Record:
    """Reads the record in a line.

    Args:
      where: the position of the line, for messages.
      data: the bytes of the line.
      folder: the folder of the file.

    Raises:
      RecordError: if the line is damaged or foreign.
    """
    line = schema.loads(data, where)
    if not isinstance(line, dict):
        raise RecordError(f"{where}: no object, but another program's line; {schema.ADVICE}")
    result = schema.check(from_line(line, where), where, CHECKSUM)
    load = functools.partial(
        _load_steps, folder, array_prefix(result["name"], result["seed"]), len(result["history"]), result[CHECKSUM]
    )
    return from_json(result, where, folder, load)


def records_of_arm(root: Path, name: str, seed: int | None = None) -> list[Record]:
    """The packed records of one arm.

    Args:
      root: folder of all runs.
      name: name of the arm.
      seed: only the record of this seed. None means all.

    Raises:
      RecordError: if a line of it is damaged.
    """
    folder = group_dir(root, name)
    if not (folder / RUNS).exists():
        return []
    # Lines of other seeds are not parsed. A line without any seed is damaged, and parsing it says so.
    other_seed = re.compile(rb'"seed":\s*+(?!%d\b)' % seed if seed is not None else b"(?!)")
    lines = ((where, data) for where, data in lines_of(folder / RUNS) if not other_seed.search(data))
    found = (_record_of_arm(where, data, folder, name) for where, data in lines)
    return [record for record in found if record is not None and seed in (None, record.seed)]


def remove(root: Path, name: str, seeds: Collection[int]) -> None:
    """Remove runs of an arm from `runs.jsonl`, if they are there. Their arrays stay until the group is packed again."""
    if not {record.seed for record in records_of_arm(root, name)} & set(seeds):
        return
    path = group_dir(root, name) / RUNS
    kept = []
    for where, data in lines_of(path):
        record = _record_of_arm(where, data, path.parent, name)
        if record is None or record.seed not in seeds:
            kept.append(data + b"\n")
    files.write_atomically(path, b"".join(kept))


def _record_of_arm(where: str, data: bytes, folder: Path, name: str) -> Record | None:
    """The record in a line; None if it is a line of another arm, which is not checked."""
    # Groups are large, so only lines that may belong to this arm are parsed.
    if f'"{name}"'.encode() not in data:
        return None
    record = record_of(where, data, folder)
    return record if record.name == name else None


def _load_steps(folder: Path, prefix: str, epochs: int, expected: str) -> StepMetrics:
    path = folder / STEPS
    steps = decode(read_bytes(path), path, epochs, prefix)
    if checksum(steps) != expected:
        raise RecordError(f"{path}: {prefix}* does not belong to {RUNS} beside it; {schema.ADVICE}")
    return steps
