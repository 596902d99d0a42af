"""Packs the runs of groups without loss: the folder of a run becomes a line in one file and arrays in another."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from train import files
from train.errors import RecordError
from train.records import packed
from train.records.events import remove_events
from train.records.metrics import StepMetrics
from train.records.record import RESULT, STEPS, Record, read, read_bytes
from train.records.schema import loads
from train.records.trials import PACKED, TRIALS, read_packed, read_trials, write_packed


class Packed(NamedTuple):
    """One group after packing.

    Attributes:
      path: Its `runs.jsonl`.
      runs: Number of runs in it.
      added: Number of runs that had their own folder until now.
    """

    path: Path
    runs: int
    added: int


class _Run(NamedTuple):
    line: dict[str, Any]
    steps: StepMetrics


_Runs = dict[tuple[str, int], _Run]


def pack(folder: Path) -> list[Packed]:
    """Packs all unpacked runs under a folder, each into the `runs.jsonl` of its group.

    The files of a group are replaced, read back and compared before any folder of a run is removed. A crash at any
    moment leaves every run in at least one form, and packing can be repeated. TensorBoard's files, which repeat the
    history, are removed with the folders.

    Args:
      folder: the folder of all runs, or of one group.

    Returns:
      The groups under the folder, including those that were packed before.

    Raises:
      RecordError: if there is nothing to pack, or if a run is damaged, unfinished, in the wrong folder, or already
        packed with other content. Nothing is changed then. Also if a written file, read back, differs from what was
        written. Then the runs of its group are not removed.
    """
    folder = folder.resolve()
    groups: dict[Path, list[Path]] = {path.parent: [] for path in files.files_named(packed.RUNS, folder)}
    for path in files.files_named(RESULT, folder):
        groups.setdefault(_group_of(read(path), path, folder), []).append(path)
    if not groups:
        raise RecordError(f"{folder}: no {RESULT} in it; train an arm or name another folder")
    before = {group: _packed_runs(group) for group in sorted(groups)}
    added = {group: {path: _loose_run(path) for path in paths} for group, paths in groups.items()}
    after = {group: _together(runs, added[group]) for group, runs in before.items()}
    trials = {group: _loose_trials(group) for group in after}
    for group, runs in after.items():
        if added[group]:
            _write(group, runs)
        if trials[group]:
            _write_trials(group, trials[group])
        for path in added[group]:
            _remove(path, group)
    return [Packed(group / packed.RUNS, len(runs), len(runs) - len(before[group])) for group, runs in after.items()]


def _group_of(record: Record, path: Path, folder: Path) -> Path:
    """The folder of a run's group."""
    own = Path(record.name) / f"seed-{record.seed}"
    if path.parent.parts[-len(own.parts) :] != own.parts:
        raise RecordError(f"{path}: expected in a folder {own}, where it would be looked for; move it there")
    group = packed.group_dir(path.parent.parents[len(own.parts) - 1], record.name)
    if not group.is_relative_to(folder):
        raise RecordError(f"{folder}: a part of the group in {group}; pack that folder, whole")
    return group


def _loose_run(path: Path) -> _Run:
    """A run in its own folder, completely checked."""
    record, result = read(path), loads(read_bytes(path), path)
    if not record.finished:
        raise RecordError(
            f"{path}: {len(record.history)} of {record.config['epochs']} epochs done; finish the run, or move its "
            "folder away"
        )
    line = packed.to_line(result, record.steps)
    kept = packed.from_line(line, path)
    if any(kept.get(key) != value for key, value in result.items() if key != "steps_sha256"):
        raise RecordError(f"{path}: the rows of `history` have different fields, which columns cannot hold")
    return _Run(line, record.steps)


def _packed_runs(folder: Path) -> _Runs:
    """The runs that are packed in a group's folder."""
    path, runs = folder / packed.RUNS, {}
    if path.exists():
        for where, data in packed.lines_of(path):
            record = packed.record_of(where, data, folder)
            if (record.name, record.seed) in runs:
                raise RecordError(f"{where}: the same arm and seed as an earlier line; keep one")
            runs[record.name, record.seed] = _Run(loads(data, where), record.steps)
    return runs


def _together(runs: _Runs, added: dict[Path, _Run]) -> _Runs:
    """Merges packed and added runs, ordered by arm and seed."""
    together = dict(runs)
    for path, run in added.items():
        if together.setdefault((run.line["name"], run.line["seed"]), run).line != run.line:
            raise RecordError(f"{path}: another run with this arm and seed is packed in {packed.RUNS}; keep one")
    return dict(sorted(together.items()))


def _write(folder: Path, runs: _Runs) -> None:
    """Writes the packed form, and reads it back.

    Raises:
      RecordError: if the content read back differs from the content written.
    """
    arrays = {
        f"{packed.array_prefix(*key)}{name}": getattr(run.steps, name)
        for key, run in runs.items()
        for name in ("loss", "momentum", "below")
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    # Write the lines last. Old lines still find their arrays, and new lines only refer to arrays that exist.
    files.write_atomically(folder / STEPS, buffer.getvalue())
    files.write_atomically(folder / packed.RUNS, "".join(files.dumps_line(run.line) for run in runs.values()).encode())
    for (key, run), (other_key, other) in zip(runs.items(), _packed_runs(folder).items(), strict=True):
        # Equal lines have equal checksums, and the steps of each run were checked against them.
        if key != other_key or run.line != other.line:
            raise RecordError(f"{folder / packed.RUNS}: read back, it is not what was written; no run was removed")


def _loose_trials(folder: Path) -> dict[Path, dict[str, Any]]:
    """The results of a group's trials that are in their own files."""
    return {path: read_trials(path) for path in files.files_named(TRIALS, folder)}


def _write_trials(folder: Path, loose: dict[Path, dict[str, Any]]) -> None:
    """Moves the results of a group's trials into one file."""
    # If an arm was tuned again, its own file is newer.
    own = {path.parent.relative_to(folder.parent).as_posix(): trials for path, trials in loose.items()}
    together = read_packed(folder) | own
    write_packed(folder, together)
    if read_packed(folder) != together:
        raise RecordError(f"{folder / PACKED}: read back, it is not what was written; nothing was removed")
    for path in loose:
        path.unlink()


def _remove(path: Path, group: Path) -> None:
    """Removes the files of a run, the record first, and then empty folders up to a link."""
    for name in (RESULT, STEPS):
        path.with_name(name).unlink(missing_ok=True)
    remove_events(path.parent)
    folder = path.parent
    while folder != group and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
