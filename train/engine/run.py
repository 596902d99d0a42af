"""Run one experiment: load its data and train the seeds that have no finished record."""

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from train import data, records
from train.data.dataset import Dataset, Source
from train.data.reduce import reduced
from train.engine import processes, resume
from train.engine.devices import require_devices
from train.engine.job import Job, SavePolicy, train_seed_set
from train.engine.placement import DeviceOptions, SeedSet
from train.engine.signals import TimeUp
from train.engine.state import make_setup
from train.experiments import Experiment, config_of, controls, from_config, tuning


def run_experiment(
    experiment: Experiment,
    *,
    seeds: Sequence[int],
    root: Path,
    data_dir: Path | None = None,
    command: str = "",
    fresh: bool = False,
    fresh_too: Sequence[Experiment] = (),
    among: Sequence[int] = (),
    policy: SavePolicy | None = None,
    devices: int | None = None,
    devices_per_seed: int | None = None,
    stream: bool = False,
    deadline: float | None = None,
    console: Console | None = None,
) -> list[Path]:
    """Train the seeds of an experiment that have no finished record yet. Interrupted runs resume.

    Args:
      experiment: The arm.
      seeds: Whole numbers. `train.engine.placement` decides which of them train at the same time, and where.
      root: Folder of all runs; a record is `root/<arm>/seed-<n>/result.json`, or packed in `root/<group>`.
      data_dir: Folder of TensorFlow Datasets. None uses its default.
      command: The command line, kept in the record.
      fresh: Whether to delete finished and interrupted runs and train again. They are deleted just before training.
      fresh_too: Experiments that come later. Their runs, with their own seeds, are deleted at the same time.
      among: All seeds of the arm that the command trains, if it trains some in other calls. An interrupted run of
        several of them goes on as a whole.
      policy: When to save checkpoints.
      devices: Number of devices to use. None uses all.
      devices_per_seed: Number of devices that split the batches of each seed. None leaves the choice to
        `train.engine.placement`.
      stream: Whether to read the images from disk as they are needed, for data that does not fit on a device. Seeds
        then train one after the other.
      deadline: Time to save and stop, in seconds on the clock of `time.monotonic` in the first process. The current
        slice is finished first. None means no deadline.
      console: Where to show progress. None uses standard error.

    Returns:
      The paths of the records, in the order of the seeds. The record of a packed run is no longer at its path.

    Raises:
      ConfigError: If a setting does not fit the data, or runs of this arm were made with other settings or data.
      DataError: If the data set cannot be loaded.
      CheckpointError: If a checkpoint cannot be written, or another process is training these seeds.
      LocationError: If a checkpoint could not be restored from a folder with this path.
      RunError: If a loss or the state is not finite.
      Stopped: After SIGTERM or SIGINT, once everything is saved.
      TimeUp: After the deadline, once everything is saved.
    """
    console = console or Console(stderr=True)
    console.quiet = console.quiet or not processes.is_first()
    options = DeviceOptions(devices, devices_per_seed, stream)
    # Only the first process writes records, so only it can be sure which exist.
    plan = resume.Plan(
        *processes.of_first(lambda: resume.make_plan(experiment, seeds, root, options, fresh=fresh, among=among))
    )
    if plan.missing:
        _refuse_to_begin_after(deadline, before_fresh=fresh)
        dataset = _load_data(experiment, data_dir, stream)
        if not fresh:
            found = dataset.fingerprint
            processes.of_first(lambda: resume.refuse_records_of_other_data(experiment, root, found))
        require_devices(devices)
        stale = [(experiment, seeds), *((other, other.seeds) for other in fresh_too)] if fresh else []
        settled = _resolved_by_first(experiment, root)
        job = Job(
            experiment=settled,
            dataset=dataset,
            setup=make_setup(settled, dataset),
            root=root,
            missing=plan.missing,
            command=command,
            policy=policy or SavePolicy(),
            deadline=deadline,
            console=console,
        )
        for seed_set in (SeedSet(*each) for each in plan.seed_sets):
            _refuse_to_begin_after(deadline, before_fresh=bool(stale))
            mesh, momenta = seed_set.mesh(), _momenta_by_first(job, seed_set)
            # Delete old runs only after all checks have passed.
            processes.of_first(functools.partial(resume.discard, stale, root))
            stale = []
            train_seed_set(job, seed_set, mesh, momenta)
    if processes.is_first() and (plan.missing or records.find_trials(root, experiment.name) is None):
        tuning.write_trials(experiment, root, command)
    return [records.run_dir(root, experiment.name, seed) / records.RESULT for seed in seeds]


def _load_data(experiment: Experiment, data_dir: Path | None, stream: bool) -> Dataset | Source:
    """Load or open a data set, and reduce or divide it as the experiment says."""
    dataset = (data.open_source if stream else data.load)(experiment.dataset, data_dir)
    dataset = reduced(dataset, resolution=experiment.resolution, train_size=experiment.train_size)
    return tuning.hold_out(dataset) if experiment.holdout else dataset


def _refuse_to_begin_after(deadline: float | None, *, before_fresh: bool) -> None:
    """Stop all processes if the first one has passed the deadline.

    Raises:
      TimeUp: If it has.
    """
    if deadline is not None and processes.of_first(lambda: time.monotonic() >= deadline):
        raise TimeUp("The time is up. No run is under way.", before_fresh=before_fresh)


def _resolved_by_first(experiment: Experiment, root: Path) -> Experiment:
    """Fill in the tuned settings in the first process, which alone can be sure of the records."""
    config: dict[str, Any] = processes.of_first(lambda: config_of(tuning.resolved(experiment, root)))
    return from_config(config, seeds=experiment.seeds, vmap_seeds=experiment.vmap_seeds)


def _momenta_by_first(job: Job, seed_set: SeedSet) -> np.ndarray | None:
    """Make the momenta of a control in the first process. Returns float32 [rows, steps]; None for other arms."""
    if job.experiment.control == "none":
        return None

    def look() -> list[list[float]]:
        steps, data = job.setup.steps_per_epoch, job.dataset.fingerprint
        return [
            controls.momenta(job.experiment, job.root, seed, steps, fingerprint=data).tolist()
            for seed in seed_set.seeds
        ]

    momenta = dict(zip(seed_set.seeds, processes.of_first(look), strict=True))
    return np.asarray([momenta[seed] for seed in seed_set.rows], np.float32)
