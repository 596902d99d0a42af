"""The folders of checkpoints: their names, and locks that keep two processes from training the same seeds.

Seeds that train together share a folder `<root>/<arm>/checkpoints/seeds-<n>-<n>...`, or `seeds-<first>..<last>` if they
are many. Its name ends with `-on-<d>` if each seed has d devices of its own. The lock of a folder lies beside it.
"""

import contextlib
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TextIO

from train.engine.placement import SeedSet
from train.errors import CheckpointError

_LOCK = ".lock"


def checkpoint_dir(root: Path, name: str, seed_set: SeedSet) -> Path:
    """Return the checkpoint folder of seeds that train together."""
    # A resumed run must know how its seeds were placed before it reads the checkpoint.
    devices = f"-on-{seed_set.devices}" if seed_set.apart else ""
    return root / name / "checkpoints" / f"seeds-{seed_set.in_words()}{devices}"


def begun_seed_sets(root: Path, name: str) -> list[SeedSet]:
    """List the sets of seeds of an arm that have checkpoints, in order. Devices that seeds share are unknown."""
    folders = sorted({path.parent for path in (root / name / "checkpoints").glob("seeds-*/*") if path.name.isdigit()})
    return _seed_sets(folder.name for folder in folders)


def claimed(root: Path, name: str, seeds: Collection[int]) -> contextlib.ExitStack:
    """Keep other processes from training any of these seeds of an arm until the result is closed.

    Raises:
      CheckpointError: If another process is training one of them, whether it has saved a checkpoint or not.
    """
    return _claim_each(_folders_with(root / name / "checkpoints", seeds))


def claim_seeds(folder: Path) -> contextlib.ExitStack:
    """Lock a folder, and every other folder of the same arm that shares a seed with it, until the result is closed.

    Raises:
      CheckpointError: If another process is training one of its seeds. Then nothing is locked.
    """
    seeds = [seed for each in _seed_sets([folder.name]) for seed in each.seeds]
    return _claim_each(dict.fromkeys([folder, *_folders_with(folder.parent, seeds)]))


def _claim_each(folders: Iterable[Path]) -> contextlib.ExitStack:
    with contextlib.ExitStack() as stack:
        for folder in folders:
            if (lock := claim(folder)) is not None:
                stack.enter_context(lock)
        return stack.pop_all()


def claim(folder: Path) -> TextIO | None:
    """Lock a folder with an open file; None if the file system does not support locks."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = (folder.parent / f".{folder.name}{_LOCK}").open("w")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise CheckpointError(f"{folder}: another process is training these seeds. Wait for it or stop it.") from error
    except (ImportError, OSError):  # Windows; some network file systems
        file.close()
        return None
    return file


def _folders_with(parent: Path, seeds: Collection[int]) -> list[Path]:
    """The folders of checkpoints, in a folder, whose names contain one of these seeds. They may have only a lock."""
    names = {path.name for path in parent.glob("seeds-*")}
    names |= {path.name[1 : -len(_LOCK)] for path in parent.glob(f".seeds-*{_LOCK}")}
    return [parent / name for name in sorted(names) for each in _seed_sets([name]) if {*each.seeds} & {*seeds}]


def _seed_sets(names: Iterable[str]) -> list[SeedSet]:
    """Make the sets of seeds from the names of their folders."""
    found = [re.fullmatch(r"seeds-(?:(\d+)\.\.(\d+)|(\d+(?:-\d+)*))(?:-on-(\d+))?", name) for name in names]
    return [_seed_set(*match.groups()) for match in found if match]


def _seed_set(first: str | None, last: str | None, listed: str, devices: str | None) -> SeedSet:
    seeds = range(int(first), int(last) + 1) if first and last else map(int, listed.split("-"))
    return SeedSet([*seeds], devices is not None, None if devices is None else int(devices))
