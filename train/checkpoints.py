"""Checkpoints of runs; the only room that knows Orbax.

A cohort, the seeds that run together as one program, has a folder `<root>/<arm>/checkpoints/seeds-<n>-<n>...`, and in
it one numbered folder a checkpoint: the state, every step so far, the history and the settings. Orbax writes each under
another name and renames it when whole, so a kill leaves those before it.
"""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from train.epoch import StepMetrics
from train.state import TrainState

_KEPT = 2


class CheckpointError(RuntimeError):
    """A checkpoint that could not be written: the message says where, why, and what is still there."""


class Snapshot(NamedTuple):
    """What a checkpoint holds."""

    state: TrainState  # with a leading axis of seeds, [seeds]
    steps: StepMetrics  # NumPy, [seeds, steps so far]
    rows: list[list[dict[str, Any]]]  # the history: epochs, in each the row of every seed
    config: dict[str, Any]  # the settings it was made with


def cohort_dir(root: Path, name: str, seeds: Sequence[int]) -> Path:
    """The folder of the checkpoints of seeds that run together."""
    return root / name / "checkpoints" / ("seeds-" + "-".join(map(str, seeds)))


def begun_cohorts(root: Path, name: str) -> list[list[int]]:
    """The sets of seeds of an arm that have checkpoints, in order."""
    folders = sorted((root / name / "checkpoints").glob("seeds-*"))
    names = [re.fullmatch(r"seeds-(\d+(?:-\d+)*)", folder.name) for folder in folders]
    return [[int(seed) for seed in match[1].split("-")] for match in names if match]


class Checkpoints:
    """Saves and restores the snapshots of one cohort.

    Args:
      folder: See `cohort_dir`.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        with _told(folder):
            self._manager = ocp.CheckpointManager(
                folder.absolute(),
                options=ocp.CheckpointManagerOptions(max_to_keep=_KEPT, create=True),
                item_names=("arrays", "history"),
            )

    def save(self, snapshot: Snapshot) -> None:
        """Begin to save; returns when the arrays were copied off the device.

        Raises:
          CheckpointError: If this one, or the one before it, could not be written.
        """
        arrays = {"state": _plain(snapshot.state), "steps": snapshot.steps._asdict()}
        history = {"rows": snapshot.rows, "config": snapshot.config}
        with _told(self.folder):
            self._manager.save(
                int(snapshot.state.step[0]),
                args=ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), history=ocp.args.JsonSave(history)),
            )

    def wait(self) -> None:
        """Return when all that was begun is on disk.

        Raises:
          CheckpointError: If it could not be written.
        """
        with _told(self.folder):
            self._manager.wait_until_finished()

    def latest(self) -> int | None:
        """The step of the newest checkpoint, None if there is none."""
        return self._manager.latest_step()

    def config(self) -> dict[str, Any] | None:
        """The settings of the newest checkpoint that can be read."""
        for step in sorted(self._manager.all_steps(), reverse=True):
            with contextlib.suppress(Exception):  # damaged, of which `restore` will tell
                return self._read_history(step)["config"]
        return None

    def restore(self, like: TrainState, report: Callable[[str], None]) -> Snapshot | None:
        """Read the newest checkpoint that is whole; damaged ones are reported and set aside.

        Args:
          like: A state of the right structure, shapes, dtypes and shardings.
          report: Takes a sentence about each damaged checkpoint.

        Returns:
          The snapshot, or None if there is none.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                return self._read(step, like)
            # Whatever Orbax, TensorStore or the JSON parser says of a damaged file: it is told, and an older one tried.
            except Exception as error:
                aside = self._set_aside(step)
                report(f"{self.folder / str(step)} is damaged and was moved to {aside} ({_first_line(error)}).")
        return None

    def _set_aside(self, step: int) -> Path:
        """Move a checkpoint to where nobody looks for one: what could not be read today may be readable tomorrow."""
        aside = self.folder.with_name(f"{self.folder.name}-damaged") / str(step)
        with _told(self.folder):
            if jax.process_index() == 0:
                shutil.rmtree(aside, ignore_errors=True)
                aside.parent.mkdir(exist_ok=True)
                (self.folder / str(step)).rename(aside)
            multihost_utils.sync_global_devices(str(aside))
            self._manager.reload()
        return aside

    def clear(self) -> None:
        """Remove all checkpoints."""
        for step in self._manager.all_steps():
            self._manager.delete(step)

    def close(self) -> None:
        """Release the manager's threads."""
        self._manager.close()

    def _read(self, step: int, like: TrainState) -> Snapshot:
        seeds = len(like.step)
        steps = {
            field: jax.ShapeDtypeStruct((seeds, step), dtype, sharding=like.step.sharding)
            for field, dtype in (("loss", np.float32), ("momentum", np.float32), ("below", np.bool_))
        }
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), {"state": _plain(like)}
        )
        arrays = self._manager.restore(
            step, args=ocp.args.Composite(arrays=ocp.args.StandardRestore({**abstract, "steps": steps}))
        )["arrays"]
        history = self._read_history(step)
        tree = jax.tree.structure(like)
        return Snapshot(
            state=jax.tree.unflatten(tree, jax.tree.leaves(arrays["state"])),
            steps=StepMetrics(**{field: np.asarray(value) for field, value in arrays["steps"].items()}),
            rows=history["rows"],
            config=history["config"],
        )

    def _read_history(self, step: int) -> dict[str, Any]:
        return self._manager.restore(step, args=ocp.args.Composite(history=ocp.args.JsonRestore()))["history"]


def _plain(state: TrainState) -> list[jax.Array]:
    """The arrays alone: what Flax and Optax wrap around them may change between versions."""
    return jax.tree.leaves(state)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        kept = sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())
        there = f"the checkpoint of step {kept[-1]} is still there" if kept else "there is no checkpoint yet"
        raise CheckpointError(f"{folder} cannot be written ({_first_line(error)}); {there}.") from error


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
