"""Run one experiment: what is left of it, its data, and its sets of seeds one after the other."""

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
from train.engine.placement import SeedSet, Wishes
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
    policy: SavePolicy | None = None,
    devices: int | None = None,
    devices_per_seed: int | None = None,
    stream: bool = False,
    deadline: float | None = None,
    console: Console | None = None,
) -> list[Path]:
    """Train an experiment with each seed that has no finished record yet, from its checkpoint where there is one.

    Args:
      experiment: The arm.
      seeds: Whole numbers. `train.engine.placement` decides which of them train at the same time, and where.
      root: Folder of all runs; a record is `root/<arm>/seed-<n>/result.json`, or packed in `root/<group>`.
      data_dir: Where TensorFlow Datasets keeps its data; None is its own default.
      command: Kept in the record.
      fresh: Whether to train anew what is finished or begun: when the run is about to begin, what is there is removed.
      fresh_too: Experiments whose runs, with their own seeds, are removed with it: those that come next.
      policy: When to save.
      devices: How many devices to use; None is all.
      devices_per_seed: How many devices split the batches of each seed. None: several seeds on several devices have
        one each; otherwise a seed has all.
      stream: Whether to read the images from disk as they are needed, for data that a device cannot hold; seeds then
        run one after the other.
      deadline: When to save and stop, on the clock of `time.monotonic`, in seconds; the first process's counts. A
        slice that has begun is finished. None is never.
      console: Where to show progress; None is standard error.

    Returns:
      The paths of the records, in the order of the seeds; a run that was packed has left its path.

    Raises:
      ConfigError: If a setting does not fit the data, or what is there was made with other settings.
      DataError: If the data set cannot be had.
      CheckpointError: If a checkpoint cannot be written.
      RunError: If a loss or the state is not finite.
      Stopped: After SIGTERM or SIGINT, when all is saved.
      TimeUp: After the deadline, when all is saved.
    """
    console = console or Console(stderr=True)
    console.quiet = console.quiet or not processes.is_first()
    wishes = Wishes(devices, devices_per_seed, stream)
    # Only the first process writes records, so only it knows for certain what there is.
    plan = resume.Plan(*processes.of_first(lambda: resume.make_plan(experiment, seeds, root, wishes, fresh=fresh)))
    if plan.missing:
        _refuse_to_begin_after(deadline)
        dataset = _load_data(experiment, data_dir, stream)
        if not fresh:
            found = dataset.fingerprint
            processes.of_first(lambda: resume.refuse_records_of_other_data(experiment, seeds, root, found))
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
            _refuse_to_begin_after(deadline)
            mesh, momenta = seed_set.mesh(), _momenta_by_first(job, seed_set.seeds)
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


def _refuse_to_begin_after(deadline: float | None) -> None:
    """End all processes before the next run, if the first process has no time left.

    Raises:
      TimeUp: If so.
    """
    if deadline is not None and processes.of_first(lambda: time.monotonic() >= deadline):
        raise TimeUp("The time is up. No run is under way.")


def _resolved_by_first(experiment: Experiment, root: Path) -> Experiment:
    """Complete an experiment in the first process, which alone knows for certain what there is."""
    config: dict[str, Any] = processes.of_first(lambda: config_of(resume.resolved(experiment, root)))
    return from_config(config, seeds=experiment.seeds, vmap_seeds=experiment.vmap_seeds)


def _momenta_by_first(job: Job, seeds: list[int]) -> np.ndarray | None:
    """Make the momenta of a control in the first process; float32 [seeds, steps], None for other arms."""
    if job.experiment.control == "none":
        return None

    def look() -> list[list[float]]:
        steps = job.setup.steps_per_epoch
        return [controls.momenta(job.experiment, job.root, seed, steps).tolist() for seed in seeds]

    return np.asarray(processes.of_first(look), np.float32)
