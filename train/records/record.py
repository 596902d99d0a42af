"""The stored data of a run: its record as JSON, and the metrics of every step as arrays.

Each run has its own folder, `<root>/<arm>/seed-<n>/`:

* `result.json`, strict JSON: the settings, versions, device and history of the run;
* `steps.npz`: loss, momentum and side of the mean of every step;
* `events.out.tfevents.*`: the history for TensorBoard, see `train.records.events`.

The first two are replaced atomically: a killed run leaves either the old file or the new one.
"""

import dataclasses
import functools
import hashlib
import math
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from train import files
from train.errors import RecordError
from train.records import provenance, schema, stages
from train.records.metrics import EpochMetrics, StepMetrics
from train.records.steps import decode, encode

RESULT = "result.json"
STEPS = "steps.npz"
# The key of the data's fingerprint in `Record.versions`.
FINGERPRINT = "dataset_fingerprint"
# The key in `Record.device` of the seeds of the vmapped program that trained the run.
VMAPPED = "vmapped_seeds"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One run of one arm with one seed.

    Attributes:
      name: the arm, in general `group/arm`.
      group: the name of the group. Its arms are compared with each other.
      seed: the seed of all random draws of the run.
      config: every field of the experiment except `seeds` and `vmap_seeds`, as JSON values.
      versions: the versions of Python, of the packages that affect the numbers, and of the data set.
      device: the devices of the run. `platform` and `kind` describe one device. `count` is the number of devices that
        split each batch of this run. `available` is the number of devices of all processes. `cores` is the number of
        CPU cores of this process. `process_count` is the number of processes. `vmapped_seeds` lists the seeds of the
        vmapped program that trained this run. It is empty if the run had its own program. On a CPU, `count`,
        `available` and `cores` affect the rounding. `vmapped_seeds` affects it on every platform. Older records lack
        `available`, `cores` and `vmapped_seeds`, and their values are unknown.
      command: the command that repeats the run.
      donor_seed: for a control, the seed of the run that gave it its momenta; None for other arms.
      history: one row per epoch. Numbers that are not finite are read back as nan.
      folder: where the record was read from; None if it was not read from disk.
      load_steps: reads the steps; None if the record was not read from disk.
    """

    name: str
    group: str
    seed: int
    config: dict[str, Any]
    versions: dict[str, str]
    device: dict[str, Any]
    command: str
    history: list[EpochMetrics]
    donor_seed: int | None = None
    folder: Path | None = dataclasses.field(default=None, compare=False)
    load_steps: Callable[[], StepMetrics] | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def final_test_error(self) -> float:
        """Test error after the last epoch, in percent."""
        return self.history[-1].test_error

    @property
    def best_test_error(self) -> float:
        """Lowest test error of any epoch, in percent. It is selected on the test set and therefore optimistic."""
        errors = (epoch.test_error for epoch in self.history)
        return min((error for error in errors if math.isfinite(error)), default=math.nan)

    @property
    def finished(self) -> bool:
        """Whether all epochs of the settings were run."""
        return len(self.history) == self.config["epochs"]

    @property
    def skipped_steps(self) -> int:
        """Number of steps that were skipped because a number was not finite."""
        return sum(row.skipped_steps or 0 for row in self.history)

    @property
    def lost_rates(self) -> tuple[float, ...]:
        """Learning rates of the step schedule that a finished run was too short to use. Empty for other runs."""
        if self.config.get("schedule") != "step" or not self.finished:
            return ()
        return stages.not_among(self.config["learning_rate"], (epoch.learning_rate for epoch in self.history))

    @functools.cached_property
    def steps(self) -> StepMetrics:
        """Every step of the run, read from disk at first use.

        Raises:
          RecordError: if the file is missing or is not the one that was written with the record.
        """
        if self.load_steps is None:
            raise RecordError(f"{self.name}, seed {self.seed}: read a written record for its steps")
        return self.load_steps()


def run_dir(root: Path, name: str, seed: int) -> Path:
    """The folder of one run.

    Raises:
      ValueError: if the name could leave the root or the seed is negative.
    """
    if not schema.NAME.fullmatch(name):
        raise ValueError(f"arm name {name!r}: expected words of A-Za-z0-9_.+=- joined by slashes")
    if seed < 0:
        raise ValueError(f"seed {seed}: expected zero or more")
    return root / name / f"seed-{seed}"


def environment(devices: int | None = None) -> dict[str, dict[str, Any]]:
    """The `versions` and the `device` of this process, named as in `Record`.

    Args:
      devices: Number of devices in use; None means all.
    """
    import jax

    import lcam_optax

    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    device = jax.devices()[0]
    return {
        "versions": {
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in packages},
            "lcam_optax": lcam_optax.__version__,
        },
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": devices or jax.device_count(),
            "available": jax.device_count(),
            "cores": provenance.cores(),
            "process_count": jax.process_count(),
        },
    }


def write(root: Path, record: Record, steps: StepMetrics) -> Path:
    """Writes the record and the steps of a run, replacing earlier ones.

    Args:
      root: folder of all runs.
      record: the run so far; numbers in the history may be nan or infinite.
      steps: all its steps, the same number for each epoch of the history.

    Returns:
      The path of `result.json`.

    Raises:
      RecordError: if `read` would refuse the record. Nothing is written then.
    """
    path = run_dir(root, record.name, record.seed) / RESULT
    encoded = encode(steps)
    if not record.history or len(steps.loss) % len(record.history):
        raise RecordError(
            f"{path}: {len(steps.loss)} steps in {len(record.history)} epochs, expected equally many in each"
        )
    text = files.dumps(
        {
            "schema": schema.VERSION,
            **{key: getattr(record, key) for key in schema.FIELDS},
            **({} if record.donor_seed is None else {"donor_seed": record.donor_seed}),
            **({"lost_rates": record.lost_rates} if record.lost_rates else {}),
            "history": [epoch.to_json() for epoch in record.history],
            "final_test_error": record.final_test_error,
            "best_test_error": record.best_test_error,
            "steps_sha256": hashlib.sha256(encoded).hexdigest(),
        }
    )
    _decode(text.encode(), path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.remove_leftovers(path.parent)
    # Write the record last: it contains the checksum of the steps, and a run with a finished record is not repeated.
    files.write_atomically(path.parent / STEPS, encoded)
    files.write_atomically(path, text.encode())
    return path


def read(path: Path) -> Record:
    """Reads one `result.json`.

    Raises:
      RecordError: if the file is damaged or not a record. The message names the file and the field.
    """
    return _decode(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
      RecordError: naming the file, if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}; {schema.ADVICE}") from error


def from_json(result: dict[str, Any], path: Path | str, folder: Path, load_steps: Callable[[], StepMetrics]) -> Record:
    """The record of a checked JSON value.

    Args:
      result: the value, as `schema.check` returns it.
      path: the source, for the error.
      folder: the folder of the source file.
      load_steps: reads the steps.

    Raises:
      RecordError: if its summary does not follow from its history.
    """
    fields = {key: result[key] for key in schema.FIELDS}
    record = Record(**fields, donor_seed=result.get("donor_seed"), folder=folder, load_steps=load_steps)
    for key in ("final_test_error", "best_test_error"):
        if not np.array_equal(result[key], getattr(record, key), equal_nan=True):
            raise RecordError(
                f"{path}: `{key}` is {result[key]}, but the history gives {getattr(record, key)}; {schema.ADVICE}"
            )
    # Records that are older than the field lack it.
    if tuple(result.get("lost_rates", record.lost_rates)) != record.lost_rates:
        raise RecordError(
            f"{path}: `lost_rates` is {result['lost_rates']}, but the history gives {list(record.lost_rates)}; "
            f"{schema.ADVICE}"
        )
    return record


def _decode(data: bytes, path: Path) -> Record:
    """The record in the bytes of a `result.json`."""
    result = schema.check(schema.loads(data, path), path, "steps_sha256")
    folder, epochs = path.parent, len(result["history"])
    return from_json(result, path, folder, functools.partial(_load_steps, folder, epochs, result["steps_sha256"]))


def _load_steps(folder: Path, epochs: int, checksum: str) -> StepMetrics:
    path = folder / STEPS
    data = read_bytes(path)
    if hashlib.sha256(data).hexdigest() != checksum:
        raise RecordError(f"{path}: does not belong to {RESULT} beside it; {schema.ADVICE}")
    return decode(data, path, epochs)
