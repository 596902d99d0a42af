"""Finds records of runs in their own folders or in packed form."""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

from train import files
from train.errors import RecordError
from train.records import packed
from train.records.record import RESULT, Record, read, run_dir


def find(root: Path, name: str, seed: int) -> Record | None:
    """Finds the record of one run; None if there is none.

    The run's own folder takes precedence over the packed form, because a repeated run is newer.

    Args:
      root: folder of all runs.
      name: name of the arm.
      seed: seed of the run.

    Raises:
      RecordError: if the record is damaged.
    """
    path = run_dir(root, name, seed) / RESULT
    if path.exists():
        return read(path)
    return next(iter(packed.records_of_arm(root, name, seed)), None)


def root_of(record: Record) -> Path | None:
    """The folder of all runs that a record was read from; None if it was not read from a file."""
    if record.folder is None:
        return None
    own, folder = Path(record.name) / f"seed-{record.seed}", record.folder.absolute()
    # A packed record is in the folder of its group.
    return folder.parents[len(own.parts) - 1] if folder.parts[-len(own.parts) :] == own.parts else folder.parent


def has_runs(root: Path, name: str) -> bool:
    """Whether an arm has any record.

    Raises:
      RecordError: if a packed one is damaged.
    """
    return any((root / name).glob(f"seed-*/{RESULT}")) or bool(packed.records_of_arm(root, name))


def of_arm(root: Path, name: str) -> list[Record]:
    """Finds the records of an arm that can be used, one per seed, ordered by seed."""
    found: dict[int, Record] = {}
    with contextlib.suppress(RecordError):
        found |= {record.seed: record for record in packed.records_of_arm(root, name)}
    for path in (root / name).glob(f"seed-*/{RESULT}"):
        with contextlib.suppress(RecordError):
            record = read(path)
            found[record.seed] = record
    return [found[seed] for seed in sorted(found)]


def read_all(root: Path, *, damaged: list[RecordError] | None = None) -> list[Record]:
    """Reads all records under a folder, ordered by arm and seed.

    Args:
      root: folder of runs, or of some of them.
      damaged: collects the error of each record that cannot be used. If None, the first error is raised.

    Raises:
      RecordError: if there is no record at all, or one is damaged and `damaged` is None.
    """
    records: dict[tuple[str, int], Record] = {}
    empty = True
    for found in _each(root):
        empty = False
        try:
            if isinstance(found, RecordError):
                raise found
            earlier = records.setdefault((found.name, found.seed), found)
            if earlier is not found:
                raise RecordError(
                    f"{found.folder}: the same arm and seed as {earlier.folder}: {found.name}, seed {found.seed}; "
                    "keep one"
                )
        except RecordError as error:
            if damaged is None:
                raise
            damaged.append(error)
    if empty:
        if not root.is_dir():
            what = "a file" if root.exists() else "no such folder"
            raise RecordError(f"{root}: {what}; expected a folder of runs; train an arm or name another folder")
        raise RecordError(f"{root}: no {RESULT} or {packed.RUNS} in it; train an arm or name another folder")
    return [records[key] for key in sorted(records)]


def discard(root: Path, name: str, seeds: Collection[int]) -> None:
    """Remove the records of some runs of an arm, if there are any.

    Raises:
      RecordError: if a packed record of the arm is damaged.
    """
    for seed in seeds:
        (run_dir(root, name, seed) / RESULT).unlink(missing_ok=True)
    packed.remove(root, name, seeds)


def _each(root: Path) -> Iterator[Record | RecordError]:
    """Every record under a folder, or its error. Records in their own folders come first."""
    for path in files.files_named(RESULT, root):
        try:
            yield read(path)
        except RecordError as error:
            yield error
    for path in files.files_named(packed.RUNS, root):
        try:
            lines = [*packed.lines_of(path)]
        except RecordError as error:
            yield error
            continue
        for where, data in lines:
            try:
                yield packed.record_of(where, data, path.parent)
            except RecordError as error:
                yield error
