"""Save and restore checkpoints of runs. No other module uses Orbax.

Seeds that train together share a folder (`train.engine.checkpoint_folders`). In it, each checkpoint has a numbered
folder with the state, the metrics of every step so far, the history and the settings. Orbax writes it under another
name and renames it when it is complete, so a kill does not damage earlier checkpoints.
"""

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from train.engine.checkpoint_folders import claim_seeds
from train.engine.state import TrainState
from train.errors import CheckpointError
from train.files import require_literal
from train.records.metrics import STEP_DTYPES, EpochMetrics, StepMetrics

_KEPT = 2
_STATE_ROWS = "state_rows"
_UNFINISHED = ".orbax-checkpoint-tmp"
_SYSTEM_CAUSES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether to keep a log record. Errors that Orbax also raises are dropped, because `Checkpoints` reports them."""
    return not (record.exc_info and "orbax" in Path(record.pathname).parts)


logging.getLogger("absl").addFilter(_is_news)


class Snapshot(NamedTuple):
    """The contents of a checkpoint."""

    state: TrainState  # with a leading axis of seeds, [rows]; rows after the last seed are idle
    metrics: StepMetrics  # NumPy arrays, [seeds, steps so far]
    history: list[list[EpochMetrics]]  # one list per epoch, with one row per seed
    config: dict[str, Any]  # the settings of the run


class Checkpoints:
    """Save and restore the snapshots of one set of seeds. Locks the folder until it is closed.

    Args:
      folder: The folder, from `checkpoint_folders.checkpoint_dir`.

    Raises:
      CheckpointError: If the folder cannot be written, or another process is training these seeds.
      LocationError: If a checkpoint could not be restored from a folder with this path.
    """

    def __init__(self, folder: Path):
        require_literal(folder, "The folder of the checkpoints")
        self.folder = folder
        with _as_checkpoint_error(folder):
            self._locks = claim_seeds(folder) if jax.process_index() == 0 else contextlib.ExitStack()
            if jax.process_index() == 0:
                # No other process writes here, so unfinished folders were left by a crash.
                for path in folder.glob(f"*{_UNFINISHED}*"):
                    shutil.rmtree(path)
            self._manager = ocp.CheckpointManager(
                folder.absolute(),
                options=ocp.CheckpointManagerOptions(max_to_keep=_KEPT, create=True),
                item_names=("arrays", "history"),
            )

    def save(self, snapshot: Snapshot) -> None:
        """Begin to save a snapshot. Returns as soon as the arrays are copied from the device.

        Raises:
          CheckpointError: If this checkpoint or the previous one could not be written.
        """
        arrays = {"state": _plain(snapshot.state), "steps": snapshot.metrics._asdict()}
        rows = [[row.to_json() for row in epoch] for epoch in snapshot.history]
        # The number of rows depends on the number of processes, and a run may resume with another number.
        history = {"rows": rows, "config": snapshot.config, _STATE_ROWS: len(snapshot.state.step)}
        with _as_checkpoint_error(self.folder):
            self._manager.save(
                snapshot.metrics.loss.shape[1],
                args=ocp.args.Composite(arrays=ocp.args.StandardSave(arrays), history=ocp.args.JsonSave(history)),
            )

    def wait(self) -> None:
        """Wait until all saved snapshots are on disk.

        Raises:
          CheckpointError: If one could not be written.
        """
        with _as_checkpoint_error(self.folder):
            self._manager.wait_until_finished()

    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, None if there is none."""
        return self._manager.latest_step()

    def newest_folder(self) -> Path | None:
        """Wait until all snapshots are on disk and return the folder of the newest; None if there is none."""
        with contextlib.suppress(CheckpointError):
            self.wait()
        steps = _steps_on_disk(self.folder)
        return self.folder / str(steps[-1]) if steps else None

    def config(self) -> dict[str, Any] | None:
        """The settings of the newest checkpoint that can be read."""
        for step in sorted(self._manager.all_steps(), reverse=True):
            with contextlib.suppress(Exception):  # damaged; `restore` reports it
                return self._read_history(step)["config"]
        return None

    def restore(self, like: TrainState, report: Callable[[str], None], *, seeds: int | None = None) -> Snapshot | None:
        """Read the newest checkpoint that is not damaged. Newer, damaged ones are reported and moved away.

        Args:
          like: A state with the right structure, shapes, dtypes and shardings.
          report: A function that is called with one sentence per damaged checkpoint.
          seeds: Number of seeds. None means one per row of the state.

        Returns:
          The snapshot, or None if there is none.

        Raises:
          CheckpointError: If there are checkpoints but none can be read. Then none is moved.
        """
        damaged: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                snapshot = self._read(step, like, len(like.step) if seeds is None else seeds)
            except MemoryError:
                raise
            # Orbax, TensorStore and the JSON parser raise many types for damaged files. Try an older checkpoint.
            except Exception as error:
                if "RESOURCE_EXHAUSTED" in str(error):
                    raise
                damaged[step] = _reason(error)
                continue
            for each, reason in damaged.items():
                aside = self._set_aside(each)
                report(f"{self.folder / str(each)} is damaged and was moved to {aside} ({reason}).")
            return snapshot
        if damaged:
            raise CheckpointError(
                f"{self.folder}: none of its checkpoints can be read ({next(iter(damaged.values()))}). Check the disk, "
                "or pass --fresh to begin again."
            )
        return None

    def _set_aside(self, step: int) -> Path:
        """Move a checkpoint to another folder. It is not deleted, because it may be readable later."""
        aside = self.folder.with_name(f"{self.folder.name}-damaged") / str(step)
        with _as_checkpoint_error(self.folder):
            if jax.process_index() == 0:
                shutil.rmtree(aside, ignore_errors=True)
                aside.parent.mkdir(exist_ok=True)
                (self.folder / str(step)).rename(aside)
            multihost_utils.sync_global_devices(str(aside))
            self._manager.reload()
        return aside

    def close(self) -> None:
        """Stop the manager's threads and unlock the folder."""
        self._manager.close()
        self._locks.close()

    def _read(self, step: int, like: TrainState, seeds: int) -> Snapshot:
        history = self._read_history(step)
        rows = history.get(_STATE_ROWS, seeds)
        abstract = {
            "state": [_placeholder(rows, x.shape[1:], x.dtype) for x in _plain(like)],
            "steps": {
                field: _placeholder(seeds, (step,), dtype)
                for field, dtype in zip(StepMetrics._fields, STEP_DTYPES, strict=True)
            },
        }
        # Each process reads everything, so that a damaged checkpoint fails in all of them.
        restored = self._manager.restore(step, args=ocp.args.Composite(arrays=ocp.args.StandardRestore(abstract)))
        arrays = restored["arrays"]
        state = jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(arrays["state"]))
        return Snapshot(
            state=jax.tree.map(lambda x, target: _on_rows(x, target, seeds), state, like),
            metrics=StepMetrics(**arrays["steps"]),
            history=[[EpochMetrics(**row) for row in epoch] for epoch in history["rows"]],
            config=history["config"],
        )

    def _read_history(self, step: int) -> dict[str, Any]:
        return self._manager.restore(step, args=ocp.args.Composite(history=ocp.args.JsonRestore()))["history"]


def _placeholder(rows: int, shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
    """Make a placeholder with the shape and dtype of an array in a checkpoint, without its memory."""
    return np.broadcast_to(np.zeros((), dtype), (rows, *shape))


def _on_rows(restored: np.ndarray, like: jax.Array, seeds: int) -> jax.Array:
    """Place a NumPy array like another array, which may have another number of rows.

    Rows after the last seed repeat it.
    """
    rows = np.minimum(np.arange(len(like)), seeds - 1)

    def part(index: Any) -> np.ndarray:
        return restored[rows[index[0]]][:, *index[1:]]

    return jax.make_array_from_callback(like.shape, like.sharding, part)


def _plain(state: TrainState) -> list[jax.Array]:
    """Return the arrays alone, because their containers in Flax and Optax may change between versions."""
    return jax.tree.leaves(state)


@contextlib.contextmanager
def _as_checkpoint_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        kept = _steps_on_disk(folder)
        there = f"the checkpoint of step {kept[-1]} is still there" if kept else "there is no checkpoint yet"
        raise CheckpointError(f"{folder} cannot be written ({_reason(error)}); {there}.") from error


def _steps_on_disk(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def _reason(error: BaseException) -> str:
    """Give the cause in a few words: the operating system's, if a long Orbax or TensorStore message contains it."""
    text = str(error)
    for code in _SYSTEM_CAUSES:
        if os.strerror(code) in text:
            return os.strerror(code)
    return f"{type(error).__name__}: {text}".splitlines()[0][:200]
